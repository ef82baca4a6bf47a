"""What a TFTP node answers for a name: lists built for it, configurations signed on demand, and nothing else."""

from __future__ import annotations

import stat
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.lab.prepared import NOW, Prepared

from trustbridge import atomicfile
from trustbridge.errors import SignatureRefused
from trustbridge.lab.cluster import Cluster, Device
from trustbridge.lab.definition import GroupDefinition
from trustbridge.lab.nodefiles import NodeFiles
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.units import Unit
from trustbridge.trust import configuration as configurations
from trustbridge.trust import lists
from trustbridge.wire import signedfile, trustlist
from trustbridge.wire.signedheader import Digest
from trustbridge.wire.trustlist import Role, TrustListFile

PLAIN = Device("SEP001B0C000001", "CP-8841", 1, "Default")
SECURE = Device("SEP001B0C000002", "CP-8861", 3, "Default")
OUTSIDE = ("../cluster.json", "/etc/passwd", "..", "a/../../identity/TVS.key", "ITLFile.tlv\0", "", ".", "\\..\\x")


@pytest.fixture
def source(prepared: Prepared, tmp_path: Path) -> Cluster:
    cluster = prepared.cluster(tmp_path / "source", "src")
    cluster.add_devices([PLAIN, SECURE])
    return cluster


def decoded(content: bytes | None) -> TrustListFile:
    assert content is not None
    return trustlist.decode(content)


def listed(file: TrustListFile) -> set[tuple[int, bytes | None]]:
    return {(record.role, record.certificate) for record in file.records}


def holds(content: bytes | None, certificate: Certificate) -> bool:
    assert content is not None
    try:
        lists.check_signature(lists.decode_signed(content).header, content, certificate)
    except SignatureRefused:
        return False
    return True


# Trust lists.


def test_an_itl_lists_its_node_and_the_cluster_and_is_signed(source: Cluster) -> None:
    files = NodeFiles(source, "src-sub1")
    itl = decoded(files("ITLFile.tlv"))

    def der(node: str, unit: Unit) -> bytes:
        return source.identity(node, unit).certificate.der

    assert listed(itl) == {
        (Role.SAST, der("src-sub1", Unit.CALLMANAGER)),
        (Role.SAST, der("src-pub", Unit.ITLRECOVERY)),
        (Role.CCM_TFTP, der("src-sub1", Unit.CALLMANAGER)),
        (Role.TVS, der("src-pub", Unit.TVS)),
        (Role.TVS, der("src-sub1", Unit.TVS)),
        (Role.CAPF, der("src-pub", Unit.CAPF)),
        (Role.TFTP, der("src-pub", Unit.CALLMANAGER)),
    }
    assert holds(files("ITLFile.tlv"), source.identity("src-sub1", Unit.CALLMANAGER).certificate)
    assert itl.header.file_name == "ITLFile.tlv"


def test_from_release_12_itl_recovery_signs_the_lists_and_call_manager_the_configurations(
    prepared: Prepared, tmp_path: Path
) -> None:
    cluster = prepared.cluster(tmp_path / "c", "dst")
    cluster.add_devices([PLAIN])
    files = NodeFiles(cluster, "dst-sub1")
    recovery = cluster.identity("dst-pub", Unit.ITLRECOVERY).certificate
    own = cluster.identity("dst-sub1", Unit.CALLMANAGER).certificate
    assert holds(files("ITLFile.tlv"), recovery)
    assert holds(files("CTLFile.tlv"), recovery)
    assert holds(files(f"{PLAIN.name}.cnf.xml.sgn"), own)
    assert not holds(files(f"{PLAIN.name}.cnf.xml.sgn"), recovery)


def test_each_node_has_an_itl_of_its_own_and_all_have_one_ctl(source: Cluster) -> None:
    pub, sub = NodeFiles(source, "src-pub"), NodeFiles(source, "src-sub1")
    assert pub("ITLFile.tlv") != sub("ITLFile.tlv")
    assert listed(decoded(pub("CTLFile.tlv"))) == listed(decoded(sub("CTLFile.tlv")))
    assert holds(sub("CTLFile.tlv"), source.identity("src-pub", Unit.CALLMANAGER).certificate)


@pytest.mark.parametrize("name", [PLAIN.name, "SEPFFFFFFFFFFFF"])
def test_a_phone_may_ask_by_its_own_name_known_or_not(source: Cluster, name: str) -> None:
    files = NodeFiles(source, "src-pub")
    assert files(f"ITL{name}.tlv") == files("ITLFile.tlv")
    assert files(f"CTL{name}.tlv") == files("CTLFile.tlv")


@pytest.mark.parametrize("name", ["ITLSEP001B0C00000.tlv", "ITLSEP001b0c000001.tlv", "ITL.tlv", "XSEP001B0C000001.tlv"])
def test_other_names_are_not_taken_for_a_phones(source: Cluster, name: str) -> None:
    assert NodeFiles(source, "src-pub")(name) is None


def test_lists_stay_as_they_are_when_nothing_has_changed(prepared: Prepared, source: Cluster, tmp_path: Path) -> None:
    files = NodeFiles(source, "src-pub")
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in source.tftp_folder("src-pub").iterdir()}
    assert len(before) == 2
    files.rebuild()
    later = prepared.cluster(source.folder, "src", now=lambda: NOW + timedelta(days=1))
    NodeFiles(later, "src-pub")
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in source.tftp_folder("src-pub").iterdir()}
    assert after == before


def test_a_list_somebody_put_in_its_place_is_built_again(source: Cluster) -> None:
    files, path = NodeFiles(source, "src-pub"), source.tftp_folder("src-pub") / "ITLFile.tlv"
    files.rebuild()
    before = decoded(files("ITLFile.tlv"))
    atomicfile.write(path, NodeFiles(source, "src-sub1")("ITLFile.tlv") or b"")
    assert decoded(files("ITLFile.tlv")).records != before.records
    files.rebuild()
    assert decoded(files("ITLFile.tlv")).records == before.records


def test_a_list_that_is_the_same_file_is_not_read_again(source: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    files = NodeFiles(source, "src-pub")
    files.rebuild()

    def fail(data: bytes) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(trustlist, "decode", fail)
    files.rebuild()


def test_lists_follow_their_digest(prepared: Prepared, source: Cluster) -> None:
    assert decoded(NodeFiles(source, "src-pub")("ITLFile.tlv")).header.digest == Digest.SHA1
    files = NodeFiles(prepared.cluster(source.folder, "src", tftp_digest="sha512"), "src-pub")
    assert decoded(files("ITLFile.tlv")).header.digest == Digest.SHA512
    assert decoded(files("CTLFile.tlv")).header.digest == Digest.SHA512
    assert signedfile.decode(files(f"{PLAIN.name}.cnf.xml.sgn") or b"").header.digest == Digest.SHA512


def test_lists_follow_their_signer(prepared: Prepared, source: Cluster) -> None:
    NodeFiles(source, "src-pub")
    newer = prepared.cluster(source.folder, "src", release="14")
    recovery = newer.identity("src-pub", Unit.ITLRECOVERY).certificate
    files = NodeFiles(newer, "src-pub")
    assert holds(files("ITLFile.tlv"), recovery)
    assert holds(files("CTLFile.tlv"), recovery)


@pytest.mark.parametrize("content", [b"", b"garbled", b"\x01\x00\x02\x01\x02"])
def test_a_damaged_list_is_built_again(source: Cluster, content: bytes) -> None:
    files = NodeFiles(source, "src-pub")
    before = decoded(files("ITLFile.tlv"))
    (source.tftp_folder("src-pub") / "ITLFile.tlv").write_bytes(content)
    files.rebuild()
    assert decoded(files("ITLFile.tlv")).records == before.records


def test_the_ctl_comes_and_goes_with_mixed_mode(prepared: Prepared, tmp_path: Path) -> None:
    cluster = prepared.cluster(tmp_path / "c", "src", security="non-secure")
    files = NodeFiles(cluster, "src-pub")
    names = ("CTLFile.tlv", f"CTL{PLAIN.name}.tlv")
    assert [files(name) for name in names] == [None, None]
    cluster.set_security("mixed")
    files.rebuild()
    assert all(decoded(files(name)) for name in names)
    cluster.set_security("non-secure")
    files.rebuild()
    assert [files(name) for name in names] == [None, None]


def test_the_rollback_parameter_blanks_the_itl_and_not_the_ctl(source: Cluster) -> None:
    files = NodeFiles(source, "src-pub")
    full = decoded(files("ITLFile.tlv"))
    source.set_prepare_for_rollback(True)
    files.rebuild()
    blank = decoded(files("ITLFile.tlv"))
    assert blank.blank
    assert [record.role for record in blank.records] == [record.role for record in full.records]
    assert not any(record.certificate for record in blank.records)
    assert holds(files("ITLFile.tlv"), source.list_signer("src-pub").certificate)
    assert not decoded(files("CTLFile.tlv")).blank
    source.set_prepare_for_rollback(False)
    files.rebuild()
    assert decoded(files("ITLFile.tlv")).records == full.records


# Configurations.


def plain(files: NodeFiles, name: str) -> configurations.Configuration:
    content = files(f"{name}.cnf.xml")
    assert content is not None
    return configurations.parse(content)


def test_a_signed_configuration_is_the_plain_one_under_the_nodes_signature(source: Cluster) -> None:
    files = NodeFiles(source, "src-sub1")
    content = files(f"{PLAIN.name}.cnf.xml.sgn")
    assert content is not None
    assert signedfile.decode(content).content == files(f"{PLAIN.name}.cnf.xml")
    assert signedfile.decode(content).header.file_name == f"{PLAIN.name}.cnf.xml.sgn"
    assert holds(content, source.identity("src-sub1", Unit.CALLMANAGER).certificate)
    assert not holds(content, source.identity("src-pub", Unit.CALLMANAGER).certificate)


def test_a_configuration_is_signed_once_and_again_when_it_changes(source: Cluster) -> None:
    files = NodeFiles(source, "src-sub1")
    name = f"{PLAIN.name}.cnf.xml.sgn"
    first = files(name)
    assert files(name) is first
    source.add_devices([replace(PLAIN, security_mode=3)])
    second = files(name)
    assert second != first
    assert plain(files, PLAIN.name).security_mode == 3


def test_a_phone_is_told_its_group_and_its_tvs_in_order(source: Cluster) -> None:
    found = plain(NodeFiles(source, "src-pub"), PLAIN.name)
    address, ports = source.definition.address, source.ports
    assert [member.name for member in found.call_managers] == [address("src-sub1"), address("src-pub")]
    assert [(member.sip_port, member.secured_sip_port) for member in found.call_managers] == [
        (ports.sip, ports.sips)
    ] * 2
    assert [(server.address, server.port) for server in found.tvs] == [
        (address("src-sub1"), ports.tvs),
        (address("src-pub"), ports.tvs),
    ]
    assert (found.security_mode, found.transport, found.capf) == (1, 1, None)


def test_a_secure_phone_is_told_tls_and_the_capf(source: Cluster) -> None:
    found = plain(NodeFiles(source, "src-pub"), SECURE.name)
    assert (found.security_mode, found.transport) == (3, 3)
    assert found.capf == (source.definition.address("src-pub"), source.ports.capf)


def test_a_non_secure_cluster_tells_nobody_of_tls(source: Cluster) -> None:
    files = NodeFiles(source, "src-pub")
    before = plain(files, SECURE.name)
    source.set_security("non-secure")
    found = plain(files, SECURE.name)
    assert (found.security_mode, found.transport, found.capf) == (1, 1, None)
    assert found.version_stamp != before.version_stamp


def test_phones_of_another_group_are_told_that_one(prepared: Prepared, tmp_path: Path) -> None:
    groups = tuple(GroupDefinition(name=name, members=(name,)) for name in ("src-pub", "src-sub1"))
    cluster = prepared.cluster(tmp_path / "c", "src", groups=groups)
    cluster.add_devices([replace(PLAIN, group="src-sub1"), replace(SECURE, group="gone")])
    files = NodeFiles(cluster, "src-pub")
    assert plain(files, PLAIN.name).device_pool == "src-sub1"
    assert [server.address for server in plain(files, PLAIN.name).tvs] == [cluster.definition.address("src-sub1")]
    assert plain(files, SECURE.name).device_pool == "src-pub"  # the first, when its own is gone


def test_preparing_for_rollback_blanks_the_itl_and_leaves_configurations_alone(source: Cluster) -> None:
    files = NodeFiles(source, "src-pub")
    before = plain(files, PLAIN.name)
    source.set_prepare_for_rollback(True)
    files.rebuild()
    assert plain(files, PLAIN.name) == before
    assert trustlist.decode(files("ITLFile.tlv") or b"").blank


def test_unknown_phones_have_no_configuration_but_the_default(source: Cluster) -> None:
    files = NodeFiles(source, "src-pub")
    assert files("SEPFFFFFFFFFFFF.cnf.xml") is None
    assert files("SEPFFFFFFFFFFFF.cnf.xml.sgn") is None
    assert plain(files, "XMLDefault").security_mode == 1
    assert holds(files("XMLDefault.cnf.xml.sgn"), source.identity("src-pub", Unit.CALLMANAGER).certificate)
    source.remove_devices([PLAIN.name])
    assert files(f"{PLAIN.name}.cnf.xml") is None


# Everything else.


def test_what_an_administrator_puts_there_is_served(source: Cluster) -> None:
    files = NodeFiles(source, "src-pub")
    folder = source.tftp_folder("src-pub")
    (folder / "Desktops").mkdir()
    (folder / "Desktops" / "List.xml").write_text("<x/>")
    assert files("Desktops/List.xml") == b"<x/>"
    assert files("nothing.loads") is None


@pytest.mark.parametrize("name", OUTSIDE)
def test_nothing_outside_is_served(source: Cluster, name: str) -> None:
    assert NodeFiles(source, "src-pub")(name) is None


def test_a_link_leads_nowhere(source: Cluster) -> None:
    files = NodeFiles(source, "src-pub")
    (source.tftp_folder("src-pub") / "key").symlink_to(source.folder / "nodes" / "src-pub" / "identity" / "TVS.key")
    assert files("key") is None


def test_lists_are_private_files(source: Cluster) -> None:
    NodeFiles(source, "src-pub")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in source.tftp_folder("src-pub").iterdir()}
    assert modes == {0o600}
