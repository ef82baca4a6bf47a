"""Talking to a lab that is up: one UNIX socket in its folder, one JSON object a line.

A request is `{"do": name, ...}`; answers are any number of `{"progress": ...}` and then one `{"result": ...}` or
`{"error": {"kind", "message", "hint"}}`. The socket is 0600: who may open it may do everything to the lab.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from trustbridge import atomicfile, errors
from trustbridge.errors import NotNow, TrustbridgeError

_log = logging.getLogger(__name__)

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
    """Answer requests for as long as the context lasts; what is under way at its end is cut off.

    The caller holds the lab's lock, so a socket that is there is stale.

    Raises:
        TrustbridgeError: the socket can't be made.
    """
    under_way: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        under_way.add(task)
        try:
            await _serve(handler, reader, writer)
        finally:
            under_way.discard(task)

    with atomicfile.in_words(f"the lab in {folder} can't take requests"):
        server = await asyncio.start_unix_server(serve, sock=_listener(folder), limit=MAX_LINE)
    try:
        yield
    finally:
        server.close()
        (folder / SOCKET).unlink(missing_ok=True)
        tasks = list(under_way)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _listener(folder: Path) -> socket.socket:
    (folder / SOCKET).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Made private from the first moment on, and nothing else runs meanwhile that would make files.
    before = os.umask(0o177)
    try:
        with _short_path(folder) as path:
            listener.bind(path)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener


async def _serve(handler: Handler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    def send(message: dict[str, Any]) -> None:
        if writer.is_closing():  # the client has left; what it asked for is done all the same
            return
        writer.write(json.dumps(message).encode() + b"\n")

    try:
        try:
            request = json.loads(await reader.readline())
            if not isinstance(request, dict):
                raise TypeError("a request is an object")
            send({"result": await handler(request, lambda progress: send({"progress": progress}))})
        except TrustbridgeError as error:
            send(_fault(type(error).__name__, error.message, error.hint))
        except (ValueError, KeyError, TypeError) as error:
            _log.info("not a request", exc_info=error)
            send(_fault("SettingsError", f"not a request: {error!r}"))
        except OSError:
            raise
        except Exception as error:  # a fault of ours; the lab goes on, and whoever asked shall know
            _log.exception("a request failed")
            send(_fault("TrustbridgeError", f"the lab itself failed: {type(error).__name__}: {error}", "See its log."))
        await writer.drain()
    except OSError:
        pass  # it has left just now
    finally:
        writer.close()


def _fault(kind: str, message: str, hint: str = "") -> dict[str, Any]:
    return {"error": {"kind": kind, "message": message, "hint": hint}}


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
    except (OSError, ValueError):
        pass  # killed in the middle of it: the end of the connection is a reset, or half a line
    finally:
        writer.close()
    raise NotNow(f"the lab in {folder} ended before it answered", "Look at its log, and start it again.")


def _error(answer: dict[str, str]) -> TrustbridgeError:
    kind = getattr(errors, answer["kind"], TrustbridgeError)
    if not (isinstance(kind, type) and issubclass(kind, TrustbridgeError)) or kind is errors.DecodeError:
        kind = TrustbridgeError
    return kind(answer["message"], answer["hint"])
