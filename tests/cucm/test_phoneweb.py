"""Phones' pages: read in the forms that firmware families give them, in several languages, from a lab's phones too."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.lab.prepared import LiveLab, Prepared, lab_definition, phones
from tests.services.soapclient import keys_read_once

from trustbridge.cucm import phoneweb
from trustbridge.cucm.https import Patience
from trustbridge.cucm.phoneconnection import PhoneConnection
from trustbridge.cucm.phoneweb import (
    DEVICE_PAGES,
    NETWORK_PAGES,
    STATUS_PAGES,
    PhoneNetwork,
    PhonePages,
    StatusMessage,
    parse_device,
    parse_network,
    parse_rows,
    parse_status,
    read_phone,
)
from trustbridge.errors import NotSupported, Unreachable
from trustbridge.trust.events import Kept

SHA1 = "4C5F9B0E21AA03C7D8E9F0A1B2C3D4E5F6071829"


def html(*rows: tuple[str, str]) -> str:
    """Rows as real phones write them: an empty cell between name and value."""
    lines = "".join(
        f"<TR><TD><B> {name}</B></TD>\r\n<td width=20></TD>\r\n<TD><B>{value}</B></TD></TR>\r\n" for name, value in rows
    )
    return (
        "<!DOCTYPE HTML><HTML><HEAD><TITLE>Cisco Systems, Inc.</TITLE><script>var a='<tr><td>x';</script></HEAD><BODY>"
        f"<DIV ALIGN=CENTER><TABLE><TR><TD><A HREF='/x'>Menu</A></TD></TR>{lines}</TABLE></DIV></BODY></HTML>"
    )


ENGLISH = html(
    ("Host Name", "SEP001B0C000001"),
    ("TFTP Server 1", "10.1.1.5"),
    ("TFTP Server 2", "0.0.0.0"),
    ("Alternate TFTP", "No"),
    ("Unified CM 1", "cm1.example.com  Active"),
    ("Unified CM 2", "cm2.example.com  Standby"),
    ("TVS", "10.1.1.5"),
    ("CTL File", "Not Installed"),
    ("ITL File", SHA1),
)


def test_an_english_page_is_read() -> None:
    assert parse_network(ENGLISH) == PhoneNetwork(
        tftp_servers=("10.1.1.5",),
        alternate_tftp=False,
        call_managers=("cm1.example.com", "cm2.example.com"),
        active="cm1.example.com",
        tvs=("10.1.1.5",),
        ctl="",
        itl=SHA1,
    )


@pytest.mark.parametrize(
    "rows",
    [
        [("Serveur TFTP 1", "10.1.1.5"), ("TFTP alternatif", "Oui"), ("CallManager 1", "cm1 Actif")],
        [("TFTP-Server 1", "10.1.1.5"), ("Alternate TFTP", "Ja"), ("CUCM-Server1", "cm1 Aktiv")],
        [("Servidor TFTP 1", "10.1.1.5"), ("TFTP alternativo", "Sí"), ("Unified CM 1", "cm1 Activo")],
        [("TFTP server 1", "10.1.1.5"), ("Alternate TFTP", "Yes"), ("CUCM server1", "cm1 Active")],
    ],
)
def test_other_languages_and_families_are_read(rows: list[tuple[str, str]]) -> None:
    assert parse_network(html(*rows)) == PhoneNetwork(("10.1.1.5",), True, ("cm1",), "cm1")


def test_a_page_in_xml_is_read() -> None:
    page = (
        '<?xml version="1.0" encoding="UTF-8"?><NetworkConfiguration><HostName>SEP001B0C000001</HostName>'
        "<TFTPServer2>10.1.1.6</TFTPServer2><TFTPServer1>10.1.1.5</TFTPServer1><AltTFTP>Yes</AltTFTP>"
        "<CallManager1>cm1 &amp; co Active</CallManager1></NetworkConfiguration>"
    )
    assert parse_rows(page)[0] == ("HostName", "SEP001B0C000001")
    assert parse_network(page) == PhoneNetwork(("10.1.1.5", "10.1.1.6"), True, ("cm1",), "cm1")


@pytest.mark.parametrize(
    ("value", "digest"),
    [
        (SHA1.lower(), SHA1),
        (":".join(SHA1[at : at + 2] for at in range(0, 40, 2)), SHA1),
        (f"{SHA1[:32]} (MD5)", SHA1[:32]),
        ("ITL installed", ""),
        ("12 34", ""),
    ],
)
def test_a_hash_is_found_however_it_is_written(value: str, digest: str) -> None:
    assert parse_network(html(("ITL File", value))).itl == digest


def test_a_page_that_does_not_say_leaves_open_what_it_does_not_say() -> None:
    assert parse_network(html(("DHCP", "Yes"))) == PhoneNetwork()
    assert parse_network("") == PhoneNetwork()


LINES = ("11:38:22a 08/27/14 Trust List Update Failed", "[11:39:02a 08/27/14] SEP001B0C000001.cnf.xml.sgn")


@pytest.mark.parametrize(
    "page",
    [
        html(("11:38:22a 08/27/14", "Trust List Update Failed"), ("11:39:02a 08/27/14", "SEP001B0C000001.cnf.xml.sgn")),
        f"<table><tr><td>Status</td></tr><tr><td><b>{LINES[0]}<br>{LINES[1]}</b></td></tr></table>",
        f"<div>{LINES[0]}</div><p>{LINES[1]}",
        f"{LINES[0]}\n\n{LINES[1]}\nback to the menu\n",
    ],
)
def test_status_messages_are_lines_that_begin_with_a_time(page: str) -> None:
    assert parse_status(page) == (
        StatusMessage("11:38:22a 08/27/14", "Trust List Update Failed"),
        StatusMessage("11:39:02a 08/27/14", "SEP001B0C000001.cnf.xml.sgn"),
    )


def test_name_and_model_are_found_by_what_they_look_like() -> None:
    assert parse_device("<x>sep001b0c000001</x><y>CP-8841</y>") == ("SEP001B0C000001", "CP-8841")
    assert parse_device("nothing") == ("", "")


@given(st.text(max_size=300) | st.text(alphabet="<>/tdrb TFTP1:0=&;'\"[]", max_size=300))
def test_any_text_is_read_somehow(page: str) -> None:
    assert isinstance(parse_network(page), PhoneNetwork)
    assert isinstance(parse_status(page), tuple)
    assert isinstance(parse_rows(page), list)
    assert len(parse_device(page)) == 2


@given(st.binary(max_size=40), st.integers(0, 400))
def test_a_page_cut_or_spoiled_anywhere_is_read_as_far_as_it_goes(junk: bytes, at: int) -> None:
    page = ENGLISH[:at] + junk.decode("latin-1") + ENGLISH[at:]
    assert isinstance(parse_network(page), PhoneNetwork)
    assert isinstance(parse_network(ENGLISH[:at]), PhoneNetwork)


_CELL = st.text(st.sampled_from("aB1 :&;/-\u00e9\n")) | st.sampled_from(
    ["&amp;", "&#65;", "<b>x</b>", "&nbsp;", "1 < 2", ""]
)


@given(st.lists(st.tuples(_CELL, _CELL)), st.sampled_from(["", " ", "\r\n"]), st.text(max_size=9))
def test_a_plain_table_is_read_as_any_other(cells: list[tuple[str, str]], between: str, before: str) -> None:
    rows = between.join(f"<TR><TD><B>{name}</B></TD>{between}<TD>{value}</TD></TR>" for name, value in cells)
    page = f"<P>{before}</P><TABLE>{rows}</TABLE>"
    quick = phoneweb._plain_rows(page)
    assert quick is None or quick == phoneweb._read(page).rows


def test_a_lab_phones_page_is_such_a_table() -> None:
    page = "<H1>x</H1><TABLE>\n<TR><TD><B>10:00:00 01/02/26</B></TD><TD>Trust List Updated</TD></TR>\n</TABLE>"
    assert phoneweb._plain_rows(page) == [["10:00:00 01/02/26", "Trust List Updated"]]
    assert phoneweb._plain_rows(ENGLISH) is None


# Over the wire.


class Pages(PhoneConnection):
    """A phone with these pages."""

    def __init__(self, pages: dict[str, tuple[int, str]]) -> None:
        super().__init__("192.0.2.7")
        self.pages = pages

    async def get(self, path: str) -> tuple[int, str]:
        return self.pages.get(path, (404, "not found"))


def read(pages: dict[str, tuple[int, str]], **more: Any) -> PhonePages:
    return asyncio.run(read_phone("192.0.2.7", connection=Pages(pages), **more))


def test_the_first_page_that_answers_is_read_and_what_is_missing_is_named() -> None:
    found = read(
        {NETWORK_PAGES[1]: (200, ENGLISH), NETWORK_PAGES[0]: (500, "oops"), DEVICE_PAGES[-1]: (200, "CP-7962")}
    )
    assert found.network.itl == SHA1
    assert found.model == "CP-7962"
    assert found.missing == (f"{STATUS_PAGES[0]}: HTTP 404; {STATUS_PAGES[1]}: HTTP 404",)


def test_a_phone_that_shows_nothing_is_told_from_one_that_is_not_there() -> None:
    with pytest.raises(NotSupported, match=r"192\.0\.2\.7 shows none of its pages"):
        read({})
    with pytest.raises(Unreachable, match=r"phone 127\.0\.0\.1: no connection") as caught:
        asyncio.run(read_phone("127.0.0.1", port=9, patience=Patience(connect=1, answer=1)))
    assert "web access" in caught.value.hint


def test_pages_that_nobody_wants_are_not_asked_for() -> None:
    found = read({NETWORK_PAGES[0]: (200, ENGLISH)}, kinds=(NETWORK_PAGES,))
    assert found.network.itl == SHA1
    assert found.missing == ()


def test_a_lab_phone_tells_what_it_holds(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    definition = lab_definition(phones(1), source={"security": "non-secure"})
    folder = Prepared.once(tmp_path_factory).lab(tmp_path / "lab", definition)
    with keys_read_once(), LiveLab(folder) as live:
        (phone,) = live.phones
        live.boot()
        found = live.do(read_phone(phone.identity.address, port=live.lab.ports.web))
        held = phone.flash.kept(Kept.ITL)
        assert held is not None
        assert found.name == phone.name
        assert found.model == "CP-8841"
        assert found.network.tftp_servers == phone.tftp_servers
        assert found.network.itl == hashlib.sha1(held).hexdigest().upper()
        assert found.network.ctl == ""
        assert phone.registered_with is not None
        assert found.network.active == phone.registered_with.name
        assert [message.text for message in found.messages] == [text for _, text in phone.status]
        assert found.missing == ()
