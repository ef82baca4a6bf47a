"""Phones of a rehearsal, by what their pages show: when one is through, and what it holds."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from typing import Any, cast

import pytest

from trustbridge.cucm.clusterreads import ClusterReads
from trustbridge.cucm.model import NodeInfo, TrustListFileInfo
from trustbridge.cucm.phoneweb import PhoneNetwork, PhonePages, StatusMessage
from trustbridge.errors import Unreachable
from trustbridge.migration import rehearsalphones
from trustbridge.migration.rehearsalphones import (
    DrivenPhone,
    PhoneWatch,
    ServedLists,
    as_lines,
    new_messages,
    served_lists,
)

PHONE = DrivenPhone("SEP001B0C000001", secure=False, address="127.0.0.1")


def pages(*messages: str, active: str = "cm1", **network: Any) -> PhonePages:
    """Messages are told apart by their times, as on a phone: `12 Trust List Updated`."""
    found = tuple(StatusMessage(*message.split(" ", 1)) for message in messages)
    return PhonePages(PHONE.address, PHONE.name, network=PhoneNetwork(active=active, **network), messages=found)


BEFORE = pages("1 ITL installed", "2 SEP.cnf.xml.sgn")
STARTED = pages("1 ITL installed", "2 SEP.cnf.xml.sgn", "3 ITL installed", active="")
THROUGH = pages("1 ITL installed", "2 SEP.cnf.xml.sgn", "3 ITL installed", "4 Trust List Update Failed")


def settled(
    monkeypatch: pytest.MonkeyPatch,
    script: list[PhonePages | None],
    known: PhonePages | None = BEFORE,
    *,
    quiet: float = 20.0,
) -> tuple[PhoneWatch, int, int]:
    """A phone shows these pages, one after the other and the last for ever (None: no answer); the watch, how many
    phones ended, and how many pages were read."""
    read = 0
    steps: Iterator[PhonePages | None] = iter(script)
    shown = script[0]

    async def read_phone(address: str, **_: Any) -> PhonePages:
        nonlocal read, shown
        read += 1
        shown = next(steps, shown)
        if shown is None:
            raise Unreachable(f"phone {address}: nobody")
        return shown

    monkeypatch.setattr(rehearsalphones, "read_phone", read_phone)
    ended: list[None] = []
    watch = PhoneWatch(quiet=quiet, pause=0.0, pages={} if known is None else {PHONE.name: known})
    asyncio.run(watch.settle([PHONE], lambda: ended.append(None)))
    return watch, len(ended), read


def test_a_phone_is_through_when_it_has_started_and_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    watch, ended, read = settled(monkeypatch, [BEFORE, None, STARTED, THROUGH, THROUGH])
    assert (ended, read) == (1, 5)
    assert watch.pages[PHONE.name] == THROUGH


def test_a_network_page_that_was_read_before_the_reset_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are read one after the other: registered before, new messages after."""
    stale = pages("1 ITL installed", "2 SEP.cnf.xml.sgn", "3 ITL installed", active="cm1")
    watch, ended, _ = settled(monkeypatch, [stale, STARTED, STARTED, THROUGH, THROUGH])
    assert ended == 1
    assert watch.pages[PHONE.name] == THROUGH


@pytest.mark.parametrize("script", [[BEFORE], [STARTED], [None]], ids=["never reset", "not registered", "silent"])
def test_a_phone_where_nothing_changes_any_more_is_given_up(
    monkeypatch: pytest.MonkeyPatch, script: list[PhonePages | None]
) -> None:
    watch, ended, _ = settled(monkeypatch, script, quiet=0.05)
    assert ended == 0
    assert watch.pages[PHONE.name] == (script[-1] or BEFORE)


def test_at_the_first_look_registered_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    _, ended, read = settled(monkeypatch, [BEFORE], known=None)
    assert (ended, read) == (1, 1)


def test_a_phone_nobody_knows_the_address_of_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def read_phone(*_: Any, **__: Any) -> PhonePages:
        raise AssertionError

    monkeypatch.setattr(rehearsalphones, "read_phone", read_phone)
    watch = PhoneWatch(quiet=0.01, pause=0.0)
    asyncio.run(watch.settle([DrivenPhone(PHONE.name, secure=False)], lambda: None))
    assert watch.pages == {}


def test_new_messages_are_those_behind_the_known_ones() -> None:
    assert [one.text for one in new_messages(BEFORE, THROUGH)] == ["ITL installed", "Trust List Update Failed"]
    assert new_messages(BEFORE, BEFORE) == ()
    assert new_messages(None, BEFORE) == BEFORE.messages
    assert new_messages(BEFORE, None) == ()


def test_a_page_that_forgot_its_oldest_messages_tells_the_new_ones() -> None:
    after = pages("2 SEP.cnf.xml.sgn", "3 ITL installed")
    assert [one.when for one in new_messages(BEFORE, after)] == ["3"]
    assert [one.when for one in new_messages(BEFORE, pages("8 a", "9 b"))] == ["8", "9"]


def test_one_phone_in_words() -> None:
    after = pages(
        "3 Trust List Updated",
        "4 Trust List update failed, verification failure",
        "5 SEP1.cnf.xml.sgn",
        "6 ITL installed",
    )
    assert [(line.text, line.ok) for line in as_lines(None, after)] == [
        ("TFTP servers ", None),
        ("status: Trust List Updated", True),
        ("status: Trust List update failed, verification failure", False),
        ("status: SEP1.cnf.xml.sgn", True),
        ("status: ITL installed", None),
        ("registered with cm1", True),
    ]
    assert as_lines(None, pages(active=""))[-1].ok is False
    assert as_lines(BEFORE, None) == []


class Served:
    """A cluster whose TFTP nodes serve these files."""

    def __init__(self, *files: tuple[str, bytes | None, bytes | None]) -> None:
        self.files = files

    async def nodes(self) -> tuple[NodeInfo, ...]:
        return tuple(NodeInfo(name, f"10.0.0.{place}", place == 0) for place, (name, _, _) in enumerate(self.files))

    async def publisher(self) -> NodeInfo:
        return (await self.nodes())[0]

    async def trust_list_files(self) -> tuple[TrustListFileInfo, ...]:
        return tuple(
            TrustListFileInfo(node, name, content)
            for node, ctl, itl in self.files
            for name, content in (("CTLFile.tlv", ctl), ("ITLFile.tlv", itl))
        )


def served(*files: tuple[str, bytes | None, bytes | None]) -> ServedLists:
    return asyncio.run(served_lists(cast(ClusterReads, Served(*files))))


@pytest.mark.parametrize("kind", ["md5", "sha1", "sha256"])
def test_lists_are_known_by_any_hash_that_phones_show(kind: str) -> None:
    lists = served(("pub", b"ctl", b"itl of pub"), ("sub", b"ctl", b"itl of sub"))

    def shown(content: bytes) -> str:
        return hashlib.new(kind, content).hexdigest().upper()

    for itl in (b"itl of pub", b"itl of sub"):
        assert lists.are_on(pages(ctl=shown(b"ctl"), itl=shown(itl)))
    assert not lists.are_on(pages(ctl=shown(b"ctl"), itl=shown(b"itl")))
    assert not lists.are_on(pages(ctl=shown(b"itl of pub"), itl=shown(b"itl of pub")))
    assert not lists.are_on(pages(ctl="", itl=shown(b"itl of pub")))  # a phone without the CTL of a mixed-mode cluster
    assert not lists.are_on(pages())  # a page that says nothing of them
    assert not lists.are_on(None)


def test_where_no_ctl_is_served_phones_hold_none() -> None:
    lists = served(("pub", None, b"itl"))
    itl = hashlib.sha1(b"itl", usedforsecurity=False).hexdigest().upper()
    assert lists.are_on(pages(ctl="", itl=itl))
    assert not lists.are_on(pages(ctl="A" * 40, itl=itl))


def test_option_150_names_the_nodes_that_serve_subscribers_first_and_two() -> None:
    assert served(("pub", None, b"i"), ("sub1", None, b"i"), ("sub2", None, None)).servers == ("10.0.0.1", "10.0.0.0")
    assert served(("pub", None, b"i"), ("a", None, b"i"), ("b", None, b"i")).servers == ("10.0.0.1", "10.0.0.2")
