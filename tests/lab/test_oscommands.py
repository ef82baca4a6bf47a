"""The commands of a lab node: what they say in either form, and what they really change."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.lab.prepared import NOW, Prepared

from trustbridge.lab.cluster import Cluster, Device
from trustbridge.lab.nodefiles import CTL_FILE, ITL_FILE, NodeFiles
from trustbridge.lab.oscommands.shell import COMMANDS, NodeShell
from trustbridge.lab.oscommands.view import NodeView
from trustbridge.lab.profiles import profile
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.issue import Organisation, authority, self_signed, signed_by
from trustbridge.pki.stores import Entry, TrustStores
from trustbridge.pki.units import Store, Unit
from trustbridge.services.clishell import Ask
from trustbridge.trust.lists import check_signature
from trustbridge.wire import trustlist

FAILED = "Executed command unsuccessfully\n"
Run = Callable[..., str]


class Services:
    """Services that run on paper."""

    def __init__(self, cluster: Cluster, node: str) -> None:
        self.down: set[str] = set()
        self.restarted: list[str] = []
        self._files = NodeFiles(cluster, node) if cluster.definition.node(node).tftp else None

    def running(self, service: str) -> bool:
        return service not in self.down

    async def restart(self, service: str) -> None:
        self.restarted.append(service)
        self.down.discard(service)

    def served(self, name: str) -> bytes | None:
        return None if self._files is None else self._files(name)


class NodeLine:
    """A node's command line without the line."""

    def __init__(self, cluster: Cluster, node: str) -> None:
        self.cluster = cluster
        self.services = Services(cluster, node)
        self.questions: list[Ask] = []
        release = cluster.definition.release
        self.shell = NodeShell(NodeView(cluster, node, profile(release), self.services, NOW))

    def __call__(self, line: str, *answers: str) -> str:
        """What a command says; every answer must be asked for."""

        async def run() -> str:
            said, left = "", list(answers)
            command = self.shell.run(line)
            answer: str | None = None
            while True:
                try:
                    item = await (anext(command) if answer is None else command.asend(answer))
                except StopAsyncIteration:
                    assert not left
                    return said
                answer = None
                if isinstance(item, Ask):
                    self.questions.append(item)
                    answer = left.pop(0)
                else:
                    assert item.endswith("\n") or item == "", item
                    said += item

        return asyncio.run(run())


@pytest.fixture
def old(prepared: Prepared, tmp_path: Path) -> NodeLine:
    """The publisher of a cluster of release 11.5."""
    return NodeLine(prepared.cluster(tmp_path / "src", "src"), "src-pub")


@pytest.fixture
def new(prepared: Prepared, tmp_path: Path) -> NodeLine:
    """The publisher of a cluster of release 14."""
    return NodeLine(prepared.cluster(tmp_path / "dst", "dst"), "dst-pub")


def subscriber(line: NodeLine) -> NodeLine:
    """The other node of the same cluster."""
    return NodeLine(line.cluster, line.cluster.definition.nodes[1].name)


def stranger(name: str = "other-pub.other.example", *, now: datetime = NOW - timedelta(days=1)) -> Certificate:
    """A certificate of another cluster."""
    return self_signed(
        node="other", unit=Unit.CALLMANAGER, common_name=name, organisation=Organisation(o="Other"), now=now, key="p256"
    ).certificate


# Words that are no command.


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("frobnicate", "No valid command entered\n"),
        ("show", "Incomplete command entered\n"),
        ("utils ctl", "Incomplete command entered\n"),
        ("show nothing", "No valid command entered\n"),
        ("show cert own", "Incomplete command entered\nSyntax:\nshow cert own filename\n"),
        ("help nonsense", "No valid command entered\n"),
    ],
)
def test_what_is_no_command_is_told(old: NodeLine, line: str, said: str) -> None:
    assert old(line) == said + FAILED
    assert old.shell.name(line) in (None, "help", "show cert own")


def test_help_names_every_command(old: NodeLine) -> None:
    said = old("help")
    assert all(form.name in said for form in COMMANDS)
    assert "set cli pagination" in said
    assert old("HELP utils service").splitlines() == ["utils service list", "utils service restart service-name"]


def test_commands_are_found_whatever_their_case_and_spacing(old: NodeLine) -> None:
    assert old("SHOW   version  ACTIVE") == old("show version active")
    assert old.shell.name("Show  Cert List own hunter2") == "show cert list"


# Releases, nodes, services.


def test_the_release_is_written_as_a_build(old: NodeLine, new: NodeLine) -> None:
    assert old("show version active").startswith("Active Master Version: 11.5.1.10000-6\n")
    assert new("show version active").startswith("Active Master Version: 14.0.1.10000-20\n")
    assert old("show version tomorrow").endswith(FAILED)


def test_the_fips_mode_is_as_defined(old: NodeLine) -> None:
    assert old("utils fips status") == "The system is operating in NON-FIPS mode\n"
    definition = old.cluster.definition.model_copy(update={"fips": True})
    old.cluster.definition = definition
    assert old("utils fips status").startswith("The system is operating in FIPS mode.")


def test_nodes_are_listed_with_roles_and_the_node_asked_has_no_connection(old: NodeLine) -> None:
    addresses = [old.cluster.definition.address(name) for name in ("src-pub", "src-sub1")]
    since = " using TCP since Sun Mar 1 12:00:00 2026"
    assert old("show network cluster").splitlines()[:2] == [
        f"{addresses[0]} src-pub.src.example src-pub Publisher callmanager DBPub authenticated",
        f"{addresses[1]} src-sub1.src.example src-sub1 Subscriber callmanager DBSub authenticated{since}",
    ]
    assert "Server Table (processnode) Entries" in old("show network cluster")
    there = subscriber(old)("show network cluster")
    assert "DBPub authenticated using TCP since" in there
    assert "Server Table" not in there


def test_services_show_what_runs_what_is_down_and_what_is_not_activated(prepared: Prepared, tmp_path: Path) -> None:
    nodes = ({"name": "src-pub", "callmanager": False}, {"name": "src-sub1", "tftp": False})
    cluster = prepared.cluster(tmp_path / "src", "src", nodes=nodes)
    publisher, other = NodeLine(cluster, "src-pub"), NodeLine(cluster, "src-sub1")
    publisher.services.down.add("Cisco Tftp")
    said = publisher("utils service list").splitlines()
    assert "Cisco Tftp[STOPPED]" in said
    assert "Cisco CallManager[STOPPED]  Service Not Activated" in said
    assert "Cisco Trust Verification Service[STARTED]" in said
    assert said[0] == "Requesting service status, please wait..."
    assert said[-1] == "Primary Node =true"
    said = other("utils service list").splitlines()
    assert {"Cisco CallManager[STARTED]", "Cisco Tftp[STOPPED]  Service Not Activated"} <= set(said)
    assert said[-1] == "Primary Node =false"


def test_a_service_is_restarted_by_name(old: NodeLine) -> None:
    said = old("utils service restart Cisco Trust  verification service")
    assert old.services.restarted == ["Cisco Trust Verification Service"]
    assert said.endswith("Cisco Trust Verification Service[STARTED]\n")
    assert old("utils service restart Cisco Coffee").endswith(FAILED)
    assert len(old.services.restarted) == 1


# Certificates.


def test_both_forms_list_the_same_units(old: NodeLine, new: NodeLine) -> None:
    blocks = re.findall(
        r"Unit: (\S+)\nType: own\nName: (\S+)\nIssuer: CN=\S.*\nExpires: .*\n", old("show cert list own")
    )
    lines = re.findall(
        r"^(\S+)/(\S+)\.pem: Self-signed certificate generated by system$", new("show cert list own"), re.M
    )
    units = [str(unit) for unit in Unit if unit is not Unit.IPSEC]
    assert sorted(blocks) == sorted(lines) == sorted((unit, unit) for unit in units)


def test_a_subscriber_names_the_one_itl_recovery_from_12_5_on(old: NodeLine, new: NodeLine) -> None:
    assert "ITLRecovery/ITLRecovery.pem" in subscriber(new)("show cert list own")
    assert "Unit: ITLRecovery" not in subscriber(old)("show cert list own")


def test_a_certificate_somebody_else_signed_names_the_signer(prepared: Prepared, tmp_path: Path) -> None:
    cluster = prepared.cluster(tmp_path / "dst", "dst")
    ca = authority("Example CA", Organisation(o="Example"), NOW)
    key = ("dst-pub", Unit.TOMCAT)
    cluster.identities[key] = signed_by(
        ca,
        node="dst-pub",
        unit=Unit.TOMCAT,
        common_name="dst-pub",
        organisation=Organisation(o="E"),
        now=NOW,
        key="p256",
    )
    said = NodeLine(cluster, "dst-pub")("show cert list own")
    assert "tomcat/tomcat.pem: Certificate Signed by Example CA\n" in said


@pytest.mark.parametrize("ask", ["CallManager/CallManager.pem", "callmanager/CALLMANAGER", "CallManager"])
def test_one_certificate_is_shown_decoded_and_as_pem(old: NodeLine, ask: str) -> None:
    held = old.cluster.identity("src-pub", Unit.CALLMANAGER).certificate
    said = old(f"show cert own {ask}")
    assert Certificate.from_pem(said) == held
    assert f"Serial Number: {held.serial:X}\n" in said
    assert "SignatureAlgorithm: SHA256withRSA (1.2.840.113549.1.1.11)\n" in said
    assert f"Subject Name: {held.subject.replace(';', ', ')}\n" in said
    assert old("show cert own Coffee/Coffee.pem").endswith(f"was not found.\n{FAILED}")


def test_every_listed_certificate_can_be_shown(new: NodeLine) -> None:
    listed = re.findall(r"^(\S+\.pem): Trust Certificate$", new("show cert list trust"), re.M)
    shown = [Certificate.from_pem(new(f"show cert trust {path}")) for path in listed]
    assert shown == [entry.certificate for _, entry in new.cluster.stores["dst-pub"]]
    assert len(set(listed)) == len(listed)


def test_two_certificates_of_one_name_are_told_apart_by_serial(new: NodeLine) -> None:
    one, other = stranger("Twin Node (1)"), stranger("Twin Node (1)")
    stores = new.cluster.stores["dst-pub"]
    both = [(Store.TOMCAT_TRUST, Entry(item, "uploaded")) for item in (one, other)]
    new.cluster.stores["dst-pub"] = TrustStores([*stores, *both])
    paths = re.findall(r"tomcat-trust/Twin\S+\.pem", new("show cert list trust"))
    assert paths == [f"tomcat-trust/Twin_Node__1__{item.serial:x}.pem" for item in (one, other)]
    assert Certificate.from_pem(new(f"show cert trust {paths[1]}")) == other


@pytest.mark.parametrize(
    ("unit", "store"),
    [
        ("CallManager", Store.CALLMANAGER_TRUST),
        ("callmanager-trust", Store.CALLMANAGER_TRUST),
        ("Phone-SAST-trust", Store.PHONE_SAST_TRUST),
        ("Phone-SAST", Store.PHONE_SAST_TRUST),
        ("tomcat", Store.TOMCAT_TRUST),
    ],
)
def test_an_imported_certificate_is_in_the_store_of_every_node(old: NodeLine, unit: str, store: Store) -> None:
    given = stranger()
    said = old(f"set cert import trust {unit}", given.pem())
    assert said.startswith(f"Successfully imported certificate for {unit}.\nPlease restart services related to {unit} ")
    assert old.questions == [Ask("Paste the Certificate and Hit Enter", paste=True)]
    for node in ("src-pub", "src-sub1"):
        assert old.cluster.stores[node].holding(given) == (store,)
    assert old(f"set cert import trust {unit}", given.pem()).startswith("Successfully")  # again: nothing to complain of


def test_an_import_on_a_subscriber_reaches_all_but_that_of_capf(old: NodeLine) -> None:
    there, given = subscriber(old), stranger()
    there("set cert import trust CallManager", given.pem())
    there("set cert import trust CAPF", given.pem())
    assert old.cluster.stores["src-pub"].holding(given) == (Store.CALLMANAGER_TRUST,)
    assert set(old.cluster.stores["src-sub1"].holding(given)) == {Store.CALLMANAGER_TRUST, Store.CAPF_TRUST}


def test_from_12_5_on_an_imported_callmanager_certificate_restarts_phones_once(old: NodeLine, new: NodeLine) -> None:
    for number, (line, restarts) in enumerate(((old, 0), (new, 1), (subscriber(new), 1))):
        told: list[str] = []
        line.cluster.restart_phones = lambda told=told: told.append(".")  # type: ignore[misc] # the default binds it
        given = stranger(f"other-{number}")
        for unit in ("tomcat", "CAPF", "CallManager", "CallManager"):
            line(f"set cert import trust {unit}", given.pem())
        assert len(told) == restarts


@pytest.mark.parametrize(
    ("pasted", "words"),
    [
        ("a secret that is no certificate\n", "Invalid certificate: not imported."),
        ("-----BEGIN CERTIFICATE-----\nMIIBnonsense\n-----END CERTIFICATE-----\n", "Invalid certificate"),
        ("expired", "The certificate has expired on 2021-03-01: not imported."),
        ("older than ours", "not added: the cluster's own one is present"),
    ],
)
def test_what_can_not_be_imported_changes_nothing_and_is_not_repeated(old: NodeLine, pasted: str, words: str) -> None:
    if pasted == "expired":
        pasted = stranger(now=NOW - timedelta(days=1826 + 1826)).pem()
    elif pasted == "older than ours":
        pasted = stranger("src-pub.src.example").pem()
    before = {node: stores.copy() for node, stores in old.cluster.stores.items()}
    said = old("set cert import trust CallManager", pasted)
    assert words in said
    assert said.endswith(FAILED)
    assert "secret" not in said
    assert "MIIB" not in said
    assert old.cluster.stores == before


def test_unknown_units_and_identities_are_refused(old: NodeLine) -> None:
    assert "Invalid unit coffee." in old("set cert import trust coffee", *[])
    assert old("set cert import own tomcat").endswith(FAILED)
    assert "own certificate: it can't be deleted" in old("set cert delete CallManager CallManager.pem")
    assert "was not found" in old("set cert delete CallManager-trust nobody.pem")


@pytest.mark.parametrize("on", ["publisher", "subscriber"])
def test_from_11_0_a_deletion_acts_on_every_node(new: NodeLine, on: str) -> None:
    given = stranger()
    new("set cert import trust CallManager", given.pem())
    line = new if on == "publisher" else subscriber(new)
    said = line("set cert delete CallManager-trust other-pub.other.example.pem")
    assert said == "Successfully deleted certificate: other-pub.other.example.pem\n"
    assert [stores.holding(given) for stores in new.cluster.stores.values()] == [(), ()]
    again = Cluster(new.cluster.name, new.cluster.definition, new.cluster.folder, new.cluster.ports, new.cluster.clock)
    assert again.stores == new.cluster.stores  # on disk as well


def test_before_11_0_what_a_subscriber_deletes_comes_back(prepared: Prepared, tmp_path: Path) -> None:
    line, given = NodeLine(prepared.cluster(tmp_path / "src", "src", release="10.5"), "src-pub"), stranger()
    line("set cert import trust CallManager", given.pem())
    assert subscriber(line)("set cert delete CallManager-trust other-pub.other.example.pem").startswith("Successfully")
    assert all(stores.holding(given) for stores in line.cluster.stores.values())


def test_a_deletion_from_capf_trust_stays_on_its_node(new: NodeLine) -> None:
    given = stranger()
    for line in (new, subscriber(new)):
        line("set cert import trust CAPF", given.pem())
    new("set cert delete CAPF-trust other-pub.other.example.pem")
    assert [bool(stores.holding(given)) for stores in new.cluster.stores.values()] == [False, True]


# Bulk: refusals; what it does stands in tests/e2e.


def test_the_sftp_server_is_asked_for_and_its_password_hidden(new: NodeLine) -> None:
    said = new("set cert bulk sftp", "127.0.0.1", "", "bulk", "hunter2", "/exchange/")
    assert said.startswith("Successfully configured")
    assert [question.secret for question in new.questions] == [False, False, False, True, False]
    settings = new.cluster.state.sftp
    assert settings is not None
    assert (settings.host, settings.port, settings.username) == ("127.0.0.1", 22, "bulk")
    assert (settings.password, settings.directory) == ("hunter2", "/exchange")


@pytest.mark.parametrize(
    "answers",
    [("", "22", "u", "p", "/"), ("h", "x", "u", "p", "/"), ("h", "0", "u", "p", "/"), ("h", "22", "", "p", ""),
     ("h", "22", "u", "", "")],
)  # fmt: skip
def test_settings_that_can_not_be_are_refused(new: NodeLine, answers: Iterable[str]) -> None:
    assert new("set cert bulk sftp", *answers).endswith(f"the SFTP server is not set.\n{FAILED}")
    assert new.cluster.state.sftp is None


@pytest.mark.parametrize("command", ["sftp", "export all", "consolidate all", "import tftp"])
def test_bulk_runs_on_the_publisher_alone(new: NodeLine, command: str) -> None:
    assert "can only be executed on the publisher" in subscriber(new)(f"set cert bulk {command}")


@pytest.mark.parametrize("command", ["export", "consolidate", "import"])
def test_bulk_needs_a_server_and_a_type_that_its_release_knows(old: NodeLine, new: NodeLine, command: str) -> None:
    assert "has no SFTP server" in new(f"set cert bulk {command} all")
    assert "Invalid unit coffee" in new(f"set cert bulk {command} coffee")
    assert "Invalid unit itlrecovery: it can be all, tftp, tomcat, capf." in old(f"set cert bulk {command} itlrecovery")
    assert "has no SFTP server" in new(f"set cert bulk {command} itlrecovery")


# Trust lists.


@pytest.mark.parametrize(("command", "name", "kind"), [("show itl", ITL_FILE, "ITL"), ("show ctl", CTL_FILE, "CTL")])
def test_a_trust_list_is_decoded_from_the_real_file(new: NodeLine, command: str, name: str, kind: str) -> None:
    data = (new.cluster.tftp_folder("dst-pub") / name).read_bytes()
    said = new(command)
    assert f"{hashlib.md5(data).hexdigest()}(MD5)\n" in said
    assert f"{hashlib.sha1(data).hexdigest()}(SHA1)\n" in said
    assert f"Length of {kind} file: {len(data)}\n" in said
    file = trustlist.decode(data)
    assert said.count(f"{kind} Record #:") == len(file.records)
    serials = re.findall(r"SERIALNUMBER\t\d+\t([0-9A-F:]+)", said)
    assert serials == [
        number.to_bytes((number.bit_length() + 7) // 8).hex(":").upper()
        for number in (file.header.serial, *(record.serial or 0 for record in file.records))
    ]
    assert said.count(f"This etoken was used to sign the {kind} file.") == 1
    assert said.endswith(f"\nThe {kind} file was verified successfully.\n")
    assert all(len(line.expandtabs()) <= 120 for line in said.splitlines())


def test_a_file_that_was_changed_or_cut_is_not_verified(new: NodeLine) -> None:
    path = new.cluster.tftp_folder("dst-pub") / ITL_FILE
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert new("show itl").endswith("\nVerification of the ITL file failed.\n")
    path.write_bytes(data[:-1])
    assert new("show itl").endswith("Error parsing the ITL File.\n")


def test_without_a_ctl_its_absence_is_told(prepared: Prepared, tmp_path: Path) -> None:
    line = NodeLine(prepared.cluster(tmp_path / "dst", "dst", security="non-secure"), "dst-pub")
    assert line("show ctl").startswith("Length of CTL file: 0\nCTL File not found.")


def test_the_mode_changes_after_a_question_and_the_files_with_it(new: NodeLine) -> None:
    said = new("utils ctl set-cluster non-secure-mode", "maybe", "Y")
    assert "Cluster set to Non Secure Mode\n" in said
    assert new.questions[0].prompt.endswith("\n\nDo you want to continue? (y/n):")
    assert new.questions[1].prompt == "Please answer 'y' for <yes> or 'n' for <no>: "
    assert new.cluster.state.security == "non-secure"
    assert "Cluster set to Mixed Mode\n" in new("utils ctl set-cluster mixed-mode", "y")
    assert new.cluster.mixed_mode


def test_no_means_no(new: NodeLine) -> None:
    assert new("utils ctl set-cluster non-secure-mode", "n").endswith(FAILED)
    assert new.cluster.mixed_mode


def test_the_mode_is_the_publishers_business(new: NodeLine) -> None:
    assert "publisher" in subscriber(new)("utils ctl set-cluster mixed-mode")


def test_a_ctl_is_updated_where_there_is_one(new: NodeLine) -> None:
    told: list[str] = []
    new.cluster.changed.append(lambda: told.append("told"))
    assert "CTL file Updated successfully\n" in new("utils ctl update CTLFile", "y")
    assert told == ["told"]
    new("utils ctl set-cluster non-secure-mode", "y")
    assert "there is no CTL file to update" in new("utils ctl update CTLFile", "y")


@pytest.mark.parametrize(("release", "unit"), [("11.5", Unit.ITLRECOVERY), ("14", Unit.CALLMANAGER)])
def test_an_itl_reset_signs_with_the_other_key_until_tftp_makes_it_anew(
    prepared: Prepared, tmp_path: Path, release: str, unit: Unit
) -> None:
    cluster = prepared.cluster(tmp_path / "dst", "dst", release=release)
    line, there = NodeLine(cluster, "dst-pub"), NodeLine(cluster, "dst-sub1")
    before = (cluster.tftp_folder("dst-pub") / ITL_FILE).read_bytes()
    assert "generated successfully" in line("utils itl reset localkey")
    for node in ("dst-pub", "dst-sub1"):
        data = (cluster.tftp_folder(node) / ITL_FILE).read_bytes()
        signer = cluster.identity("dst-pub" if unit is Unit.ITLRECOVERY else node, unit).certificate
        check_signature(trustlist.decode(data).header, data, signer)
    assert line("show itl").endswith("The ITL file was verified successfully.\n")
    NodeFiles(cluster, "dst-pub")
    assert trustlist.decode((cluster.tftp_folder("dst-pub") / ITL_FILE).read_bytes()).header.serial == (
        trustlist.decode(before).header.serial
    )
    assert "publisher" in there("utils itl reset localkey")
    assert line("utils itl reset remotekey").endswith(FAILED)


# Files.


def test_files_are_those_that_tftp_serves(old: NodeLine) -> None:
    old.cluster.add_devices([Device("SEP001122334455", "CP-8841", 1, "Default")])
    assert old("file list tftp *").splitlines() == [
        CTL_FILE,
        ITL_FILE,
        "SEP001122334455.cnf.xml.sgn",
        "dir count = 0, file count = 3",
    ]
    size = len(old.services.served(ITL_FILE) or b"")
    assert re.fullmatch(
        rf"\d\d [A-Z][a-z]{{2}},\d{{4}} \d\d:\d\d:\d\d +{size:,}  {ITL_FILE}\ndir count = 0, file count = 1\n",
        old(f"file list tftp {ITL_FILE} detail"),
    )
    assert old("file list tftp * reverse").splitlines()[0].startswith("SEP")
    assert "no such file" in old("file list tftp ../*")
    assert old("file list tftp * sideways").endswith(FAILED)


def test_files_are_sent_only_after_a_yes(old: NodeLine) -> None:
    assert "nothing was sent" in old(f"file get tftp {ITL_FILE}", "n")
    assert "nothing was sent" in old(f"file get tftp {ITL_FILE}", "y", "h", "port", "u", "hunter2", "/")
    assert [question.secret for question in old.questions[2:]] == [False, False, False, True, False]


# The database.


@pytest.mark.parametrize(("change", "value"), [("mixed", "1"), ("non-secure", "0")])
def test_the_security_mode_is_in_the_database(old: NodeLine, change: Any, value: str) -> None:
    old.cluster.set_security(change)
    assert old("run sql select paramname,paramvalue from processconfig where paramname='ClusterSecurityMode'") == (
        f"paramname           paramvalue\n=================== ==========\nClusterSecurityMode {value}\n"
    )


def test_the_rollback_parameter_is_in_the_database(old: NodeLine) -> None:
    query = "run sql select paramvalue from processconfig where paramname='RollBackToPreGrayback'"
    assert old(query).splitlines()[2] == "F"
    old.cluster.set_prepare_for_rollback(True)
    assert old(query).splitlines()[2] == "T"


def test_members_of_groups_come_in_order_by_a_join(old: NodeLine) -> None:
    said = old(
        "run sql select g.name as cmgroup, n.name as node, m.priority from callmanagergroup as g "
        "inner join callmanagergroupmember as m on m.fkcallmanagergroup=g.pkid "
        "inner join callmanager as c on m.fkcallmanager=c.pkid "
        "inner join processnode as n on c.fkprocessnode=n.pkid order by g.name, m.priority"
    )
    assert [line.split() for line in said.splitlines()] == [
        ["cmgroup", "node", "priority"],
        ["=======", "========", "========"],
        ["Default", "src-sub1", "0"],
        ["Default", "src-pub", "1"],
    ]


def test_phones_and_their_groups_are_in_the_database(old: NodeLine) -> None:
    old.cluster.add_devices([Device("SEP001122334455", "CP-8841", 3, "Default")])
    said = old(
        "run sql select d.name, t.name as model, p.name as pool from device as d join typemodel as t on "
        "d.tkmodel=t.enum join devicepool as p on d.fkdevicepool=p.pkid where d.tkclass=1"
    )
    assert re.split(r" {2,}|(?<=\d) (?=C)|(?<=\d) (?=D)", said.splitlines()[2]) == [
        "SEP001122334455",
        "Cisco 8841",
        "Default",
    ]


def test_no_rows_give_an_empty_table(old: NodeLine) -> None:
    assert old("run sql select name from device") == "name\n====\n"


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("select name from coffee", "The specified table (coffee) is not in the database."),
        ("select coffee from device", "Column (coffee) not found in any table in the query"),
        ("select from where", "A syntax error has occurred."),
        ("select name from device; drop table device", "A syntax error has occurred."),
        ("select load_extension('x')", "A syntax error has occurred."),
        (
            "select count(*) from (with recursive r(x) as (select 1 union all select x+1 from r) select x from r)",
            "A syntax error has occurred.",
        ),
    ],
)
def test_what_the_database_can_not_answer_is_an_error(old: NodeLine, query: str, words: str) -> None:
    said = old(f"run sql {query}")
    assert said.startswith(words)
    assert said.count("\n") == 1


def test_the_database_can_only_be_read(old: NodeLine) -> None:
    assert old("run sql delete from device") == f"Error: Only select statements can be run here.\n{FAILED}"


def test_a_query_that_takes_too_long_is_stopped(old: NodeLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trustbridge.lab.oscommands.sql._STEPS", 100)
    tables = ", ".join(f"processnode as n{number}" for number in range(9))
    assert "takes too long" in old(f"run sql select count(*) from {tables}")
