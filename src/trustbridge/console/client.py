"""A console's JSON API from outside: what the command line and scripts ask of a server on another machine.

    with ConsoleClient("https://console.example.com:8443", token, pins) as console:
        console.get("campaigns")
        job = console.job(console.post("campaigns/move/start", {"accept": []}))

The server's certificate is pinned at first contact, as a cluster's is: a token says nothing to a stranger.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self

import httpx

from trustbridge.console.parts import PREFIX
from trustbridge.cucm.pinnedtls import NotPinned, PinnedContext
from trustbridge.cucm.pins import TlsPins
from trustbridge.errors import AuthenticationRefused, Garbled, NotNow, Refused, SettingsError, Unreachable

#: Seconds for one answer.
_PATIENCE: Final = 30.0
#: Seconds between two looks at a job.
_LOOK: Final = 1.0
#: States of a job that has come to its end; `storage.models.JobState` has them.
_RUNNING: Final = "running"


class ConsoleClient:
    """One server.

    Args:
        url: its address, as `trustbridge serve` printed it.
        token: of an API token that somebody has made in the console, under their account.
        pins: certificates of servers.

    Raises:
        SettingsError: the address is none, or would send the token where others read it.
    """

    def __init__(self, url: str, token: str, pins: TlsPins) -> None:
        try:
            address = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise SettingsError(f"{url} is no address of a console: {error}", _EXAMPLE) from None
        if address.scheme not in ("https", "http") or not address.host:
            raise SettingsError(f"{url} is no address of a console", _EXAMPLE)
        if address.scheme == "http" and address.host not in ("127.0.0.1", "::1", "localhost"):
            raise SettingsError(f"{url}: a token is not sent over plain HTTP to another machine", "Use https.")
        self._here = f"the console at {address.scheme}://{address.netloc.decode('ascii')}"
        verify: ssl.SSLContext | bool = False
        if address.scheme == "https":
            verify = PinnedContext.of(pins, address.host, address.port or 443)
        self._client = httpx.Client(
            base_url=address.join(f"{PREFIX}/"),
            headers={"Authorization": f"Bearer {token}"},
            verify=verify,
            timeout=_PATIENCE,
            trust_env=False,
        )

    def __repr__(self) -> str:
        return f"<ConsoleClient of {self._here}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def get(self, path: str, **query: str | int | bool) -> Any:
        """Ask for something, by its path below `/api/v1`."""
        return self._json(self._asked("GET", path, params=query))

    def text(self, path: str, **query: str) -> str:
        """Ask for something that is no JSON."""
        return self._asked("GET", path, params=query).text

    def post(self, path: str, values: Mapping[str, Any] | None = None) -> Any:
        """Have something done. Sent once."""
        return self._json(self._asked("POST", path, json=dict(values or {})))

    def job(self, begun: Mapping[str, Any], told: Callable[[str, int, int], None] = lambda *_: None) -> Any:
        """Wait for a job, and give its result.

        Raises:
            Refused: it failed; or was interrupted, since the server ended.
        """
        while True:
            found = self.get(f"jobs/{begun['id']}")
            if found["state"] != _RUNNING:
                break
            told(found["step"], found["done"], found["total"])
            time.sleep(_LOOK)
        if found["error"]:
            raise Refused(found["error"], found["hint"])
        if found["result"] is None:
            raise Refused(f"{found['title']}: {found['state']}", "Ask again.")
        return found["result"]

    def _asked(self, method: str, path: str, **more: Any) -> httpx.Response:
        """An answer that is none of an error.

        Raises:
            AuthenticationRefused: the token is none, or may not do that.
            SettingsError, NotNow, Refused: in the server's words.
            Unreachable: it does not answer. Whether it has done what it was told is not known then.
            IdentityChanged: it is not the server it was.
        """
        try:
            answer = self._client.request(method, path, **more)
        except httpx.HTTPError as error:
            cause: BaseException | None = error
            while cause is not None:
                if isinstance(cause, NotPinned):
                    raise cause.refusal from None
                cause = cause.__cause__ or cause.__context__
            raise Unreachable(f"{self._here} does not answer: {error}", "Is it up? See `trustbridge serve`.") from None
        if answer.is_success:
            return answer
        message, hint = self._words(answer)
        match answer.status_code:
            case 401 | 403:
                raise AuthenticationRefused(
                    f"{self._here}: {message}", hint or "Make a token in the console, under your account."
                )
            case 404 | 422:
                raise SettingsError(message, hint)
            case 409:
                raise NotNow(message, hint)
        raise Refused(f"{self._here}: {message}", hint)

    def _words(self, answer: httpx.Response) -> tuple[str, str]:
        try:
            error = answer.json()["error"]
            return str(error["message"]), str(error["hint"])
        except (ValueError, KeyError, TypeError):
            return f"it answers {answer.status_code}", ""

    def _json(self, answer: httpx.Response) -> Any:
        try:
            return answer.json()
        except ValueError:
            raise Garbled(f"{self._here}: its answer is no JSON", "Is that a trustbridge console?") from None


_EXAMPLE: Final = "Such as https://console.example.com:8443."
