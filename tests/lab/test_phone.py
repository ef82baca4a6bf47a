"""A lab phone between its procedure and the sockets: what becomes of failures, its own and others'."""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
from pathlib import Path
from typing import Any

import pytest
from tests.lab.prepared import clock

from trustbridge import atomicfile
from trustbridge.clients.lease import Lease
from trustbridge.clients.register import ClientTls, RegisterResult
from trustbridge.errors import Refused, Unreachable
from trustbridge.lab import phone as phones
from trustbridge.lab.phone import LabPhone, PhoneIdentity, PhoneNetwork, Standing
from trustbridge.lab.ports import Ports
from trustbridge.trust import configuration as configurations
from trustbridge.trust.configuration import CallManagerMember, Configuration
from trustbridge.trust.events import Kept, Refusal, RegistrationTarget
from trustbridge.trust.models import MODELS

NAME = "SEP001B0C000001"
CONFIGURATION = configurations.build(
    Configuration(call_managers=(CallManagerMember("127.0.0.7"), CallManagerMember("127.0.0.8")), tvs=())
)
FILES = {f"{NAME}.cnf.xml": CONFIGURATION}


class Surroundings:
    """What answers a phone, without sockets; each may be changed by a test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lease: Any = Lease("127.30.0.10", ("127.0.0.5", "127.0.0.6"), "", "127.0.0.1", 60)
        self.http: Any = dict(FILES)
        self.tftp: Any = Unreachable("TFTP is silent")
        self.registrar: Any = RegisterResult(200, "OK", 3600)
        self.asked: list[tuple[Any, ...]] = []
        self.tls: ClientTls | None = None

        async def obtain_lease(*arguments: Any, **options: Any) -> Any:
            return self._answer(self.lease, "dhcp", options["mac"].hex())

        async def http_get(server: str, port: int, name: str, **_: Any) -> Any:
            return self._answer(self.http, "http", server, port, name)

        async def tftp_get(server: str, port: int, name: str, *, timeout: float, tries: int, **_: Any) -> Any:
            assert timeout * tries <= phones.PATIENCE
            return self._answer(self.tftp, "tftp", server, port, name)

        async def register(host: str, port: int, *, expires: int, tls: ClientTls | None, **_: Any) -> Any:
            self.tls = tls
            return self._answer(self.registrar, "register", host, port, expires)

        monkeypatch.setattr(phones, "obtain_lease", obtain_lease)
        monkeypatch.setattr(phones, "http_get", http_get)
        monkeypatch.setattr(phones, "tftp_get", tftp_get)
        monkeypatch.setattr(phones, "register", register)

    def _answer(self, what: Any, *question: Any) -> Any:
        self.asked.append(question)
        if callable(what):
            what = what(*question)
        if isinstance(what, Exception):
            raise what
        return what.get(question[-1]) if isinstance(what, dict) else what

    def those(self, kind: str) -> list[tuple[Any, ...]]:
        return [question[1:] for question in self.asked if question[0] == kind]


@pytest.fixture
def around(monkeypatch: pytest.MonkeyPatch) -> Surroundings:
    return Surroundings(monkeypatch)


@pytest.fixture
def phone(tmp_path: Path, around: Surroundings) -> LabPhone:
    (tmp_path / NAME).mkdir()
    identity = PhoneIdentity(NAME, MODELS["CP-8841"], "127.30.0.10")
    return LabPhone(identity, tmp_path / NAME, PhoneNetwork("127.30.0.1", Ports(1000)), clock)


def test_a_phone_starts_registers_and_keeps_its_configuration(phone: LabPhone, around: Surroundings) -> None:
    standings = [phone.standing]
    outcome = asyncio.run(phone.boot())
    standings.append(phone.standing)
    assert outcome.registered == RegistrationTarget("127.0.0.7", 5060, False) == phone.registered_with
    assert standings == [Standing.OFF, Standing.REGISTERED]
    assert phone.tftp_servers == ("127.0.0.5", "127.0.0.6")
    assert phone.flash.kept(Kept.CONFIGURATION) == CONFIGURATION
    assert around.those("dhcp") == [("001b0c000001",)]
    assert {(server, port) for server, port, _ in around.those("http")} == {("127.0.0.5", 7970)}
    assert around.those("register") == [("127.0.0.7", 5060, 3600)]
    assert phone.trust_lists() == "no trust list installed"


def test_a_reset_takes_the_registration_back_first(phone: LabPhone, around: Surroundings) -> None:
    asyncio.run(phone.boot())
    around.asked.clear()
    asyncio.run(phone.boot())
    assert around.asked[0] == ("register", "127.0.0.7", 5060, 0)
    assert around.those("register")[1:] == [("127.0.0.7", 5060, 3600)]


def test_tftp_is_asked_where_http_fails_and_only_there(phone: LabPhone, around: Surroundings) -> None:
    around.http, around.tftp = Unreachable("HTTP is down"), dict(FILES)
    assert asyncio.run(phone.boot()).registered is not None
    assert {(server, port) for server, port, _ in around.those("tftp")} == {("127.0.0.5", 1069)}
    around.asked.clear()
    around.http = dict(FILES)
    asyncio.run(phone.boot())
    assert around.those("tftp") == []


def test_the_second_server_is_asked_when_the_first_is_silent(phone: LabPhone, around: Surroundings) -> None:
    def second(_: str, server: str, port: int, name: str) -> Any:
        return FILES.get(name) if server == "127.0.0.6" else Unreachable("down")

    around.http = second
    assert asyncio.run(phone.boot()).refusal is None
    order = [question[:2] for question in around.asked if question[0] in ("http", "tftp")]
    assert order[:3] == [("http", "127.0.0.5"), ("tftp", "127.0.0.5"), ("http", "127.0.0.6")]


def test_when_no_server_answers_the_phone_says_so_and_registers_where_it_was(
    phone: LabPhone, around: Surroundings
) -> None:
    asyncio.run(phone.boot())
    before = phone.flash.checksum()
    around.http = Unreachable("HTTP is down")
    outcome = asyncio.run(phone.boot())
    assert outcome.refusal is Refusal.NO_TFTP_ANSWER
    assert "HTTP is down; TFTP is silent; HTTP is down; TFTP is silent" in outcome.reason
    assert phone.status[-1][1] == "TFTP Timeout"
    assert phone.standing is Standing.REGISTERED
    assert phone.flash.checksum() == before


def test_a_server_that_answers_with_an_error_is_told_from_a_silent_one(phone: LabPhone, around: Surroundings) -> None:
    asyncio.run(phone.boot())
    around.http = Unreachable("HTTP is down")
    around.tftp = Refused("TFTP: it answered error 2")
    assert asyncio.run(phone.boot()).refusal is Refusal.NO_TFTP_ANSWER
    assert phone.status[-1][1] == "TFTP Error"


def test_without_dhcp_the_phone_keeps_working_where_it_was(phone: LabPhone, around: Surroundings) -> None:
    asyncio.run(phone.boot())
    around.lease = Unreachable("nobody")
    outcome = asyncio.run(phone.boot())
    assert [message for _, message in phone.status][-2:] == ["DHCP timeout", "No Trust List Installed"]
    assert phone.tftp_servers == ()
    assert (outcome.refusal, phone.standing) == (Refusal.NO_TFTP_ANSWER, Standing.REGISTERED)


def test_the_next_unified_cm_of_the_group_is_tried(phone: LabPhone, around: Surroundings) -> None:
    around.registrar = lambda _, host, port, expires: (
        RegisterResult(200, "OK", expires) if host == "127.0.0.8" else RegisterResult(404, "Device unknown", 0)
    )
    outcome = asyncio.run(phone.boot())
    assert outcome.registered == RegistrationTarget("127.0.0.8", 5060, False)
    assert any("404 Device unknown" in line.text for line in phone.transcript)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (RegisterResult(403, "no", 0), "rejects the registration: 403 no"),
        (Refused("hung up"), "rejects the registration: hung up"),
        (Unreachable("nobody"), "fails: nobody"),
    ],
)
def test_a_registration_that_comes_to_nothing_is_told(
    phone: LabPhone, around: Surroundings, answer: Any, words: str
) -> None:
    around.registrar = answer
    outcome = asyncio.run(phone.boot())
    assert outcome.refusal is Refusal.REGISTRATION
    assert words in outcome.reason
    assert (phone.standing, phone.registered_with) == (Standing.NOT_REGISTERED, None)


# Its own failures.


def test_a_full_flash_is_the_phones_outcome_and_no_traceback(
    phone: LabPhone, around: Surroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(atomicfile, "write", full)
    outcome = asyncio.run(phone.boot())
    assert outcome.reason == "the phone can't use its flash: No space left on device"
    assert (outcome.registered, phone.standing) == (None, Standing.NOT_REGISTERED)
    assert phone.transcript[-1].ok is False
    assert len(phone.transcript) > 2  # what it did before is still told
    monkeypatch.undo()
    assert list(phone.flash.path.iterdir()) == []


def test_a_damaged_lsc_is_the_phones_outcome(phone: LabPhone, around: Surroundings) -> None:
    (phone.flash.path / "lsc.pem").write_text("x")
    (phone.flash.path / "lsc.key").write_text("x")
    outcome = asyncio.run(phone.boot())
    assert outcome.registered is None
    assert "certificate" in outcome.reason
    assert phone.standing is Standing.NOT_REGISTERED


def test_what_nobody_thought_of_is_the_phones_outcome(phone: LabPhone, around: Surroundings) -> None:
    around.http = UnicodeError("a host name that is none")
    outcome = asyncio.run(phone.boot())
    assert outcome.reason == "the simulated phone itself failed: UnicodeError: a host name that is none"
    around.http = dict(FILES)
    assert asyncio.run(phone.boot()).refusal is None
    assert phone.standing is Standing.REGISTERED


def test_a_phone_that_is_cut_off_is_off_and_tells_nothing_old(phone: LabPhone, around: Surroundings) -> None:
    asyncio.run(phone.boot())

    async def for_ever(*_: Any, **__: Any) -> Lease:
        await asyncio.sleep(3600)
        raise AssertionError

    async def scenario() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(phones, "obtain_lease", for_ever)
            booting = asyncio.create_task(phone.boot())
            await asyncio.sleep(0.01)
            assert phone.standing is Standing.BOOTING
            booting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await booting

    asyncio.run(scenario())
    assert (phone.standing, phone.outcome, phone.registered_with) == (Standing.OFF, None, None)


# In between.


def test_renewing_keeps_the_registration_or_ends_it(phone: LabPhone, around: Surroundings) -> None:
    assert not asyncio.run(phone.renew())
    asyncio.run(phone.boot())
    around.asked.clear()
    assert asyncio.run(phone.renew())
    assert around.asked == [("register", "127.0.0.7", 5060, 3600)]
    around.registrar = RegisterResult(404, "Device unknown", 0)
    assert not asyncio.run(phone.renew())
    assert (phone.standing, phone.registered_with) == (Standing.NOT_REGISTERED, None)


def test_a_secure_phone_looks_at_its_unified_cm_each_time(phone: LabPhone, around: Surroundings) -> None:
    phone.registered_with = RegistrationTarget("127.0.0.7", 5061, True)
    asyncio.run(phone.renew())
    assert around.tls is not None
    assert around.tls.check_certificate(b"some certificate") is not None
    asyncio.run(phone.boot())
    assert around.those("register")[1] == ("127.0.0.7", 5061, 0)


def test_an_old_phone_speaks_nothing_newer_than_tls_1_0() -> None:
    context = phones._old_tls()
    assert context.maximum_version == ssl.TLSVersion.TLSv1
    assert phones._old_tls() is context
