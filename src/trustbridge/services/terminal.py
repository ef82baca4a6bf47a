"""A terminal that somebody types at: keys become lines, output becomes pages. No socket here.

The far side has a pseudo-terminal in raw mode, so this side does what a terminal's driver would: it echoes, rubs out,
and ends lines with CR LF.
"""

from __future__ import annotations

import asyncio
import codecs
import re
from collections.abc import Callable

#: What the pager of a node says, in bold, and what takes it away again.
MORE = "Press <enter> for 1 line, <space> for one page, or <q> to quit"
_MORE_SHOWN, _MORE_GONE = f"\x1b[1m{MORE}\x1b[0m", "\r\x1b[K"
#: Characters of one line, and of a pasted text, at the most: more is neither a command nor a certificate.
MAX_LINE, MAX_PASTE = 8 * 1024, 256 * 1024
#: Characters typed ahead before reading pauses, and how few are left when it goes on.
_AHEAD_HIGH, _AHEAD_LOW = 64 * 1024, 16 * 1024

#: Characters written at once.
_CHUNK = 16 * 1024

_CTRL_C, _CTRL_D, _CTRL_U, _CTRL_W, _ESCAPE = "\x03", "\x04", "\x15", "\x17", "\x1b"
_RUBOUTS = "\x7f\b"
_LAST_WORD = re.compile(r"\S*\s*\Z")
_PEM_END = re.compile(r"-----END [A-Z0-9 ]+-----\s*\Z")


class Interrupted(Exception):
    """Ctrl-C."""


class HungUp(Exception):
    """Nobody types any more: the channel is closed, or has been silent for too long."""


class EndOfInput(Exception):
    """Ctrl-D on an empty line."""


class Terminal:
    """One person's terminal.

    Args:
        write: takes what goes to the screen.
        pause: told True when too much is typed ahead, and False when it may go on.
        idle_seconds: silence after which whoever sits there counts as gone.

    Attributes:
        rows, columns: size of the screen; the far side may change it at any time.
        paging: whether output stops when the screen is full.
    """

    def __init__(
        self, write: Callable[[str], None], pause: Callable[[bool], None] = lambda _: None, *, idle_seconds: float
    ) -> None:
        self.rows, self.columns = 24, 80
        self.paging = True
        self._to_screen = write
        self._echoed: list[str] = []
        self._pause = pause
        self._paused = False
        self._idle_seconds = idle_seconds
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._typed = ""
        self._at = 0
        self._closed = False
        self._more = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._shown = 0
        self._after_return = False
        #: Called at once when Ctrl-C is typed, while a command works and nothing reads.
        self.on_interrupt: Callable[[], None] | None = None

    # The far side.

    def feed(self, data: bytes) -> None:
        """Bytes that were typed."""
        text = self._decoder.decode(data)
        if self.on_interrupt is not None and _CTRL_C in text:
            text = text.rpartition(_CTRL_C)[2]
            self._typed, self._at = "", 0
            self.on_interrupt()
        self._typed = self._typed[self._at :] + text
        self._at = 0
        if len(self._typed) > _AHEAD_HIGH and not self._paused:
            self._paused = True
            self._pause(True)
        self._more.set()

    def hang_up(self) -> None:
        """Nothing more will be typed."""
        self._closed = True
        self._room.set()
        self._more.set()

    def resize(self, columns: int, rows: int) -> None:
        """The screen's size; 0 is a client that does not know."""
        self.columns, self.rows = columns or self.columns, max(rows or self.rows, 2)

    def hold(self, full: bool) -> None:
        """Whether the far side can't take more output now."""
        (self._room.clear if full else self._room.set)()

    # Reading.

    async def key(self) -> str:
        """The next character typed; escape sequences (arrows, function keys) are passed over.

        Raises:
            HungUp: nobody is there any more.
        """
        while True:
            character = await self._character()
            if character == "\n" and self._after_return:
                self._after_return = False
                continue
            self._after_return = character == "\r"
            if character != _ESCAPE:
                return character
            if await self._character() == "[":
                while not "@" <= await self._character() <= "~":
                    pass

    async def _character(self) -> str:
        while self._at >= len(self._typed):
            self._show_echo()
            if self._closed:
                raise HungUp
            self._more.clear()
            try:
                async with asyncio.timeout(self._idle_seconds):
                    await self._more.wait()
            except TimeoutError:
                raise HungUp from None
        character = self._typed[self._at]
        self._at += 1
        if self._paused and len(self._typed) - self._at < _AHEAD_LOW:
            self._paused = False
            self._pause(False)
        return character

    async def line(self, *, echo: bool = True) -> str:
        """A line, edited with rubout, Ctrl-U and Ctrl-W.

        Raises:
            Interrupted: Ctrl-C.
            EndOfInput: Ctrl-D on an empty line.
            HungUp: nobody is there any more.
        """
        held = ""
        while True:
            key = await self.key()
            match key:
                case "\r" | "\n":
                    self._write("\r\n")
                    return held
                case "\x03":
                    self._write("^C\r\n")
                    raise Interrupted
                case "\x04":
                    if not held:
                        raise EndOfInput
                    continue
                case "\x15":
                    kept = ""
                case "\x17":
                    kept = _LAST_WORD.sub("", held)
                case _ if key in _RUBOUTS:
                    kept = held[:-1]
                case _ if not key.isprintable():
                    continue
                case _:
                    if len(held) < MAX_LINE:
                        held += key
                        if echo:
                            self._echoed.append(key)
                    continue
            if echo:
                self._echoed.append("\b \b" * (len(held) - len(kept)))
            held = kept

    async def pasted(self) -> str:
        """Several lines: up to one that ends a PEM block, or an empty one. Raises as `line` does.

        What is too long is cut off.
        """
        lines: list[str] = []
        length = 0
        while True:
            line = await self.line()
            length += len(line) + 1
            if length <= MAX_PASTE:
                lines.append(line)
            if (not line.strip() and any(lines)) or _PEM_END.search(line):
                return "\n".join(lines) + "\n"

    # Writing.

    def _write(self, text: str) -> None:
        """Write to the screen, what was echoed before it first."""
        self._to_screen("".join((*self._echoed, text)))
        self._echoed.clear()

    def _show_echo(self) -> None:
        """What is typed at once is echoed at once, as a terminal's driver does: a packet a key would cost too much."""
        if self._echoed:
            self._write("")

    async def drain(self) -> None:
        """Wait until the far side can take more.

        Raises:
            HungUp: nobody is there any more.
        """
        try:
            async with asyncio.timeout(self._idle_seconds):
                await self._room.wait()
        except TimeoutError:
            raise HungUp from None
        if self._closed:
            raise HungUp

    def show(self, text: str) -> None:
        """Write at once, past the pager: prompts and questions. Lines end as they come."""
        self._write(text)

    def new_page(self) -> None:
        """What is on the screen has been read."""
        self._shown = 0

    async def say(self, text: str) -> bool:
        """Write text whose lines end in newlines, page by page; False when the reader has had enough.

        Raises:
            Interrupted: Ctrl-C at the pager.
            HungUp: nobody is there any more.
        """
        out: list[str] = []
        length = 0
        for line in text.splitlines(keepends=True):
            if self.paging and self._shown >= self.rows - 1:
                self._write("".join(out))
                out, length = [], 0
                if not await self._turn():
                    return False
            out.append(line.rstrip("\r\n") + "\r\n" if line.endswith("\n") else line)
            length += len(line)
            self._shown += max(1, -(-len(line.rstrip("\r\n")) // self.columns))
            if length > _CHUNK:
                self._write("".join(out))
                out, length = [], 0
                await self.drain()
        self._write("".join(out))
        await self.drain()
        return True

    async def _turn(self) -> bool:
        """Ask the reader to go on; False when not."""
        self._write(_MORE_SHOWN)
        try:
            while True:
                match await self.key():
                    case " ":
                        self._shown = 0
                        return True
                    case "\r" | "\n":
                        self._shown = self.rows - 2
                        return True
                    case "q" | "Q":
                        return False
                    case "\x03":
                        raise Interrupted
        finally:
            self._write(_MORE_GONE)
