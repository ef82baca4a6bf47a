"""A terminal: what is typed becomes lines, what is said becomes pages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustbridge.services.terminal import MORE, EndOfInput, HungUp, Interrupted, Terminal


class Screen:
    """A terminal and what went to its screen."""

    def __init__(self, idle: float = 5.0) -> None:
        self.shown = ""
        self.pauses: list[bool] = []
        self.terminal = Terminal(self._write, self.pauses.append, idle_seconds=idle)

    def _write(self, text: str) -> None:
        self.shown += text


def reading(typed: bytes, read: Callable[[Terminal], Coroutine[Any, Any, Any]]) -> tuple[Any, str]:
    """What reading gives, and what was shown meanwhile."""

    async def run() -> tuple[Any, str]:
        screen = Screen()
        screen.terminal.feed(typed)
        return await read(screen.terminal), screen.shown

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("typed", "line", "shown"),
    [
        (b"show itl\r", "show itl", "show itl\r\n"),
        (b"show itl\n", "show itl", "show itl\r\n"),
        (b"shx\x7fow\r", "show", "shx\b \bow\r\n"),
        (b"shx\bow\r", "show", "shx\b \bow\r\n"),
        (b"\x7f\x7fa\r", "a", "a\r\n"),
        (b"wrong\x15right\r", "right", "wrong" + "\b \b" * 5 + "right\r\n"),
        (b"set  cert\x17cli\r", "set  cli", "set  cert" + "\b \b" * 4 + "cli\r\n"),
        (b"a\x1b[A\x1b[1;5Cb\x1bOc\r", "abc", "abc\r\n"),
        (b"a\tb\x01c\x00\r", "abc", "abc\r\n"),
        ("żółć\r".encode(), "żółć", "żółć\r\n"),
        (b"a\xffb\r", "a\ufffdb", "a\ufffdb\r\n"),
        (b"a\x04b\r", "ab", "ab\r\n"),
    ],
)
def test_a_line_is_edited_and_echoed(typed: bytes, line: str, shown: str) -> None:
    assert reading(typed, Terminal.line) == (line, shown)


def test_what_is_typed_at_once_is_echoed_at_once_and_not_later() -> None:
    async def run() -> list[list[str]]:
        written: list[str] = []
        shown: list[list[str]] = []
        terminal = Terminal(written.append, idle_seconds=5)
        reading = asyncio.create_task(terminal.line())
        for typed in (b"set c", b"xy\x7f\x7fert", b" list\r"):
            terminal.feed(typed)
            for _ in range(3):
                await asyncio.sleep(0)
            shown.append(written.copy())
            written.clear()
        assert await reading == "set cert list"
        return shown

    assert asyncio.run(run()) == [["set c"], ["xy\b \b\b \bert"], [" list\r\n"]]


def test_an_echo_comes_before_what_is_shown_next() -> None:
    async def run() -> str:
        screen = Screen()
        screen.terminal.feed(b"a\x7f\x04")
        with pytest.raises(EndOfInput):
            await screen.terminal.line()
        screen.terminal.show("bye")
        return screen.shown

    assert asyncio.run(run()) == "a\b \bbye"


def test_a_secret_is_not_echoed_not_even_its_length() -> None:
    assert reading(b"hun\x7fter2\r", lambda terminal: terminal.line(echo=False)) == ("huter2", "\r\n")


def test_return_and_newline_together_end_one_line() -> None:
    async def two(terminal: Terminal) -> list[str]:
        return [await terminal.line(), await terminal.line(), await terminal.line()]

    assert reading(b"one\r\ntwo\n\nthree\r", two)[0] == ["one", "two", ""]


def test_ctrl_c_and_ctrl_d_leave_a_line() -> None:
    with pytest.raises(Interrupted):
        reading(b"show i\x03", Terminal.line)
    with pytest.raises(EndOfInput):
        reading(b"\x04", Terminal.line)


def test_silence_and_a_closed_channel_are_the_end() -> None:
    async def silent() -> None:
        await Screen(idle=0.01).terminal.line()

    async def closed() -> str:
        screen = Screen()
        screen.terminal.feed(b"last words\r")
        screen.terminal.hang_up()
        said = await screen.terminal.line()
        with pytest.raises(HungUp):
            await screen.terminal.line()
        with pytest.raises(HungUp):
            await screen.terminal.say("nobody hears\n")
        return said

    with pytest.raises(HungUp):
        asyncio.run(silent())
    assert asyncio.run(closed()) == "last words"


PEM = "-----BEGIN CERTIFICATE-----\nMIIB\nAAAA\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        (PEM, PEM),
        (PEM.replace("\n", "\r"), PEM),
        (PEM.replace("\n", "\r\n"), PEM),
        ("\n\n" + PEM, "\n\n" + PEM),
        ("nonsense\n\n", "nonsense\n\n"),
    ],
)
def test_a_paste_ends_with_its_certificate_or_an_empty_line(typed: str, text: str) -> None:
    assert reading(typed.encode(), Terminal.pasted)[0] == text


def test_a_line_and_a_paste_without_end_take_no_memory() -> None:
    line, shown = reading(b"x" * 20_000 + b"\r", Terminal.line)
    assert len(line) == 8192
    assert shown == line + "\r\n"
    pasted, _ = reading((b"y" * 4000 + b"\n") * 70 + b"\n\n", Terminal.pasted)
    assert len(pasted) < 270_000


def test_who_types_far_ahead_is_paused_and_let_go_on() -> None:
    async def run() -> list[bool]:
        screen = Screen()
        screen.terminal.feed(b"0123456\r" * 10_000)
        assert screen.pauses == [True]
        for _ in range(10_000):
            await screen.terminal.line()
        return screen.pauses

    assert asyncio.run(run()) == [True, False]


def page(typed: bytes, lines: int, *, rows: int = 10) -> tuple[bool, str]:
    """What a reader sees of so many lines."""

    async def run() -> tuple[bool, str]:
        screen = Screen()
        screen.terminal.resize(80, rows)
        screen.terminal.feed(typed)
        whole = await screen.terminal.say("".join(f"line {number}\n" for number in range(1, lines + 1)))
        return whole, screen.shown

    return asyncio.run(run())


def test_what_fits_the_screen_is_shown_at_once() -> None:
    assert page(b"", 9) == (True, "".join(f"line {number}\r\n" for number in range(1, 10)))


@pytest.mark.parametrize(
    ("keys", "last", "turns", "whole"),
    [
        (b"q", 9, 1, False),
        (b"Q", 9, 1, False),
        (b"\rq", 10, 2, False),
        (b"\r\r\rq", 12, 4, False),
        (b" q", 18, 2, False),
        (b"x q", 18, 2, False),
        (b"  ", 25, 2, True),
    ],
)
def test_a_reader_turns_pages_and_lines_and_stops(keys: bytes, last: int, turns: int, whole: bool) -> None:
    all_said, shown = page(keys, 25)
    assert all_said is whole
    assert shown.count(MORE) == turns
    assert f"line {last}\r\n" in shown
    assert f"line {last + 1}\r\n" not in shown
    assert shown.count("\x1b[K") == turns


def test_ctrl_c_at_the_pager_interrupts() -> None:
    with pytest.raises(Interrupted):
        page(b"\x03", 25)


def test_long_lines_count_as_often_as_they_wrap() -> None:
    async def run() -> str:
        screen = Screen()
        screen.terminal.resize(20, 5)
        screen.terminal.feed(b"q")
        await screen.terminal.say("x" * 80 + "\n" + "never\n")
        return screen.shown

    shown = asyncio.run(run())
    assert MORE in shown
    assert "never" not in shown


def test_without_pagination_and_on_a_new_page_nothing_waits() -> None:
    async def run() -> str:
        screen = Screen()
        screen.terminal.resize(80, 5)
        for _ in range(5):
            await screen.terminal.say("a\nb\nc\n")
            screen.terminal.new_page()
        screen.terminal.paging = False
        await screen.terminal.say("d\n" * 100)
        return screen.shown

    assert MORE not in asyncio.run(run())


def test_output_waits_for_a_screen_that_is_full() -> None:
    async def run() -> tuple[int, int]:
        screen = Screen()
        screen.terminal.hold(True)
        screen.terminal.paging = False
        saying = asyncio.create_task(screen.terminal.say("much\n" * 100_000))
        await asyncio.sleep(0.05)
        before = len(screen.shown)
        screen.terminal.hold(False)
        await saying
        return before, len(screen.shown)

    before, after = asyncio.run(run())
    assert 0 < before < 30_000
    assert after == 600_000


def test_ctrl_c_while_a_command_works_is_told_at_once_and_forgets_what_was_typed_before() -> None:
    async def run() -> tuple[list[str], str]:
        screen = Screen()
        told: list[str] = []
        screen.terminal.on_interrupt = lambda: told.append("interrupted")
        screen.terminal.feed(b"typed too early\x03next\r")
        return told, await screen.terminal.line()

    assert asyncio.run(run()) == (["interrupted"], "next")


@given(st.lists(st.binary(max_size=30), max_size=8))
def test_whatever_is_typed_lines_are_printable_and_nothing_hangs(pieces: list[bytes]) -> None:
    async def run() -> None:
        screen = Screen()
        for piece in pieces:
            screen.terminal.feed(piece)
        screen.terminal.hang_up()
        while True:
            try:
                line = await screen.terminal.line()
            except (Interrupted, EndOfInput):
                continue
            except HungUp:
                return
            assert all(sign.isprintable() for sign in line)

    asyncio.run(run())
