"""Files as a TFTP node serves them to phones: over HTTP, and over TFTP. Anybody may have them; nothing is encrypted."""

from __future__ import annotations

import asyncio
from typing import Final

import httpx

from trustbridge.clients.fetch import tftp_get
from trustbridge.cucm.https import Patience, translated
from trustbridge.cucm.model import ClusterEntry, Interface
from trustbridge.errors import Garbled, Refused, Unreachable

#: A trust list of a thousand certificates has 2 MB.
MAX_FILE: Final = 16 * 1024 * 1024
#: How often a TFTP packet is sent before nobody is taken to be there.
_TRIES: Final = 5


async def over_http(entry: ClusterEntry, node: str, host: str, name: str, patience: Patience) -> bytes | None:
    """A file over HTTP; None when the node has none of that name.

    Args:
        node: what messages call the node.

    Raises:
        Unreachable, Garbled: as for HTTPS; the message names node and file.
    """
    base = f"http://{f'[{host}]' if ':' in host else host}:{entry.http_port}"
    limits = httpx.Timeout(patience.answer, connect=patience.connect)
    here, what = f"{node} ({Interface.HTTP_FILES})", f"GET /{name}"
    try:
        async with (
            asyncio.timeout(patience.answer),
            httpx.AsyncClient(base_url=base, timeout=limits, trust_env=False) as client,
            client.stream("GET", f"/{name}") as response,
        ):
            if response.status_code == 404:
                return None
            if response.status_code != 200:
                raise Garbled(f"{here}: {what} was answered with status {response.status_code}", "Try again.")
            content = bytearray()
            async for part in response.aiter_bytes():
                content += part
                if len(content) > MAX_FILE:
                    raise Garbled(f"{here}: {name} never ends", "Is that a TFTP node of Unified CM?")
            return bytes(content)
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError) as error:
        refused = translated(error, what, patience)
        refused.message = f"{here}: {refused.message}"
        refused.args = (refused.message,)
        if isinstance(error, httpx.ConnectError):
            refused.hint = f"Check address and port {entry.http_port}, and that Cisco Tftp runs on the node."
        raise refused from error


async def over_tftp(entry: ClusterEntry, node: str, host: str, name: str, patience: Patience) -> bytes | None:
    """A file over TFTP; as `over_http`.

    A server nobody hears of is given `Patience.connect`, a whole file `Patience.answer`.

    Raises:
        Refused: the node answers with another error than that there is no such file.
        Unreachable: nobody answers, or not the whole file in time.
    """
    here = f"{node} ({Interface.TFTP})"
    hint = f"Check address and port {entry.tftp_port} (UDP), and that Cisco Tftp runs on the node."
    try:
        async with asyncio.timeout(patience.answer):
            return await tftp_get(
                host, entry.tftp_port, name, timeout=patience.connect / _TRIES, tries=_TRIES, max_bytes=MAX_FILE
            )
    except TimeoutError as error:
        raise Unreachable(f"{here}: {name} was not whole within {patience.answer:g} s", hint) from error
    except (Unreachable, Refused) as error:
        raise type(error)(f"{here}: {error.message.removeprefix('TFTP: ')}", hint) from error
