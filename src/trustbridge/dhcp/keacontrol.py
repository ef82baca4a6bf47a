"""Kea's control API: a command in JSON over its UNIX socket, or over HTTP to its control agent.

Over a socket Kea reads one command, answers and closes. The agent, and Kea itself since 2.7, answer over HTTP with a
list of one answer. Both say `result` 0 when it is done, 1 when it is refused, 2 when the command is not known.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

from trustbridge.errors import AuthenticationRefused, Garbled, NotSupported, Refused, SettingsError, Unreachable

if TYPE_CHECKING:
    from trustbridge.cucm.pins import TlsPins

#: Seconds for a command: a server of ten thousand subnets takes some to read its configuration anew.
DEFAULT_TIMEOUT: Final = 30.0
#: Bytes of an answer at most.
MAX_ANSWER: Final = 64 * 1024 * 1024
_DONE, _UNKNOWN, _EMPTY = 0, 2, 3
_SERVICE: Final = "dhcp4"


class Control(Protocol):
    """A way to Kea."""

    @property
    def place(self) -> str:
        """Where it leads, in words; as the command line takes it, after `Kea at `."""

    async def ask(self, command: str, arguments: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Have a command done and give its arguments.

        Raises:
            Unreachable: nobody answers.
            Refused: Kea refuses; as NotSupported where it does not know the command.
            Garbled: the answer makes no sense.
        """


@dataclass(frozen=True, slots=True)
class Socket:
    """Kea's own control socket."""

    path: Path
    timeout: float = DEFAULT_TIMEOUT

    @property
    def place(self) -> str:
        return f"Kea at unix:{self.path}"

    async def ask(self, command: str, arguments: Mapping[str, Any] | None = None) -> dict[str, Any]:
        try:
            async with asyncio.timeout(self.timeout):
                body = await self._exchange(_command(command, arguments))
        except TimeoutError:
            raise Unreachable(f"{self.place} does not answer {command} within {self.timeout:g} s") from None
        except OSError as error:
            hint = "Is it running, with a control-socket of that name in its configuration, and may you open it?"
            raise Unreachable(f"{self.place}: {error.strerror or error}", hint) from None
        return _arguments(self.place, command, body)

    async def _exchange(self, question: bytes) -> bytes:
        reader, writer = await asyncio.open_unix_connection(os.fspath(self.path))
        try:
            writer.write(question)
            await writer.drain()
            parts, size = [], 0
            while part := await reader.read(1 << 16):
                parts.append(part)
                size += len(part)
                if size > MAX_ANSWER:
                    raise Garbled(f"{self.place}: an answer of more than {MAX_ANSWER} bytes")
            return b"".join(parts)
        finally:
            writer.close()


class Agent:
    """Kea's control agent over HTTP, or HTTPS with its certificate pinned.

    Args:
        url: such as `http://127.0.0.1:8000`.
        user, password: for HTTP Basic, where the agent wants it.
        pins: of TLS certificates; needed for https.

    Raises:
        SettingsError: the URL is no such one.
    """

    def __init__(
        self,
        url: str,
        user: str = "",
        password: str = "",
        pins: TlsPins | None = None,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise SettingsError(f"{url!r:.200} is no URL: {error}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise SettingsError(f"{url!r:.200} is no URL of a Kea control agent", "Such as http://127.0.0.1:8000")
        if parts.username is not None or parts.password is not None:
            raise SettingsError("a password has no place in the agent's URL", "Use --kea-user and --kea-password-file.")
        if parts.scheme == "https" and pins is None:
            raise SettingsError("https needs a place for pinned certificates")
        if ":" in user:
            raise SettingsError(f"{user!r} can't be a user name: HTTP allows no colon in one")
        self._url = url
        self._host, self._port = parts.hostname, port or (443 if parts.scheme == "https" else 80)
        self._pins = pins if parts.scheme == "https" else None
        self._account = (user, password) if user else None
        self._timeout = timeout

    def __repr__(self) -> str:
        return f"<Agent {self._url}>"

    @property
    def place(self) -> str:
        return f"Kea at {self._url}"

    async def ask(self, command: str, arguments: Mapping[str, Any] | None = None) -> dict[str, Any]:
        import httpx

        from trustbridge.cucm.pinnedtls import NotPinned, PinnedContext

        verify = PinnedContext.of(self._pins, self._host, self._port) if self._pins is not None else False
        try:
            async with (
                asyncio.timeout(self._timeout),
                httpx.AsyncClient(
                    auth=self._account, verify=verify, timeout=self._timeout, trust_env=False, follow_redirects=False
                ) as client,
                client.stream(
                    "POST",
                    self._url,
                    content=_command(command, arguments, _SERVICE),
                    headers={"content-type": "application/json", "accept-encoding": "identity"},
                ) as answer,
            ):
                body = b""
                async for part in answer.aiter_raw():
                    body += part
                    if len(body) > MAX_ANSWER:
                        raise Garbled(f"{self.place}: an answer of more than {MAX_ANSWER} bytes")
        except TimeoutError:
            raise Unreachable(f"{self.place} does not answer {command} within {self._timeout:g} s") from None
        except httpx.HTTPError as error:
            refusal = _cause(error, NotPinned)
            if refusal is not None:
                raise refusal.refusal from None
            raise Unreachable(f"{self.place}: {error or type(error).__name__}", "Is the agent running?") from None
        if answer.status_code in (401, 403):
            raise AuthenticationRefused(
                f"{self.place} wants a user and a password, other than those given"
                if self._account
                else f"{self.place} wants a user and a password",
                "Use --kea-user and --kea-password-file.",
            )
        if answer.status_code != 200:
            raise Garbled(f"{self.place} answers {command} with HTTP status {answer.status_code}", "Is it Kea's agent?")
        return _arguments(self.place, command, body)


def _cause(error: BaseException | None, kind: type[Any]) -> Any:
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error


def _command(command: str, arguments: Mapping[str, Any] | None, service: str | None = None) -> bytes:
    question: dict[str, Any] = {"command": command}
    if arguments is not None:
        question["arguments"] = arguments
    if service is not None:
        question["service"] = [service]
    return json.dumps(question).encode()


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def _arguments(place: str, command: str, body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise Garbled(f"{place} answers {command} with what is no JSON: {body[:80]!r}", "Is it Kea?") from None
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    result = found.get("result") if isinstance(found, dict) else None
    if type(result) is not int:
        raise Garbled(f"{place} answers {command} with what is no answer of Kea's: {body[:80]!r}", "Is it Kea?")
    words = found.get("text", "")
    said = f": {words[:500]}" if isinstance(words, str) and words else ""
    if result == _UNKNOWN:
        raise NotSupported(f"{place} does not know {command}{said}")
    if result not in (_DONE, _EMPTY):
        raise Refused(f"{place} refuses {command}{said}")
    arguments = found.get("arguments", {})
    if not isinstance(arguments, dict):
        raise Garbled(f"{place} answers {command} with arguments that are no map", "Is it Kea?")
    return arguments
