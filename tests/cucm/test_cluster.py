"""The facade over fakes of the interfaces: the way that is taken, what a failure means, what precedes a change."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest

from trustbridge.cucm import clusterreads, clusterwrites
from trustbridge.cucm.access import Access
from trustbridge.cucm.cluster import Cluster
from trustbridge.cucm.credentials import Credentials, Realm, Secret, variable
from trustbridge.cucm.model import (
    CallManagerGroup,
    ClusterEntry,
    DhcpSubnet,
    Interface,
    NodeInfo,
    PhoneInfo,
    RegistrationInfo,
    Release,
    ServiceStatus,
    TrustedCertificate,
    Write,
)
from trustbridge.cucm.ways import Ways
from trustbridge.errors import (
    AuthenticationRefused,
    Garbled,
    IdentityChanged,
    NotSupported,
    Refused,
    SettingsError,
    Throttled,
    TrustbridgeError,
    Unreachable,
)
from trustbridge.exchange.directory import SftpSettings
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.issue import Organisation, self_signed
from trustbridge.pki.units import BulkType, Store, Unit

T = TypeVar("T")

ENTRY = ClusterEntry(name="source", publisher="192.0.2.1", os_user="administrator", app_user="axluser")
BOTH = Credentials(Secret("os secret"), Secret("app secret"))
NETWORK = (
    "192.0.2.1 pub.example pub Publisher callmanager DBPub authenticated\n"
    "192.0.2.2 sub.example sub Subscriber callmanager DBSub authenticated using TCP since Mon Nov 17 2025\n"
    "192.0.2.3 imp.example imp Subscriber cups DBSub authenticated using TCP since Mon Nov 17 2025\n"
)
MODE = "paramname           paramvalue\n=================== ==========\nClusterSecurityMode 0\n"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    organisation = Organisation(ou="UC", o="Example", l="Krakow", st="Malopolska", c="PL")
    return self_signed(
        node="dst", unit=Unit.CALLMANAGER, common_name="dst.example", organisation=organisation, now=NOW, key="p256"
    ).certificate


@dataclass
class World:
    """What the fakes answer, and what they were asked."""

    release: str
    texts: dict[str, str | Exception] = field(default_factory=dict)
    failing: dict[Interface, TrustbridgeError] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    trusts: list[tuple[str, Certificate]] = field(default_factory=list)
    answers: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    subnets: list[DhcpSubnet] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    credentials: Credentials = BOTH

    def use(self, interface: Interface, what: str) -> None:
        self.asked.append(f"{interface.name} {what}")
        if interface in self.failing:
            raise self.failing[interface]

    def do(self, work: Callable[[Cluster], Any], **options: Any) -> Any:
        """What `work` gives; `cluster` is the last that was made."""

        async def run() -> Any:
            access = FakeAccess(self)
            ways = Ways(access, options.pop("prefer", None))
            self.cluster = Cluster(ENTRY, access, ways, on_write=self.writes.append, **options)
            return await work(self.cluster)

        return asyncio.run(run())


class FakeCli:
    def __init__(self, world: World, node: str) -> None:
        self.world = world
        self.node = node
        self.texts = FakeAccess(world).texts

    async def run(self, command: str, answers: Mapping[str, Any] | None = None, **_: Any) -> str:
        self.world.use(Interface.CLI, command)
        self.world.answers[command] = answers or {}
        if command == "show version active":
            return f"Active Master Version: {self.world.release}\n"
        if command == "show network cluster":
            return NETWORK
        if command == "show cert list trust":
            return "".join(f"CallManager-trust/{name}: Trust Certificate\n" for name, _ in self.world.trusts)
        for name, certificate in self.world.trusts:
            if command == f"show cert trust CallManager-trust/{name}":
                return certificate.pem()
            if command == f"set cert delete CallManager-trust {name}" and command not in self.world.texts:
                self.world.trusts.remove((name, certificate))
                return f"Successfully deleted certificate: {name}\n"
        said = self.world.texts[command]
        if isinstance(said, Exception):
            raise said
        return said


class FakeAccess(Access):
    def __init__(self, world: World) -> None:
        super().__init__(ENTRY, world.credentials, Path("/nonexistent"))
        self.world = world

    async def cli(self, node: str, host: str) -> Any:
        return FakeCli(self.world, node)

    async def https(self, node: str, host: str, interface: Interface) -> Any:
        return self.world, node, interface

    async def file(self, node: str, host: str, name: str, interface: Interface) -> bytes | None:
        self.world.use(interface, f"{node} {name}")
        return b"list"


class _Over:
    def __init__(self, https: Any, **_: Any) -> None:
        self.world, self.node, self.interface = https

    def use(self, what: str) -> None:
        self.world.use(self.interface, what)


class FakeAxl(_Over):
    async def release(self) -> Release:
        self.use("release")
        return Release.parse(self.world.release)

    async def nodes(self) -> tuple[NodeInfo, ...]:
        self.use("nodes")
        return (NodeInfo("pub", "pub", True), NodeInfo("sub", "sub", False))

    async def security_mode(self) -> str:
        self.use("mode")
        return "mixed"

    async def prepare_for_rollback(self) -> bool:
        self.use("rollback")
        return True

    async def groups(self) -> tuple[CallManagerGroup, ...]:
        self.use("groups")
        return (CallManagerGroup("Default", ("sub", "pub")),)

    async def phones(self) -> AsyncIterator[PhoneInfo]:
        self.use("phones")
        yield PhoneInfo("SEP001122334455", "Cisco 8841")

    async def dhcp_subnets(self) -> tuple[DhcpSubnet, ...]:
        self.use("subnets")
        return tuple(self.world.subnets)

    async def set_tftp_servers(self, subnet: DhcpSubnet, servers: Sequence[str]) -> None:
        self.use(f"option 150 of {subnet.identifier}")
        self.world.subnets = [replace(subnet, tftp_servers=tuple(servers))]

    async def reset(self, name: str) -> None:
        self.use(f"reset {name}")
        if name == "SEPBAD":
            raise Refused("no such device")


class FakeRest(_Over):
    async def trusted(self, store: Store | None) -> tuple[TrustedCertificate, ...]:
        self.use(f"trusted of {self.node}")
        return ()

    async def upload_trust(self, store: Store, certificates: Sequence[Certificate]) -> None:
        self.use(f"upload {store} {len(certificates)}")


class FakeRis(_Over):
    async def registrations(self, names: Sequence[str]) -> dict[str, RegistrationInfo]:
        self.use(f"registrations {len(names)}")
        return {}


class FakeControlCenter(_Over):
    async def services(self) -> tuple[ServiceStatus, ...]:
        self.use(f"services of {self.node}")
        return (ServiceStatus(self.node, "Cisco Tftp", False),)

    async def restart(self, service: str, *, node: str) -> None:
        self.use(f"restart {service} on {node}")


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusterreads, "Axl", FakeAxl)
    monkeypatch.setattr(clusterreads, "CertificateRest", FakeRest)
    monkeypatch.setattr(clusterreads, "Ris", FakeRis)
    monkeypatch.setattr(clusterreads, "ControlCenter", FakeControlCenter)
    monkeypatch.setattr(clusterwrites, "ControlCenter", FakeControlCenter)


# Ways.


def test_certificates_come_by_rest_from_14_on_and_by_command_line_before(certificate: Certificate) -> None:
    new = World("14.0.1.10000-20")
    assert new.do(lambda cluster: cluster.trusted("sub")) == ()
    assert new.asked == ["CLI show network cluster", "AXL release", "REST trusted of sub"]
    assert ("trust stores of sub", Interface.REST) in new.cluster.ways()
    old = World("12.5.1.11900-146", trusts=[("a.pem", certificate)])
    assert old.do(lambda cluster: cluster.trusted("SUB", Store.CALLMANAGER_TRUST)) == (
        TrustedCertificate("sub", Store.CALLMANAGER_TRUST, certificate, "a.pem"),
    )
    assert ("CallManager-trust of sub", Interface.CLI) in old.cluster.ways()
    assert not [asked for asked in old.asked if asked.startswith("REST")]


def test_a_way_that_may_be_told_is_taken_first(certificate: Certificate) -> None:
    world = World("14.0.1", trusts=[("a.pem", certificate)])
    found = world.do(lambda cluster: cluster.trusted("pub"), prefer=Interface.CLI)
    assert [one.certificate for one in found] == [certificate]
    assert set(world.cluster.ways()) == {
        ("nodes", Interface.CLI),
        ("release", Interface.CLI),
        ("trust stores of pub", Interface.CLI),
    }


def test_a_release_reads_the_same_by_either_way() -> None:
    by_axl = World("12.5.1.11900(146)").do(lambda cluster: cluster.release())
    by_cli = World("12.5.1.11900-146", failing={Interface.AXL: NotSupported("no AXL")})
    assert by_axl == by_cli.do(lambda cluster: cluster.release()) == Release.parse("12.5.1.11900-146")


@pytest.mark.parametrize("error", [Unreachable, Garbled, NotSupported, Refused])
def test_what_does_not_serve_is_gone_round_and_said(error: type[TrustbridgeError]) -> None:
    world = World("12.5.1", texts={}, failing={Interface.AXL: error("source (AXL): out of order")})
    world.texts = {
        "run sql select paramname,paramvalue from processconfig where paramname='ClusterSecurityMode'": MODE,
    }
    assert world.do(lambda cluster: cluster.security_mode()) == "non-secure"
    assert world.cluster.ways() == (("security mode", Interface.CLI),)
    assert world.cluster.detours() == ("security mode: not by AXL: source (AXL): out of order",)


@pytest.mark.parametrize("error", [AuthenticationRefused, IdentityChanged])
def test_a_refused_password_and_a_changed_identity_are_not_gone_round(error: type[TrustbridgeError]) -> None:
    world = World("12.5.1", failing={Interface.AXL: error("source (AXL): no")})
    with pytest.raises(error, match="source \\(AXL\\): no"):
        world.do(lambda cluster: cluster.security_mode())
    assert world.asked == ["AXL mode"]


def test_a_password_that_was_refused_is_not_tried_again_by_another_interface() -> None:
    world = World("14", failing={Interface.AXL: AuthenticationRefused("source (AXL): wrong password")})

    async def work(cluster: Cluster) -> None:
        for ask in (cluster.groups(), cluster.registrations(["SEP001122334455"])):
            with pytest.raises(AuthenticationRefused, match="wrong password"):
                await ask
        await cluster.nodes()

    world.do(work)
    assert world.asked == ["AXL groups", "CLI show network cluster"]


def test_an_interface_that_could_not_be_reached_comes_last_from_then_on() -> None:
    query = "run sql select paramname,paramvalue from processconfig where paramname='ClusterSecurityMode'"
    world = World("12.5.1", texts={query: MODE}, failing={Interface.AXL: Unreachable("source (AXL): nobody")})

    async def work(cluster: Cluster) -> None:
        await cluster.security_mode()
        await cluster.security_mode()

    world.do(work)
    assert [asked.split()[0] for asked in world.asked] == ["AXL", "CLI", "CLI"]


def test_when_no_way_leads_to_an_answer_one_error_tells_of_all() -> None:
    world = World("14", failing={Interface.AXL: NotSupported("no AXL"), Interface.CLI: Unreachable("no command line")})
    with pytest.raises(Unreachable) as caught:
        world.do(lambda cluster: cluster.release())
    assert caught.value.message == str(caught.value) == "no command line; and another way: no AXL"


def test_an_interface_without_a_password_is_not_asked_and_where_it_is_the_only_one_that_is_said() -> None:
    world = World("14.0.1", credentials=Credentials(os=Secret("x")))
    assert world.do(lambda cluster: cluster.release()) == Release.parse("14.0.1")
    assert world.asked == ["CLI show version active"]
    with pytest.raises(SettingsError, match="no password for its application user axluser"):
        world.do(lambda cluster: cluster.groups())

    async def phones(cluster: Cluster) -> None:
        async for _ in cluster.phones():
            pass

    with pytest.raises(SettingsError, match="axluser"):
        world.do(phones)


def test_nodes_of_other_products_are_none_and_an_unknown_node_is_named_with_those_there_are() -> None:
    world = World("14")
    assert [node.name for node in world.do(lambda cluster: cluster.nodes())] == ["pub", "sub"]
    with pytest.raises(SettingsError, match="source has no node imp") as caught:
        world.do(lambda cluster: cluster.services("imp"))
    assert caught.value.hint == "It has pub, sub."


class _TftpRuns(FakeControlCenter):
    async def services(self) -> tuple[ServiceStatus, ...]:
        await super().services()
        return (ServiceStatus(self.node, "Cisco Tftp", True),)


NO_HTTP = {Interface.HTTP_FILES: Unreachable("pub (files over HTTP): refused")}
NO_FILES = NO_HTTP | {Interface.TFTP: Unreachable("pub (TFTP): no answer")}


def test_trust_lists_come_over_http_and_where_that_does_not_answer_over_tftp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusterreads, "ControlCenter", _TftpRuns)
    for failing, way in (({}, Interface.HTTP_FILES), (NO_HTTP, Interface.TFTP)):
        world = World("14", failing=dict(failing))
        found = world.do(lambda cluster: cluster.trust_list_files("pub"))
        assert [(one.name, one.content) for one in found] == [("CTLFile.tlv", b"list"), ("ITLFile.tlv", b"list")]
        assert ("trust lists of pub", way) in world.cluster.ways()
        assert bool(world.cluster.detours()) == (way is Interface.TFTP)


def test_a_node_that_runs_no_tftp_serves_no_lists_and_is_not_waited_for() -> None:
    world = World("14", failing=dict(NO_FILES))
    found = world.do(lambda cluster: cluster.trust_list_files("pub"))
    assert [(one.name, one.content) for one in found] == [("CTLFile.tlv", None), ("ITLFile.tlv", None)]
    assert not [asked for asked in world.asked if asked.startswith("TFTP")]


def test_a_node_that_should_serve_lists_or_might_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World("14", failing=dict(NO_FILES), texts={"utils service list": Garbled("noise")})
    world.failing[Interface.CONTROL_CENTER] = Unreachable("nobody")
    with pytest.raises(Unreachable, match=r"over HTTP\): refused; and another way: pub \(TFTP\): no answer"):
        world.do(lambda cluster: cluster.trust_list_files("pub"))
    monkeypatch.setattr(clusterreads, "ControlCenter", _TftpRuns)
    with pytest.raises(Unreachable, match="refused"):
        World("14", failing=dict(NO_FILES)).do(lambda cluster: cluster.trust_list_files("pub"))


def test_whose_password_is_refused_meanwhile_is_told_that_and_nothing_else() -> None:
    world = World("14", failing=dict(NO_FILES))
    world.failing[Interface.CONTROL_CENTER] = AuthenticationRefused("pub (Control Center): wrong password")
    with pytest.raises(AuthenticationRefused, match="wrong password"):
        world.do(lambda cluster: cluster.trust_list_files("pub"))


def test_a_node_that_answers_noise_is_not_one_that_serves_no_lists() -> None:
    noise = {way: Garbled(f"pub ({way}): noise") for way in (Interface.HTTP_FILES, Interface.TFTP)}
    with pytest.raises(Garbled, match="noise"):  # of several nodes that fail, one error
        World("14", failing=dict(noise)).do(lambda cluster: cluster.trust_list_files())


def trial(interface: Interface) -> Callable[[Cluster], Any]:
    return lambda cluster: cluster.try_interface(interface)


def test_a_publisher_that_leaves_files_to_others_lacks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World("14", failing=dict(NO_FILES))
    for way in (Interface.HTTP_FILES, Interface.TFTP):
        with pytest.raises(NotSupported, match="does not run on the publisher"):
            world.do(trial(way))
    monkeypatch.setattr(clusterreads, "ControlCenter", _TftpRuns)
    with pytest.raises(Unreachable, match="TFTP"):
        world.do(trial(Interface.TFTP))
    world.failing.clear()
    assert "4 bytes" in world.do(trial(Interface.TFTP))


# Changes.

SFTP = SftpSettings(host="192.0.2.9", username="bulk", password="sftp secret", directory="/x")


def test_a_dry_run_announces_every_change_and_makes_none(certificate: Certificate) -> None:
    world = World("14", trusts=[("a.pem", certificate)])
    held = TrustedCertificate("pub", Store.CALLMANAGER_TRUST, certificate, "a.pem")

    async def work(cluster: Cluster) -> None:
        await cluster.configure_bulk(SFTP)
        assert await cluster.bulk_export(tuple(BulkType)) == ()
        assert await cluster.bulk_consolidate(tuple(BulkType)) == ()
        assert await cluster.bulk_import((BulkType.TFTP,)) == ()
        await cluster.upload_trust("sub", Store.CAPF_TRUST, [certificate])
        await cluster.delete_trust("pub", held)
        await cluster.reset_phones(["SEP1", "SEP2", "SEP1"])
        await cluster.restart_service("sub", "Cisco Tftp")
        assert cluster.written() == ()

    world.do(work, dry_run=True)
    assert [(write.target, write.interface) for write in world.writes] == [
        ("source", Interface.CLI),
        ("source", Interface.CLI),
        ("source", Interface.CLI),
        ("source", Interface.CLI),
        ("source/sub", Interface.REST),
        ("source/pub", Interface.CLI),
        ("source", Interface.AXL),
        ("source/sub", Interface.CONTROL_CENTER),
    ]
    assert not [asked for asked in world.asked if not asked.startswith(("CLI show ", "AXL release"))]
    assert world.trusts == [("a.pem", certificate)]
    assert "restarts phones (TB145)" in world.writes[3].effect
    assert "TB147" in world.writes[4].effect
    assert "no undo (TB148)" in world.writes[5].effect
    assert world.writes[6].what == "reset 2 phones: SEP1, SEP2"
    assert "secret" not in repr(world.writes)


def test_a_change_is_announced_before_it_is_done_and_kept_after() -> None:
    world = World("14")
    seen: list[tuple[int, int]] = []

    async def work(cluster: Cluster) -> None:
        cluster._on_write = lambda write: seen.append((len(world.asked), len(cluster.written())))
        await cluster.restart_service("sub", "Cisco Tftp")
        assert [write.what for write in cluster.written()] == ["restart Cisco Tftp"]

    world.do(work)
    assert seen == [(1, 0)]
    assert world.asked[-1] == "CONTROL_CENTER restart Cisco Tftp on sub"


def test_a_change_goes_another_way_only_where_nothing_was_done(certificate: Certificate) -> None:
    command = "set cert import trust CallManager"
    taken = "Successfully imported certificate for CallManager.\n"
    world = World("14", texts={command: taken}, failing={Interface.REST: NotSupported("source/pub: no REST")})

    def upload(cluster: Cluster) -> Any:
        return cluster.upload_trust("pub", Store.CALLMANAGER_TRUST, [certificate])

    world.do(upload)
    assert [write.interface for write in world.writes] == [Interface.REST, Interface.CLI]
    assert [write.interface for write in world.cluster.written()] == [Interface.CLI]
    assert world.answers[command] == {"paste": certificate.pem()}
    for error in (Unreachable, Garbled, Refused):
        world = World("14", texts={command: taken}, failing={Interface.REST: error("no")})
        with pytest.raises(error):
            world.do(upload)
        assert command not in world.answers
        assert world.cluster.written() == ()


def test_what_a_publisher_refuses_to_take_is_an_error_with_its_words(certificate: Certificate) -> None:
    world = World("12.5.1", texts={"set cert import trust CallManager": "Failed to import the certificate.\n"})
    with pytest.raises(Refused, match=r"did not take CN=dst\.example.*Failed to import"):
        world.do(lambda cluster: cluster.upload_trust("pub", Store.CALLMANAGER_TRUST, [certificate]))


def test_the_very_certificate_is_removed_whatever_its_file_is_called(certificate: Certificate) -> None:
    other = self_signed(
        node="x",
        unit=Unit.TVS,
        common_name="x",
        organisation=Organisation(ou="UC", o="x", l="K", st="M", c="PL"),
        now=NOW,
        key="p256",
    ).certificate
    world = World("14", trusts=[("a.pem", other), ("b.pem", certificate)])
    by_rest = TrustedCertificate("pub", Store.CALLMANAGER_TRUST, certificate, "a.pem")
    world.do(lambda cluster: cluster.delete_trust("pub", by_rest))
    assert world.trusts == [("a.pem", other)]
    assert len(world.writes) == 1
    world.do(lambda cluster: cluster.delete_trust("pub", by_rest))
    assert world.trusts == [("a.pem", other)]
    assert len(world.writes) == 1  # nothing there, nothing announced


@pytest.mark.parametrize(
    ("said", "words", "carried_out"),
    [
        ("Failed to delete the certificate.\n", r"was not removed: Failed", 0),
        ("Successfully deleted certificate: a.pem\n", "was removed and is there again", 1),
    ],
)
def test_a_certificate_that_stays_or_comes_back_is_an_error(
    certificate: Certificate, said: str, words: str, carried_out: int
) -> None:
    world = World("10.5.2", trusts=[("a.pem", certificate)], texts={"set cert delete CallManager-trust a.pem": said})
    held = TrustedCertificate("pub", Store.CALLMANAGER_TRUST, certificate, "a.pem")
    with pytest.raises(Refused, match=words):
        world.do(lambda cluster: cluster.delete_trust("pub", held))
    assert [write.effect for write in world.writes] == ["removes it from this node"]
    assert len(world.cluster.written()) == carried_out


def test_without_control_center_services_are_read_and_restarted_by_command_line() -> None:
    texts: dict[str, str | Exception] = {
        "utils service list": "Cisco Tftp[STARTED]\nCisco CTIManager[STOPPED]  Service Not Activated\n",
        "utils service restart Cisco Tftp": "Cisco Tftp[STOPPING]\nCisco Tftp[STARTED]\n",
        "utils service restart Cisco CallManager": "Cisco CallManager[STOPPING]\nCisco CallManager[STARTING]\n",
    }
    world = World("14", texts=texts, credentials=Credentials(os=Secret("x")))
    assert world.do(lambda cluster: cluster.services("sub")) == (ServiceStatus("sub", "Cisco Tftp", True),)
    world.do(lambda cluster: cluster.restart_service("sub", "Cisco Tftp"))
    assert [write.interface for write in world.cluster.written()] == [Interface.CLI]
    with pytest.raises(Refused, match="Cisco CallManager is not up after its restart"):
        world.do(lambda cluster: cluster.restart_service("sub", "Cisco CallManager"))


@pytest.mark.parametrize(("value", "mode"), [("0", "non-secure"), ("1", "mixed"), ("7", None)])
def test_the_security_mode_by_command_line(value: str, mode: str | None) -> None:
    query = "run sql select paramname,paramvalue from processconfig where paramname='ClusterSecurityMode'"
    world = World("14", texts={query: MODE.replace(" 0\n", f" {value}\n")}, credentials=Credentials(os=Secret("x")))
    if mode is None:
        with pytest.raises(Garbled, match="neither 0 nor 1"):
            world.do(lambda cluster: cluster.security_mode())
    else:
        assert world.do(lambda cluster: cluster.security_mode()) == mode


def test_bulk_takes_all_types_in_one_command_and_knows_what_a_release_lacks() -> None:
    texts: dict[str, str | Exception] = {
        "set cert bulk export all": "Successfully exported tftp certificate(s) to sftp server.\n",
        "set cert bulk export capf": "Failed to export capf certificate(s).\n",
        "set cert bulk export tomcat": "Successfully exported tomcat certificate(s) to sftp server.\n",
    }
    world = World("14", texts=texts)
    assert [line.succeeded for line in world.do(lambda cluster: cluster.bulk_export(tuple(BulkType)))] == [True]
    assert [line.succeeded for line in world.do(lambda cluster: cluster.bulk_export())] == [True]
    partial = (BulkType.CAPF, BulkType.TOMCAT)
    assert [line.succeeded for line in world.do(lambda cluster: cluster.bulk_export(partial))] == [False, True]
    world = World("11.5.1", texts=texts)
    with pytest.raises(NotSupported, match="does not know itlrecovery"):
        world.do(lambda cluster: cluster.bulk_export(tuple(BulkType)))
    assert world.writes == []


def test_the_sftp_server_is_set_with_a_password_that_no_announcement_shows() -> None:
    world = World("14", texts={"set cert bulk sftp": "Successfully set the sftp server.\n"})
    world.do(lambda cluster: cluster.configure_bulk(SFTP))
    assert "sftp secret" not in repr(world.answers)
    assert "192.0.2.9" in world.writes[0].what
    with pytest.raises(SettingsError, match="with a password"):
        world.do(
            lambda cluster: cluster.configure_bulk(
                SftpSettings(host="h", username="u", key_file=Path("/k"), directory=".")
            )
        )


def test_all_phones_are_reset_though_one_is_refused() -> None:
    world = World("14")
    with pytest.raises(Refused, match="no such device"):
        world.do(lambda cluster: cluster.reset_phones(["SEPBAD", "SEP1", "SEP2"]))
    assert world.asked[1:] == ["AXL reset SEPBAD", "AXL reset SEP1", "AXL reset SEP2"]
    assert world.cluster.written() == ()


SUBNET = DhcpSubnet("{1}", "192.0.2.1", "10.1.0.0", ("192.0.2.1", "192.0.2.2"))


def test_option_150_of_a_subnet_is_announced_changed_and_changed_back_with_the_subnet_as_it_was() -> None:
    world = World("14", subnets=[SUBNET])

    async def move(cluster: Cluster) -> None:
        assert await cluster.dhcp_subnets() == (SUBNET,)
        await cluster.set_tftp_servers(SUBNET, ["192.0.2.7"])

    world.do(move, dry_run=True)
    assert world.subnets == [SUBNET]
    assert [(one.what, one.interface) for one in world.writes] == [
        ("change option 150 of subnet 10.1.0.0 from 192.0.2.1, 192.0.2.2 to 192.0.2.7", Interface.AXL)
    ]
    world.do(move)
    assert world.subnets[0].tftp_servers == ("192.0.2.7",)
    assert [one.target for one in world.cluster.written()] == ["source"]
    world.do(lambda cluster: cluster.set_tftp_servers(SUBNET, SUBNET.tftp_servers))
    assert world.subnets == [SUBNET]
    world.do(lambda cluster: cluster.set_tftp_servers(SUBNET, SUBNET.tftp_servers))
    assert world.cluster.written() == ()  # it is so already


@pytest.mark.parametrize("servers", [(), ("a", "b", "c")])
def test_other_than_one_or_two_servers_and_a_subnet_that_is_gone_are_refused_unannounced(
    servers: tuple[str, ...],
) -> None:
    world = World("14", subnets=[SUBNET])
    with pytest.raises(Refused, match="one or two"):
        world.do(lambda cluster: cluster.set_tftp_servers(SUBNET, servers), dry_run=True)
    world.subnets = []
    with pytest.raises(Refused, match=r"no DHCP subnet 10\.1\.0\.0"):
        world.do(lambda cluster: cluster.set_tftp_servers(SUBNET, ["a"]), dry_run=True)
    assert world.writes == []


def test_the_fips_mode_and_a_node_that_does_not_know_the_question() -> None:
    command = "utils fips status"
    world = World("14", texts={command: "The system is operating in FIPS mode\n"})
    assert world.do(lambda cluster: cluster.fips()) is True
    assert world.cluster.ways() == (("FIPS mode", Interface.CLI),)
    world.texts[command] = NotSupported("source (command line) does not know it")
    assert world.do(lambda cluster: cluster.fips()) is None
    world.texts[command] = "who knows\n"
    with pytest.raises(Garbled, match="`utils fips status`"):
        world.do(lambda cluster: cluster.fips())


@pytest.mark.parametrize("error", [Unreachable, Throttled, Garbled, AuthenticationRefused, NotSupported])
def test_resets_end_where_the_next_phone_would_fare_no_better(error: type[TrustbridgeError]) -> None:
    world = World("14", failing={Interface.AXL: error("source (AXL): out of order", "Wait.")})
    names = [f"SEP{number:012}" for number in range(100)]
    with pytest.raises(error, match="out of order") as caught:
        world.do(lambda cluster: cluster.reset_phones(names))
    assert type(caught.value) is error
    assert caught.value.hint == "Wait. Told before: 0 of 100 phones, or some more."
    assert len([asked for asked in world.asked if asked.startswith("AXL reset")]) <= 4
    assert world.cluster.written() == ()


def test_a_busy_database_is_given_as_long_as_patience_says() -> None:
    assert clusterreads._within((1, 2, 4, 8), 7.5) == (1, 2, 4)
    assert clusterreads._within((1, 2, 4, 8), 0.5) == ()


# Secrets.


def test_a_secret_is_hidden_from_whoever_looks() -> None:
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {BOTH!r} {Credentials(secret)}"
    assert secret.reveal() == "hunter2"
    assert secret == Secret("hunter2") != Secret("hunter3")
    with pytest.raises(TypeError):
        pickle.dumps(secret)


def test_the_variables_of_a_clusters_passwords() -> None:
    assert variable("source", Realm.OS) == "TRUSTBRIDGE_SOURCE_OS_PASSWORD"
    assert variable("new-york_2", Realm.APP) == "TRUSTBRIDGE_NEW_YORK_2_APP_PASSWORD"
