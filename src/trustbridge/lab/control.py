"""Talking to a lab that is up: one UNIX socket in its folder, one JSON object a line.

A request is `{"do": name, ...}`; answers are any number of `{"progress": ...}` and then one `{"result": ...}` or
`{"error": {"kind", "message", "hint"}}`. The socket is 0600: who may open it may do everything to the lab.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from trustbridge import errors
from trustbridge.errors import NotNow, TrustbridgeError

SOCKET = "control"
#: A line holds the status of tens of thousands of phones at the most.
MAX_LINE = 256 * 1024 * 1024

Progress = Callable[[dict[str, Any]], None]
Handler = Callable[[dict[str, Any], Progress], Awaitable[Any]]


@contextlib.contextmanager
def _short_path(folder: Path) -> Iterator[str]:
    """A path to the socket that fits the 108 bytes a UNIX address has, however deep the folder lies."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET}"
    finally:
        os.close(descriptor)


@contextlib.asynccontextmanager
async def serving(folder: Path, handler: Handler) -> AsyncIterator[None]:
    """Answer requests for as long as the context lasts. The caller holds the lab's lock, so a socket there is stale."""
    (folder / SOCKET).unlink(missing_ok=True)
    before = os.umask(0o177)
    try:
        with _short_path(folder) as path:
            server = await asyncio.start_unix_server(
                lambda reader, writer: _serve(handler, reader, writer), path, limit=MAX_LINE
            )
    finally:
        os.umask(before)
    try:
        yield
    finally:
        server.close()
        (folder / SOCKET).unlink(missing_ok=True)


async def _serve(handler: Handler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    def send(message: dict[str, Any]) -> None:
        writer.write(json.dumps(message).encode() + b"\n")

    try:
        line = await reader.readline()
        try:
            request = json.loads(line)
            send({"result": await handler(request, lambda progress: send({"progress": progress}))})
        except TrustbridgeError as error:
            send({"error": {"kind": type(error).__name__, "message": error.message, "hint": error.hint}})
        except (ValueError, KeyError, TypeError) as error:
            send({"error": {"kind": "SettingsError", "message": f"not a request: {error!r}", "hint": ""}})
        await writer.drain()
    except OSError:
        pass  # the client has left; what it asked for is done all the same
    finally:
        writer.close()


async def ask(folder: Path, request: dict[str, Any], on_progress: Progress = lambda _: None) -> Any:
    """Send a request to the lab in `folder`, and give its result.

    Raises:
        NotNow: no lab is up there.
        TrustbridgeError: what the lab raised, of the same class.
    """
    try:
        with _short_path(folder) as path:
            reader, writer = await asyncio.open_unix_connection(path, limit=MAX_LINE)
    except OSError:
        raise NotNow(f"no lab is up in {folder}", "Start it: trustbridge lab up.") from None
    try:
        writer.write(json.dumps(request).encode() + b"\n")
        await writer.drain()
        while line := await reader.readline():
            answer = json.loads(line)
            if "progress" in answer:
                on_progress(answer["progress"])
            elif "error" in answer:
                raise _error(answer["error"])
            else:
                return answer["result"]
    finally:
        writer.close()
    raise NotNow(f"the lab in {folder} ended before it answered", "Look at its log, and start it again.")


def _error(answer: dict[str, str]) -> TrustbridgeError:
    kind = getattr(errors, answer["kind"], TrustbridgeError)
    if not (isinstance(kind, type) and issubclass(kind, TrustbridgeError)) or kind is errors.DecodeError:
        kind = TrustbridgeError
    return kind(answer["message"], answer["hint"])
