"""Whether somebody talks on a phone: by the pages of its streams, in every form, and only where they say it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cucm.test_phoneweb import html
from tests.lab.prepared import LiveLab, Prepared, lab_definition, phones
from tests.services.soapclient import keys_read_once

from trustbridge.cucm.https import Patience
from trustbridge.cucm.phoneconnection import PhoneConnection
from trustbridge.cucm.phonestreams import STREAM_PAGES, STREAMS, Stream, parse_stream, read_in_call
from trustbridge.errors import Unreachable
from trustbridge.trust.configuration import Configuration, build
from trustbridge.trust.events import Kept

HTML, XML, OLD = STREAM_PAGES
NEVER = (("Remote Address", "0.0.0.0/0"), ("Sender Packets", "0"), ("Rcvr Packets", "0"), ("Rcvr Lost Packets", "7"))
TALKED = (("Remote Address", "192.0.2.9/16384"), ("Sender Packets", "1500"), ("Rcvr Packets", "1499"))


XML_BUSY = (
    '<?xml version="1.0"?><StreamingStatistics><RemoteAddr>192.0.2.9/16384</RemoteAddr>'
    "<StreamStatus> Active</StreamStatus><Name>SEP001B0C000001</Name><SenderPackets>1</SenderPackets>"
    "</StreamingStatistics>"
)
XML_FRESH = (
    "<StreamingStatistics><RemoteAddr>::/0</RemoteAddr><StreamStatus>Not Ready</StreamStatus>"
    "<SenderPackets>000</SenderPackets></StreamingStatistics>"
)


def at(page: str, number: int) -> str:
    return page.format(number=number, index=number - 1)


def stream(status: str, *rows: tuple[str, str]) -> str:
    return html(("Host Name", "SEP001B0C000001"), ("Stream Status", status), *rows)


@pytest.mark.parametrize(
    ("page", "found"),
    [
        (stream("Active", *TALKED), Stream(True, True)),
        (stream("Not Ready", *TALKED), Stream(False, True)),
        (stream("Not ready", *NEVER), Stream(False, False)),
        (stream("Not ready"), Stream(False, True)),  # it may have been
        (stream("Ruht", *NEVER), Stream(None, False)),
        (html(("Stream-Status", "Aktiv"), *TALKED), Stream(True, True)),
        (html(("État du flux", "Actif")), Stream(True, True)),
        (html(("Row Status", "Active"), ("Sender Packets", "0")), Stream(True, False)),
        (html(("Radio", "Not Active"), ("Line", "Active Standby")), Stream(None, True)),
        (XML_BUSY, Stream(True, True)),
        (XML_FRESH, Stream(False, False)),
        ("", Stream(None, True)),
    ],
)
def test_a_page_says_whether_a_stream_runs_and_ever_did(page: str, found: Stream) -> None:
    assert parse_stream(page) == found


@given(st.text(max_size=300) | st.text(alphabet="<>/tdrb SteamAcive=&;'\"[]0", max_size=300))
def test_any_text_is_read_somehow(page: str) -> None:
    assert isinstance(parse_stream(page), Stream)


@given(st.binary(max_size=30), st.integers(0, 500))
def test_a_page_cut_or_spoiled_anywhere_is_read_as_far_as_it_goes(junk: bytes, place: int) -> None:
    page = stream("Active", *TALKED)
    assert isinstance(parse_stream(page[:place] + junk.decode("latin-1") + page[place:]), Stream)
    assert isinstance(parse_stream(page[:place]), Stream)


# Over the wire.


class Pages(PhoneConnection):
    """A phone with these pages, and what was asked of it. A status of 0 is no answer."""

    def __init__(self, pages: Mapping[str, str | int]) -> None:
        super().__init__("192.0.2.7")
        self.pages = pages
        self.asked: list[str] = []

    async def get(self, path: str) -> tuple[int, str]:
        self.asked.append(path)
        found = self.pages.get(path, 404)
        if found == 0:
            raise Unreachable("too slow")
        return (found, "") if isinstance(found, int) else (200, found)


def read(pages: Mapping[str, str | int]) -> tuple[bool | None, list[str]]:
    """What is read of a phone with these pages, and what was asked for."""
    phone = Pages(pages)
    return asyncio.run(read_in_call(phone.address, connection=phone)), phone.asked


@pytest.mark.parametrize("form", STREAM_PAGES)
def test_each_form_of_the_pages_tells(form: str) -> None:
    idle = {at(form, 1): stream("Not Ready", *TALKED), at(form, 2): stream("Not Ready", *NEVER)}
    assert read(idle)[0] is False
    assert read(idle | {at(form, 2): stream("Active", *TALKED)})[0] is True
    assert read(idle | {at(form, 1): stream("Active", *TALKED)})[0] is True


def test_what_was_never_used_is_not_followed() -> None:
    assert read({at(HTML, 1): stream("Not Ready", *NEVER)}) == (False, [at(HTML, 1)])


def test_as_far_as_streams_were_used_each_is_asked_for_and_no_more_than_there_are() -> None:
    used = {at(XML, number): stream("Not Ready", *TALKED) for number in range(1, 9)}
    found, asked = read(used)
    assert found is False
    assert asked == [at(HTML, 1), *(at(XML, number) for number in range(1, STREAMS + 1))]
    assert read(used | {at(XML, STREAMS): stream("Active", *TALKED)})[0] is True


def test_a_phone_with_one_stream_is_idle_when_that_is() -> None:
    assert read({at(HTML, 1): stream("Not Ready", *TALKED)})[0] is False


@pytest.mark.parametrize(
    "pages",
    [
        {},
        {at(HTML, 1): 401, at(XML, 1): 401, at(OLD, 1): 401},
        {at(HTML, 1): 0},
        {at(HTML, 1): stream("Ruht", *TALKED)},
        {at(HTML, 1): stream("Not Ready", *TALKED), at(HTML, 2): 0},
        {at(HTML, 1): stream("Not Ready", *TALKED), at(HTML, 2): stream("Ruht", *TALKED)},
        {at(HTML, 1): "x" * (300 * 1024)},
    ],
)
def test_what_nobody_can_tell_is_not_made_up(pages: Mapping[str, str | int]) -> None:
    assert read(pages)[0] is None


def test_a_form_that_does_not_tell_is_no_reason_not_to_try_the_next() -> None:
    assert read({at(HTML, 1): stream("Ruht"), at(XML, 1): stream("Active", *TALKED)})[0] is True


def test_nobody_there() -> None:
    assert asyncio.run(read_in_call("127.0.0.1", port=9, patience=Patience(connect=1, answer=1))) is None


def test_a_lab_phone_tells_of_its_calls_until_its_web_access_is_off(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    definition = lab_definition(phones(1), source={"security": "non-secure"})
    folder = Prepared.once(tmp_path_factory).lab(tmp_path / "lab", definition)
    with keys_read_once(), LiveLab(folder) as live:
        (phone,) = live.phones
        live.boot()

        def told() -> bool | None:
            return live.do(read_in_call(phone.identity.address, port=live.lab.ports.web))

        assert told() is False
        phone.place_call("192.0.2.1/16384")
        assert told() is True
        phone.hang_up()
        assert told() is False
        phone.place_call("192.0.2.1/16384")
        live.boot(phone)
        assert (phone.calls_cut, told()) == (1, False)
        phone.flash.write(Kept.CONFIGURATION, build(Configuration((), (), web_access=False)))
        assert told() is None
