"""What a lab may consist of: the file, its defaults, and every fault with its name."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Any

import pytest

from trustbridge.errors import SettingsError
from trustbridge.lab import definition as definitions
from trustbridge.lab.definition import LabDefinition
from trustbridge.lab.fleet import phone_names
from trustbridge.wire.signedheader import Digest

DOCS = Path(__file__).parents[2] / "docs"

SMALL = """
[clusters.source]
security = "mixed"
network = "127.10.1.0"
[[clusters.source.nodes]]
name = "pub"
"""


def loaded(tmp_path: Path, text: str) -> LabDefinition:
    path = tmp_path / "site.toml"
    path.write_text(text)
    return definitions.load(path)


def refused(tmp_path: Path, text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        loaded(tmp_path, text)
    assert caught.value.exit_code == 2
    return caught.value.message


# Defaults and addresses.


def test_a_short_file_gives_a_whole_lab(tmp_path: Path) -> None:
    lab = loaded(tmp_path, SMALL)
    cluster = lab.clusters["source"]
    assert cluster.publisher == "pub"
    assert cluster.address("pub") == "127.10.1.1"
    assert cluster.release == "14"
    assert cluster.signs_with_itl_recovery
    assert cluster.digest is Digest.SHA1
    assert not cluster.prepare_for_rollback
    assert not cluster.auto_registration
    assert cluster.minimum_tls == "1.2"
    assert cluster.tftp_addresses() == ("127.10.1.1",)
    assert lab.network.port_shift == "auto"
    assert lab.phones == ()


def test_the_file_in_the_documentation_is_one(tmp_path: Path) -> None:
    example = re.search(r"```toml\n(.*?)```", (DOCS / "lab.md").read_text("utf-8"), re.DOTALL)
    assert example is not None
    lab = loaded(tmp_path, example[1])
    assert lab.name == "site"
    assert lab.clusters["source"].unified_cm_groups[0].members == ("old-sub1", "old-pub")
    assert sum(phones.count for phones in lab.phones) == 200


@pytest.mark.parametrize(
    ("release", "recovery"),
    [("8.6", False), ("9.1.2", False), ("11.5", False), ("12.0", True), ("12", True), ("15", True)],
)
def test_itl_recovery_signs_from_release_12_on(tmp_path: Path, release: str, recovery: bool) -> None:
    lab = loaded(tmp_path, SMALL.replace("[[cl", f'release = "{release}"\n[[cl'))
    assert lab.clusters["source"].signs_with_itl_recovery is recovery


def test_nodes_follow_their_network_unless_they_have_an_address(tmp_path: Path) -> None:
    lab = loaded(
        tmp_path,
        SMALL
        + '[[clusters.source.nodes]]\nname = "far"\naddress = "127.99.0.7"\n'
        + '[[clusters.source.nodes]]\nname = "third"\n',
    )
    cluster = lab.clusters["source"]
    assert [cluster.address(node.name) for node in cluster.nodes] == ["127.10.1.1", "127.99.0.7", "127.10.1.3"]
    with pytest.raises(KeyError):
        cluster.address("nobody")


def test_option_150_names_two_tftp_servers_with_the_publisher_last() -> None:
    cluster = cluster_of(
        {"name": "pub"}, {"name": "sub1", "tftp": False}, {"name": "sub2"}, {"name": "sub3"}, {"name": "sub4"}
    )
    assert cluster.tftp_addresses() == ("127.10.1.3", "127.10.1.4")
    assert cluster_of({"name": "pub"}, {"name": "sub1"}).tftp_addresses() == ("127.10.1.2", "127.10.1.1")
    assert cluster_of({"name": "pub", "tftp": False}, {"name": "sub1"}).tftp_addresses() == ("127.10.1.2",)


def test_without_groups_there_is_one_of_three_with_the_publisher_last() -> None:
    nodes = [{"name": name} for name in ("pub", "sub1", "sub2")]
    (group,) = cluster_of(*nodes).unified_cm_groups
    assert group.members == ("sub1", "sub2", "pub")
    (group,) = cluster_of(*nodes, {"name": "sub3"}).unified_cm_groups
    assert group.members == ("sub1", "sub2", "sub3")
    (group,) = cluster_of({"name": "pub", "callmanager": False}, {"name": "sub1"}).unified_cm_groups
    assert group.members == ("sub1",)


def test_two_clusters_may_have_nodes_of_the_same_name(tmp_path: Path) -> None:
    lab = loaded(tmp_path, SMALL + SMALL.replace("source", "destination").replace("127.10", "127.20"))
    assert [cluster.publisher for cluster in lab.clusters.values()] == ["pub", "pub"]


def cluster_of(*nodes: dict[str, Any], **changes: Any) -> definitions.ClusterDefinition:
    return definitions.ClusterDefinition.model_validate({"network": "127.10.1.0", "nodes": nodes} | changes)


# The default lab.


@pytest.mark.parametrize(("security", "encrypted"), [("mixed", 16), ("secure", 50), ("non-secure", 0)])
def test_the_default_lab_has_fifty_phones_of_several_models(security: Any, encrypted: int) -> None:
    lab = definitions.default(security=security)
    assert sum(phones.count for phones in lab.phones) == 50
    assert sum(phones.count for phones in lab.phones if phones.security == "encrypted") == encrypted
    assert len({phones.model for phones in lab.phones}) == 5
    assert {phones.home for phones in lab.phones} == {"source"}
    assert [len(cluster.nodes) for cluster in lab.clusters.values()] == [2, 2]
    assert {cluster.security for cluster in lab.clusters.values()} == {"non-secure" if encrypted == 0 else "mixed"}


@pytest.mark.parametrize("phones", [0, 1, 2, 3, 7, 501])
def test_the_default_lab_has_as_many_phones_as_wanted(phones: int) -> None:
    for security in ("mixed", "secure", "non-secure"):
        lab = definitions.default(phones=phones, security=security)
        assert sum(kind.count for kind in lab.phones) == phones


def test_a_saved_definition_is_read_as_it_was() -> None:
    lab = definitions.default()
    assert LabDefinition.model_validate_json(lab.model_dump_json()) == lab


def test_phones_have_names_and_addresses_of_their_own_across_a_byte() -> None:
    found = list(phone_names(definitions.default(phones=300)))
    assert found[0][:2] == ("SEP001B0C000001", "127.30.0.10")
    assert found[245][1] == "127.30.0.255"
    assert found[246][1] == "127.30.1.0"
    assert len({name for name, _, _ in found}) == len({address for _, address, _ in found}) == 300


# Faults.


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"can't read .*nothing\.toml: No such file"):
        definitions.load(tmp_path / "nothing.toml")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a = 1\nb = ]\n", r"is not TOML: .*line 2, column 5"),
        (b"name = '\xff'", "is not TOML"),
        (b"a = 1\na = 2\n", "is not TOML"),
    ],
)
def test_what_is_no_toml_is_told_with_its_place(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "site.toml"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=words):
        definitions.load(path)


NODE = '[[clusters.source.nodes]]\nname = "sub1"\n'
GROUP = '[[clusters.source.groups]]\nname = "g"\nmembers = ["pub"]\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "clusters: Field required"),
        ("[clusters]\n", "clusters: Dictionary should have at least 1 item"),
        ("colour = 1\n" + SMALL, "colour: Extra inputs are not permitted"),
        (SMALL + "colour = 1\n", r"clusters.source.nodes.0.colour: Extra inputs"),
        (SMALL.replace("mixed", "half"), r"clusters.source.security: Input should be 'non-secure' or 'mixed'"),
        (SMALL.replace("[[cl", "release = 'ten'\n[[cl"), r"clusters.source.release: String should match"),
        (SMALL.replace("[[cl", "release = 14\n[[cl"), r"clusters.source.release: Input should be a valid string"),
        (SMALL.replace("[[cl", "key = 'rsa1024'\n[[cl"), r"clusters.source.key: Input should be"),
        (SMALL.replace("[[cl", "minimum_tls = '1.1'\n[[cl"), r"clusters.source.minimum_tls: Input should be"),
        (SMALL.replace("[[cl", "tftp_digest = 'md5'\n[[cl"), r"clusters.source.tftp_digest: Input should be"),
        (SMALL.replace("[[cl", "domain = 'a b'\n[[cl"), r"clusters.source.domain: String should match"),
        (
            SMALL.replace("[[cl", "organisation = ''\n[[cl"),
            r"clusters.source.organisation: String should have at least",
        ),
        (SMALL.replace("[[cl", 'organisation = "a\\u0007"\n[[cl'), r"organisation: 'a\\x07' has characters that can't"),
        (SMALL.replace("127.10.1.0", "10.0.0.0"), r"clusters.source.network: 10.0.0.0 is not in 127.0.0.0/8"),
        (SMALL.replace("127.10.1.0", "here"), r"clusters.source.network: Expected 4 octets in 'here'"),
        (SMALL.replace("127.10.1.0", "127.255.255.255"), "is not in 127.0.0.0/8: a lab stays on loopback"),
        (SMALL.split("[[")[0], "clusters.source.nodes: Field required"),
        (SMALL.replace("pub", "a b"), r"clusters.source.nodes.0.name: String should match"),
        (SMALL.replace("pub", "../pub"), r"clusters.source.nodes.0.name: String should match"),
        (SMALL.replace("pub", "p" * 45), "ITLRECOVERY_p.* must fit 64 characters"),
        (SMALL + NODE.replace("sub1", "s" * 51), "-EC.lab.example must fit 64 characters"),
        (SMALL + NODE.replace("sub1", "pub"), "clusters.source: two nodes of one name"),
        (SMALL + NODE * 21, "nodes: Tuple should have at most 21 items"),
        (SMALL + "tftp = false\n", "clusters.source: no node runs TFTP"),
        (SMALL + "callmanager = false\n", "clusters.source: no node runs Unified CM"),
        (SMALL + GROUP.replace('"pub"', '"x"'), "group g names x, which is no node of the cluster"),
        (SMALL + NODE + "callmanager = false\n" + GROUP.replace("pub", "sub1"), "group g names sub1, which runs no"),
        (SMALL + GROUP.replace('"pub"', ""), r"groups.0.members: Tuple should have at least 1 item"),
        (SMALL + GROUP.replace('"pub"', '"pub", "pub"'), r"groups.0.members: a node is named twice"),
        (SMALL + GROUP * 2, "clusters.source: two groups of one name"),
        (SMALL + GROUP.replace('"g"', '""'), r"groups.0.name: String should have at least 1"),
        (SMALL + NODE + 'address = "8.8.8.8"\n', r"nodes.1.address: 8.8.8.8 is not in 127.0.0.0/8"),
        (SMALL + NODE + 'address = "127.10.1.1"\n', "the lab: sub1 and pub share the address 127.10.1.1"),
        (SMALL + NODE + 'address = "127.40.1.1"\n', "sub1 and the SFTP server share the address"),
        (SMALL.replace("source", "consolidated"), "the lab: 'consolidated' can't be the name of a cluster"),
        (SMALL.replace("source", "a_b"), "the lab: 'a_b' can't be the name of a cluster"),
        (SMALL + "[[phones]]\nhome = 'mars'\n", "phones belong to cluster mars, which does not exist"),
        (SMALL + "[[phones]]\ncount = 0\n", r"phones.0.count: Input should be greater than or equal to 1"),
        (SMALL + "[[phones]]\ncount = 60001\n", r"phones.0.count: Input should be less than or equal to 60000"),
        (SMALL + "[[phones]]\ncount = 30001\n" * 2, "60002 phones belong to source: a cluster has at most 60000"),
        (SMALL + "[[phones]]\nmodel = 'Ümlaut'\n", r"phones.0.model: String should match"),
        (SMALL + "[[phones]]\ngroup = 'x'\n", "phones belong to group x, which source does not have"),
        (
            SMALL.replace("mixed", "non-secure") + "[[phones]]\nsecurity = 'encrypted'\n",
            "encrypted phones need mixed mode, and source is non-secure",
        ),
        (SMALL + "[network]\nphones = '127.10.0.250'\n[[phones]]\n", None),
        (SMALL + "[network]\nphones = '127.10.0.247'\n[[phones]]\n", "pub at 127.10.1.1 lies among the phones'"),
        (SMALL + "[network]\nphones = '127.10.0.240'\n[[phones]]\ncount = 7\n", None),
        (SMALL + "[network]\nphones = '127.10.0.240'\n[[phones]]\ncount = 8\n", "pub at 127.10.1.1 lies among the"),
        (SMALL + "[network]\nphones = '127.29.255.247'\n[[phones]]\n", "the DHCP server at 127.30.0.1 lies among"),
        (SMALL + "[network]\nphones = '127.255.255.0'\n[[phones]]\ncount = 245\n", None),
        (SMALL + "[network]\nphones = '127.255.255.0'\n[[phones]]\ncount = 246\n", "246 phones from 127.255.255.0"),
        (SMALL + "[network]\nport_shift = 30001\n", "network.port_shift"),
        (SMALL + "[network]\nport_shift = 'some'\n", "network.port_shift"),
        (SMALL + "[network]\nsftp_port = 0\n", "network.sftp_port"),
        (SMALL + "[network]\ndhcp = '192.0.2.1'\n", "network.dhcp: 192.0.2.1 is not in 127.0.0.0/8"),
    ],
)
def test_a_fault_is_refused_with_the_name_of_its_entry(tmp_path: Path, text: str, words: str | None) -> None:
    if words is None:  # just not a fault
        loaded(tmp_path, text)
        return
    assert re.search(words, refused(tmp_path, text)), refused(tmp_path, text)


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    text = "colour = 1\n" + SMALL.replace("mixed", "half")
    message = refused(tmp_path, text)
    assert "colour" in message
    assert "security" in message


def test_every_default_address_is_on_loopback() -> None:
    lab = definitions.default(phones=60_000)
    addresses = [address for _, address, _ in phone_names(lab)] + [lab.network.dhcp, lab.network.sftp]
    addresses += [cluster.address(node.name) for cluster in lab.clusters.values() for node in cluster.nodes]
    assert all(ipaddress.IPv4Address(address).is_loopback for address in addresses)
