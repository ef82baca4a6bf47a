"""What is known of phones, from a cluster and phones that answer, answer partly, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from tests.migration.proofstage import NEW, Stage

from trustbridge.cucm.cluster import Cluster
from trustbridge.cucm.model import ClusterEntry, NodeInfo, PhoneInfo, PhoneStatus, RegistrationInfo
from trustbridge.cucm.phoneweb import PhoneNetwork, PhonePages
from trustbridge.errors import (
    AuthenticationRefused,
    Garbled,
    IdentityChanged,
    NotSupported,
    TrustbridgeError,
    Unreachable,
)
from trustbridge.migration import phonecollect
from trustbridge.migration.phonecollect import collect_phones, model_named_by
from trustbridge.migration.phonefacts import PhoneFacts
from trustbridge.pki.units import Unit
from trustbridge.trust.configuration import CallManagerMember, Configuration, build
from trustbridge.trust.lists import sign_file
from trustbridge.wire import signedfile

NODES = (NodeInfo("cm-pub", "192.0.2.1", True), NodeInfo("cm-sub", "192.0.2.2", False))
SHA1 = "0123456789ABCDEF0123456789ABCDEF01234567"


def name_of(number: int) -> str:
    return f"SEP{number:012X}"


def configuration(*members: str, mode: int = 1) -> bytes:
    """A signed configuration file."""
    plain = build(Configuration(tuple(map(CallManagerMember, members)), (), security_mode=mode))
    signer = Stage.strangers().clusters[NEW].signer(Unit.ITLRECOVERY, "new-pub")
    return signedfile.encode(sign_file(plain, signer, file_name="x.cnf.xml", now=datetime(2026, 3, 1, tzinfo=UTC)))


class Fake:
    """A cluster behind the driver's facade, its files and its phones' pages; every part may be changed."""

    name = "old"
    entry = ClusterEntry("old", "cm-pub", "os", "app")

    def __init__(self, count: int = 3) -> None:
        self.infos = [PhoneInfo(name_of(number), "Cisco 8841", f"Phone {number}", "Hall") for number in range(count)]
        self.known: dict[str, RegistrationInfo] = {}
        self.pages: dict[str, PhonePages | TrustbridgeError] = {}
        #: What each node serves, by (node, file); a node that is not up has an error of its own.
        self.files: dict[tuple[str, str], bytes] = {}
        self.down: dict[str, TrustbridgeError] = {}
        self.ris: TrustbridgeError | None = None
        self.asked: list[Sequence[str]] = []
        self.fetched: list[tuple[str, str]] = []
        self.reading = self.most = 0
        for number, info in enumerate(self.infos):
            address = f"198.51.100.{number}"
            self.known[info.name] = RegistrationInfo(info.name, PhoneStatus.REGISTERED, "cm-sub", address)
            self.pages[address] = PhonePages(
                address, info.name, network=PhoneNetwork(("192.0.2.1",), False, itl=SHA1, ctl="")
            )
            self.files["cm-pub", f"{info.name}.cnf.xml.sgn"] = configuration("192.0.2.2", "cm-pub.example")

    def host(self, node: NodeInfo) -> str:
        return node.address

    async def nodes(self) -> tuple[NodeInfo, ...]:
        if "nodes" in self.down:
            raise self.down["nodes"]
        return NODES

    async def phones(self) -> AsyncIterator[PhoneInfo]:
        for info in self.infos:
            yield info

    async def registrations(self, names: Sequence[str]) -> dict[str, RegistrationInfo]:
        self.asked.append(names)
        if self.ris is not None:
            raise self.ris
        return {name: self.known[name] for name in names if name in self.known}

    async def over_http(self, entry: ClusterEntry, node: str, host: str, name: str, patience: Any) -> bytes | None:
        self.fetched.append((node, name))
        await asyncio.sleep(0)
        if node in self.down:
            raise self.down[node]
        return self.files.get((node, name))

    async def read_phone(self, address: str, **_: Any) -> PhonePages:
        self.reading += 1
        self.most = max(self.most, self.reading)
        await asyncio.sleep(0)
        self.reading -= 1
        page = self.pages[address]
        if isinstance(page, TrustbridgeError):
            raise page
        return page


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    made = Fake()
    monkeypatch.setattr(phonecollect, "over_http", lambda *args: made.over_http(*args))
    monkeypatch.setattr(phonecollect, "read_phone", lambda address, **options: made.read_phone(address, **options))
    return made


def collected(fake: Fake, configurations: Any = "each", *, pages: bool = True, **options: Any) -> list[PhoneFacts]:
    return asyncio.run(collect_phones(cast(Cluster, fake), pages=pages, configurations=configurations, **options))


def test_all_that_can_be_seen(fake: Fake) -> None:
    first, *_ = found = collected(fake)
    assert len(found) == 3
    assert first == PhoneFacts(
        name_of(0),
        "CP-8841",
        "Hall",
        "Phone 0",
        group=("cm-sub", "cm-pub"),
        security_mode=1,
        status=PhoneStatus.REGISTERED,
        address="198.51.100.0",
        itl=SHA1,
        ctl="",
        alternate_tftp=False,
        tftp_servers=("192.0.2.1",),
    )


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("Cisco 8841", "CP-8841"),
        ("Cisco 7937", "Cisco 7937"),
        ("Cisco Unified Client", "Cisco Unified Client"),
        ("", ""),
    ],
)
def test_models_are_named_as_the_table_names_them(words: str, name: str) -> None:
    assert model_named_by(words) == name


def test_what_is_not_asked_for_is_told(fake: Fake) -> None:
    for one in collected(fake, "none", pages=False):
        assert (one.group, one.security_mode, one.itl, one.ctl, one.alternate_tftp) == (None,) * 5
        assert [why.partition(":")[0] for why in one.missing] == [
            "Unified CM group and security mode",
            "trust lists it holds",
        ]
    assert not fake.fetched
    assert fake.most == 0


# Registrations.


def test_registrations_are_asked_a_thousand_at_a_time(fake: Fake) -> None:
    fake.infos = [replace(fake.infos[0], name=name_of(number)) for number in range(2001)]
    found = collected(fake, "none", pages=False)
    assert [len(names) for names in fake.asked] == [1000, 1000, 1]
    assert found[2].status is PhoneStatus.REGISTERED
    assert found[2000].status is None
    assert "registration: no Unified CM has heard of it" in found[2000].missing


def test_a_refusal_is_waited_for_once_and_told_of_every_phone(fake: Fake) -> None:
    fake.infos = [replace(fake.infos[0], name=name_of(number)) for number in range(1500)]
    fake.ris = Unreachable("RisPort70 is down")
    found = collected(fake, "none", pages=True)
    assert len(fake.asked) == 1
    for one in found:
        assert "registration: RisPort70 is down" in one.missing
        assert "trust lists it holds: no address is known to read its page at" in one.missing


@pytest.mark.parametrize("error", [AuthenticationRefused("wrong"), IdentityChanged("another")])
def test_what_nobody_may_pass_over_ends_it(fake: Fake, error: TrustbridgeError) -> None:
    fake.ris = error
    with pytest.raises(type(error)):
        collected(fake)
    fake.ris = None
    fake.down["nodes"] = error
    with pytest.raises(type(error)):
        collected(fake)


# Configuration files.


def test_of_phones_that_are_alike_one_is_read_and_that_is_told(fake: Fake) -> None:
    fake.infos[2] = replace(fake.infos[2], security_profile="Encrypted")
    fake.files["cm-pub", f"{name_of(2)}.cnf.xml.sgn"] = configuration("cm-pub", mode=3)
    first, second, third = collected(fake, "sampled")
    assert {name for _, name in fake.fetched} == {f"{name_of(0)}.cnf.xml.sgn", f"{name_of(2)}.cnf.xml.sgn"}
    assert (first.group, first.security_mode, first.missing) == (("cm-sub", "cm-pub"), 1, ())
    assert (second.group, second.security_mode) == (("cm-sub", "cm-pub"), 1)
    assert f"its own file was not read, that of {name_of(0)} was" in second.missing[0]
    assert (third.group, third.security_mode, third.missing) == (("cm-pub",), 3, ())
    fake.infos[1] = replace(fake.infos[1], device_pool="Other")
    fake.fetched.clear()
    assert not collected(fake, "sampled")[1].missing
    assert len(fake.fetched) == 3


def test_where_a_sample_has_no_file_others_of_its_kind_are_tried(fake: Fake) -> None:
    del fake.files["cm-pub", f"{name_of(0)}.cnf.xml.sgn"]
    found = collected(fake, "sampled")
    assert all(one.group for one in found)
    assert f"that of {name_of(1)} was" in found[0].missing[0]
    assert not found[1].missing
    fake.files.clear()
    for one in collected(fake, "sampled"):
        assert one.group is None
        assert f"cm-pub serves no {name_of(0)}.cnf.xml.sgn" in one.missing[0]


def test_a_file_that_makes_no_sense_is_no_fact(fake: Fake) -> None:
    fake.files["cm-pub", f"{name_of(0)}.cnf.xml.sgn"] = b"what?"
    first, second, _ = collected(fake)
    assert first.group is None
    assert f"{name_of(0)}.cnf.xml.sgn of cm-pub: " in first.missing[0]
    assert not second.missing


@pytest.mark.parametrize("error", [Unreachable("cm-pub is down"), Garbled("cm-pub makes no sense")])
def test_another_node_is_asked_once_one_is_found_down(fake: Fake, error: TrustbridgeError) -> None:
    fake.files = {("cm-sub", name): content for (_, name), content in fake.files.items()}
    fake.down["cm-pub"] = error
    assert all(one.group for one in collected(fake))
    assert {node for node, _ in fake.fetched} == {"cm-pub", "cm-sub"}
    fake.down["cm-sub"] = Unreachable("cm-sub is down")
    for one in collected(fake):
        assert one.missing == (f"Unified CM group and security mode: {error.message}",)


def test_without_nodes_nobody_is_asked_for_files(fake: Fake) -> None:
    fake.down["nodes"] = Unreachable("nobody tells the nodes")
    assert collected(fake)[0].missing == ("Unified CM group and security mode: nobody tells the nodes",)


def test_a_member_that_is_no_node_stays_as_the_file_has_it(fake: Fake) -> None:
    fake.files["cm-pub", f"{name_of(0)}.cnf.xml.sgn"] = configuration("CM-SUB", "192.0.2.200", "far.example")
    assert collected(fake)[0].group == ("cm-sub", "192.0.2.200", "far.example")


# Pages.


def test_a_page_that_is_closed_silent_or_another_phones_is_no_fact(fake: Fake) -> None:
    fake.pages["198.51.100.0"] = NotSupported("its web access is off")
    fake.pages["198.51.100.1"] = PhonePages("198.51.100.1", name_of(9), network=PhoneNetwork(itl=SHA1))
    fake.pages["198.51.100.2"] = PhonePages("198.51.100.2", "", network=PhoneNetwork(("192.0.2.7",), ctl=SHA1))
    off, other, quiet = collected(fake)
    assert (off.itl, off.ctl, off.missing) == (None, None, ("trust lists it holds: its web access is off",))
    assert (other.itl, other.tftp_servers) == (None, ())
    assert other.missing == (f"trust lists it holds: at its address 198.51.100.1 answers {name_of(9)}",)
    assert (quiet.itl, quiet.ctl, quiet.tftp_servers) == (None, SHA1, ("192.0.2.7",))
    assert quiet.missing == ("trust lists it holds: its page tells no hash of its ITL",)


def test_pages_are_read_some_at_a_time(fake: Fake) -> None:
    fake.infos = [replace(fake.infos[0], name=name_of(number)) for number in range(300)]
    for number in range(300):
        address = f"198.51.100.{number}"
        fake.known[name_of(number)] = RegistrationInfo(name_of(number), PhoneStatus.REGISTERED, "cm-sub", address)
        fake.pages[address] = PhonePages(address, name_of(number), network=PhoneNetwork(itl=SHA1, ctl=""))
    steps: list[tuple[str, int, int]] = []
    found = collected(fake, "none", progress=lambda *step: steps.append(step))
    assert all(one.itl == SHA1 for one in found)
    assert 1 < fake.most <= 64
    assert steps[-1] == ("phone pages of old", 300, 300)


def _unanswered(cause: Exception) -> Unreachable:
    error = Unreachable("it did not answer")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("cause", "first_answers", "asked"),
    [
        (TimeoutError("late"), False, range(128, 128 + 64)),
        (TimeoutError(), False, range(128, 128 + 64)),
        # Somebody there is heard, or refuses at once: waiting for the others may be worth it.
        (TimeoutError("late"), True, range(300, 301)),
        (ConnectionRefusedError("refused"), False, range(300, 301)),
    ],
)
def test_a_voice_network_out_of_reach_is_not_waited_for_phone_by_phone(
    fake: Fake, cause: Exception, first_answers: bool, asked: range
) -> None:
    fake.infos = [replace(fake.infos[0], name=name_of(number)) for number in range(300)]
    for number in range(300):
        address = f"198.51.100.{number}"
        fake.known[name_of(number)] = RegistrationInfo(name_of(number), PhoneStatus.REGISTERED, "cm-sub", address)
        if number or not first_answers:
            fake.pages[address] = _unanswered(cause)
    found = collected(fake, "none")
    tried = [one.name for one in found if "in vain" not in one.missing[-1]]
    assert len(tried) in asked
    assert all(one.missing for one in found[1:])
