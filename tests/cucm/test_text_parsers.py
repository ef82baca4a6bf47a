"""Parsers of what a node answers: the recorded forms, what they leave out, and that no text at all gets past them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trustbridge.cucm import text as parsers
from trustbridge.cucm.model import BulkLine, NodeInfo
from trustbridge.cucm.text import ServiceState
from trustbridge.cucm.text.lines import date
from trustbridge.errors import Garbled
from trustbridge.pki.names import certificate_key
from trustbridge.pki.units import BulkType, Store, Unit

SAMPLES = Path(__file__).parent.parent / "vectors" / "oscli"

PARSERS: dict[str, Callable[[str], object]] = {
    name: getattr(parsers, name) for name in parsers.__all__ if name.startswith("parse_")
}
#: Which parser reads which samples, by the beginning of their names.
READ_BY = {
    "show-version": "parse_version",
    "show-network-cluster": "parse_network_cluster",
    "show-cert-list-own": "parse_own_certificates",
    "show-cert-list-trust": "parse_trusted_certificates",
    "show-cert-own": "parse_certificate",
    "show-cert-trust": "parse_certificate",
    "utils-service": "parse_services",
    "utils-fips": "parse_fips",
    "run-sql": "parse_table",
    "show-ctl": "parse_trust_list",
    "show-itl": "parse_trust_list",
    "set-cert-bulk": "parse_bulk",
    "set-cert-import": "parse_change",
    "set-cert-delete": "parse_change",
    "utils-ctl": "parse_change",
    "file-list": "parse_file_list",
}
REFUSED = {"run-sql-error.txt"}


def sample(name: str) -> str:
    return (SAMPLES / f"{name}.txt").read_bytes().decode()


def cases() -> list[tuple[str, str]]:
    return [
        (path.name, parser)
        for path in sorted(SAMPLES.glob("*.txt"))
        for start, parser in READ_BY.items()
        if path.name.startswith(start)
    ]


def read(parser: str, text: str) -> object:
    try:
        return PARSERS[parser](text)
    except Garbled as error:
        return error.message


# Samples


def test_every_sample_is_in_the_readme_and_has_a_reader() -> None:
    named = (SAMPLES / "README.md").read_text("utf-8").split("`")[1::2]
    for path in SAMPLES.glob("*.txt"):
        assert any(fnmatchcase(path.stem, pattern) for pattern in named), path.stem
    assert {name for name, _ in cases()} | {
        "log-in.txt",
        "paginated.txt",
        "unknown-command.txt",
        "refused-command.txt",
    } == {path.name for path in SAMPLES.glob("*.txt")}


@pytest.mark.parametrize(("name", "parser"), cases())
def test_line_ends_blanks_echo_and_pagination_do_not_matter(name: str, parser: str) -> None:
    text = (SAMPLES / name).read_bytes().decode()
    plain = read(parser, text.replace("\r\n", "\n"))
    if name not in REFUSED:
        assert not isinstance(plain, str), plain
    assert read(parser, text) == plain
    body = text.partition("\r\n")[2].removesuffix("admin:")
    pager = "\x1b[1mPress <enter> for 1 line, <space> for one page, or <q> to quit\x1b[0m\x1b[K\r\x1b[K"
    assert read(parser, body) == plain or name in REFUSED
    assert read(parser, body.replace("\r\n", "   \r\n")) == read(parser, body)
    assert read(parser, body.replace("\r\n", f"\r\n{pager}")) == read(parser, body)
    assert read(parser, body.replace("\r\n", "\r\r\n")) == read(parser, body)


def test_the_release_and_its_packages() -> None:
    version = parsers.parse_version(sample("show-version-active"))
    assert str(version.release) == "12.5.1.11900-146"
    assert version.release.at_least(12, 5)
    assert version.options == ("cmterm-devicepack12.5.1.14900-11.cop.sgn", "ciscocm.free_common_space_v1.5.cop.sgn")
    assert parsers.parse_version(sample("show-version-active-no-options")).options == ()


@pytest.mark.parametrize(
    ("said", "on"),
    [
        (sample("utils-fips-status-on"), True),
        (sample("utils-fips-status-off"), False),
        ("The system is operating in FIPS mode", True),
        ("System is running in FIPS 140-2 mode.", True),
        ("FIPS mode is enabled. Enhanced security mode is disabled.", True),
        ("FIPS mode: on; Common Criteria mode: off", True),
        ("The system is not operating in FIPS mode.", False),
        ("The system is in non FIPS mode", False),
        ("FIPS mode is currently disabled", False),
        ("FIPS mode is not enabled. Enhanced security mode is not enabled.", False),
        ("The system is operating in FIPS mode.\nThe system is operating in non-FIPS mode.", None),
        ("OpenSSL FIPS self tests passed.", None),
        ("Enhanced security mode is enabled", None),
        ("", None),
    ],
)
def test_the_fips_mode_or_that_it_is_not_told(said: str, on: bool | None) -> None:
    if on is None:
        with pytest.raises(Garbled):
            parsers.parse_fips(said)
    else:
        assert parsers.parse_fips(said) is on


def test_nodes_with_roles_products_and_states() -> None:
    nodes = parsers.parse_network_cluster(sample("show-network-cluster-publisher"))
    assert [node.info for node in nodes if node.callmanager] == [
        NodeInfo("CUCMSUB", "10.3.74.12", False),
        NodeInfo("CUCMSUB2", "10.3.74.15", False),
        NodeInfo("CUCMPUB", "10.3.74.11", True),
    ]
    assert [node.authenticated for node in nodes] == [True, True, False, True]
    assert nodes[0].product == "cups"
    assert nodes[1].full_name == "cucmsub.example.com"
    assert nodes[1].since == datetime(2021, 10, 28, 11, 24, 16, tzinfo=UTC)
    assert nodes[3].since is None


@pytest.mark.parametrize(
    ("name", "publisher", "count"), [("no-domain", "CUCMPUB", 3), ("wrapped", "aligator", 2), ("status", "cmpub", 2)]
)
def test_other_forms_of_the_cluster(name: str, publisher: str, count: int) -> None:
    nodes = parsers.parse_network_cluster(sample(f"show-network-cluster-{name}"))
    assert [node.name for node in nodes if node.publisher] == [publisher]
    assert len(nodes) == count
    assert all(node.authenticated for node in nodes)


def test_a_cluster_without_a_publisher_or_with_two_is_refused() -> None:
    text = sample("show-network-cluster-no-domain")
    with pytest.raises(Garbled, match="0 publishers"):
        parsers.parse_network_cluster(text.replace("Publisher", "Subscriber"))
    with pytest.raises(Garbled, match="3 publishers"):
        parsers.parse_network_cluster(text.replace("Subscriber", "Publisher"))


def test_own_certificates_as_lines() -> None:
    listed = parsers.parse_own_certificates(sample("show-cert-list-own-lines"))
    assert {entry.identity for entry in listed} == set(Unit)
    assert listed[0].path == "tomcat/tomcat.pem"
    assert listed[0].description == "Certificate Signed by example-SUBCA-CA"
    assert all(entry.store is None for entry in listed)


def test_own_certificates_as_blocks() -> None:
    listed = parsers.parse_own_certificates(sample("show-cert-list-own-blocks"))
    assert [entry.path for entry in listed] == ["tomcat/tomcat.pem", "CallManager/CallManager.pem", "ipsec/ipsec.pem"]
    assert listed[2].issuer == "CN=cucm-pub.example.com"
    assert listed[0].expires == datetime(2030, 1, 30, 0, 53, 7, tzinfo=UTC)
    assert listed[1].expires == datetime(2031, 2, 14, 20, tzinfo=UTC)


def test_trust_stores_in_both_forms() -> None:
    listed = parsers.parse_trusted_certificates(sample("show-cert-list-trust-lines"))
    assert len(listed) == 10
    assert {entry.store for entry in listed} == {*Store, None}  # AUTHZ-trust is of no concern here
    assert listed[4].path == "CallManager-trust/CCMPUB-EC_6fa80c1b26ef5c540529502ea9ade80b.pem"
    assert listed[6].description == ""
    blocks = parsers.parse_trusted_certificates(sample("show-cert-list-trust-blocks"))
    assert [(entry.store, entry.name) for entry in blocks] == [
        (Store.CALLMANAGER_TRUST, "CAPF-ca5a1234.pem"),
        (Store.PHONE_SAST_TRUST, "cucm-pub.example.com.pem"),
    ]
    assert parsers.parse_trusted_certificates("admin:show cert list trust\r\n\r\nadmin:") == ()


def test_names_of_files_may_hold_colons_and_blanks() -> None:
    (listed,) = parsers.parse_trusted_certificates("tomcat-trust/fe80::1 of a lab.pem: Trust Certificate of x.pem\n")
    assert (listed.name, listed.description) == ("fe80::1 of a lab.pem", "Trust Certificate of x.pem")


def test_blocks_without_blank_lines_between_are_told_apart() -> None:
    text = "Unit: a\nName: b\nUnit: c\nName: d.pem\nType: trust\n"
    assert [entry.path for entry in parsers.parse_trusted_certificates(text)] == ["a/b.pem", "c-trust/d.pem"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("tomcat/tomcat.pem: Self-signed\nCallManager/Call", 2),
        ("tomcat/tomcat.pem: Self-signed\n\nCal\ufffd\ufffdManager/CallManager.pem: x", 3),
        ("Unit: tomcat\nType: own\nIssuer: CN=a\n", 1),
        ("Unit: tomcat\nName: a\nName: b\n", 3),
        ("Unit: tomcat\nName: a\nExpires: soon\n", 1),
        ("Type: own\nName: orphan\n\nUnit: tomcat\nType: own\nName: tomcat\n", 1),
        ("tomcat/tomcat.pem: x\ntomcat-ECDSA/tomcat-ECDSA.pem: Self\ufffdsigned\n", 2),
        ("tomcat/tomcat.pem: x\ntomcat-ECDSA/tomcat-ECDSA.pem: Self\x01signed\n", 2),
    ],
)
def test_a_damaged_listing_is_refused_with_its_line(text: str, line: int) -> None:
    for parse in (parsers.parse_own_certificates, parsers.parse_trusted_certificates):
        with pytest.raises(Garbled, match=rf"^line {line} "):
            parse(text)


def test_what_means_nothing_is_passed_over() -> None:
    text = "Please wait ...\n********\ntomcat/tomcat.pem: Self-signed\nExecuted command successfully\n"
    assert [entry.path for entry in parsers.parse_own_certificates(text)] == ["tomcat/tomcat.pem"]


def test_a_node_without_own_certificates_is_not_believed() -> None:
    with pytest.raises(Garbled, match="missing"):
        parsers.parse_own_certificates("admin:show cert list own\nadmin:")


def test_one_certificate_from_decoded_text() -> None:
    for name in ("show-cert-own", "show-cert-trust-openssl"):
        certificate = parsers.parse_certificate(sample(name))
        assert certificate.common_name == "cm1.example.com"
        assert certificate.serial == 0x791A41DE2F3D66A9A4A560204D2FEB5A


def test_a_damaged_certificate_is_refused_with_the_line_where_it_begins() -> None:
    text = sample("show-cert-own")
    start = text[: text.index("-----BEGIN")].count("\n") + 1
    for damaged in (
        text[: text.index("-----END")],
        text.replace("-----END CERTIFICATE-----", ""),
        text.replace("MII", "MIJ", 1),
    ):
        with pytest.raises(Garbled, match=rf"^line {start} "):
            parsers.parse_certificate(damaged)
    with pytest.raises(Garbled, match="one certificate more"):
        parsers.parse_certificate(text + text)
    with pytest.raises(Garbled, match="missing"):
        parsers.parse_certificate(text[: text.index("-----BEGIN")])


def test_services_with_states() -> None:
    services = {service.name: service for service in parsers.parse_services(sample("utils-service-list"))}
    assert services["Cisco Tftp"].running
    assert services["Cisco Trust Verification Service"].state is ServiceState.STARTING
    assert not services["Cisco Certificate Authority Proxy Function"].activated
    assert services["Password Reset"].activated
    assert not services["Password Reset"].running
    assert services["Cisco HCS Admin UI"].remark == "Component is not running"
    assert "Service Manager is running" not in services
    padded = parsers.parse_services(sample("utils-service-list-padded"))
    assert [(service.name, service.running) for service in padded] == [
        ("Cluster Manager", True),
        ("A Cisco DB", True),
        ("Cisco CTIManager", False),
        ("Cisco Tftp", True),
    ]


def test_the_last_state_of_a_restart_counts() -> None:
    (service,) = parsers.parse_services(sample("utils-service-restart"))
    assert service == parsers.ListedService("Cisco Tftp", ServiceState.STARTED)


@pytest.mark.parametrize("text", ["", "Service Manager is running\n", "Cisco Tftp[STAR\n", "Cisco Tftp[PURPLE]\n"])
def test_no_services_or_garbled_ones_are_refused(text: str) -> None:
    with pytest.raises(Garbled):
        parsers.parse_services(text)


def test_tables_of_the_database() -> None:
    table = parsers.parse_table(sample("run-sql-processconfig"))
    assert table.records() == [{"paramname": "ClusterSecurityMode", "paramvalue": "0"}]
    assert parsers.parse_table(sample("run-sql-empty")) == parsers.Table(("name", "description"))
    wide = parsers.parse_table(
        "name     description\n======== ===========\ncm1      The publisher\ncm2\nNULL     NULL\n"
    )
    assert wide.rows == (("cm1", "The publisher"), ("cm2", ""), ("NULL", "NULL"))


def test_an_error_of_the_database_is_no_table() -> None:
    with pytest.raises(Garbled, match=r"The specified table \(nowhere\)"):
        parsers.parse_table(sample("run-sql-error"))
    with pytest.raises(Garbled, match="line 3 is no row"):
        parsers.parse_table("name value\n==== =====\nlonger than that\n")


def test_a_ctl_as_the_node_decodes_it() -> None:
    ctl = parsers.parse_trust_list(sample("show-ctl-tokenless"))
    issuer = "CN=cucm-1051-a-pub;OU=TAC;O=Cisco;L=Krakow;ST=Malopolska;C=PL"
    key = certificate_key(0x70CAF64E090751B9DF22F49F754FC5BB, issuer)
    assert (ctl.kind, ctl.present, ctl.verified, ctl.length, ctl.version) == ("CTL", True, True, 4947, "1.2")
    assert (ctl.md5, ctl.sha1) == ("0c05655de63fe2a042cf252d96c6d609", "8c92d1a569f7263cf4485812366e66e3b503a2f5")
    assert ctl.modified == datetime(2015, 3, 6, 18, 45, 13, tzinfo=UTC)
    assert ctl.signer == key
    assert [record.function for record in ctl.records] == [
        "System Administrator Security Token",
        "CCM+TFTP",
        "CCM+TFTP",
    ]
    first, second, blank = ctl.records
    assert (first.key, first.subject, first.signed) == (key, issuer, True)
    assert first.certificate_sha1 == "e9d433645bc88ced514d8fe5ea5b6d21a5a38c9c"
    assert second.certificate_sha1.startswith("217f23deaf")
    assert second.signed is None
    assert (blank.key, blank.subject, blank.certificate_sha1) == (None, "", "")


def test_an_itl_of_an_old_release_without_checksums() -> None:
    itl = parsers.parse_trust_list(sample("show-itl-old"))
    assert (itl.kind, itl.md5, itl.sha1, itl.verified) == ("ITL", "", "", True)
    assert itl.signer == certificate_key(0x21002D17000000000005, "CN=EXAMPLE-AD")
    assert itl.records[1].subject == "CN=cm8-sub.example.com;OU=TAC;O=Cisco;L=RTP;ST=North Carolina;C=US"
    assert itl.records[1].function == "TVS"


def test_a_token_that_did_not_sign_is_told_from_one_that_did() -> None:
    text = sample("show-itl-old").replace(
        "6       SERIALNUMBER    8 ", "This etoken was not used to sign the ITL file.\n#"
    )
    assert [record.signed for record in parsers.parse_trust_list(text).records] == [True, False]


def test_no_trust_list_and_one_that_fails_its_verification() -> None:
    none = parsers.parse_trust_list(sample("show-ctl-none"))
    assert (none.present, none.verified, none.records) == (False, None, ())
    failed = sample("show-itl-old").replace(
        "The ITL file was verified successfully.", "Verification of the ITL File failed."
    )
    assert parsers.parse_trust_list(failed).verified is False
    cut = sample("show-itl-old").replace("The ITL file was verified successfully.", "")
    assert parsers.parse_trust_list(cut).verified is None


def test_bulk_answers_a_line_a_type() -> None:
    exported = parsers.parse_bulk(sample("set-cert-bulk-export"))
    assert [(parsers.bulk_type(line), line.succeeded) for line in exported] == [
        (BulkType.TOMCAT, True),
        (BulkType.TFTP, True),
    ]
    assert all(line.succeeded for line in parsers.parse_bulk(sample("set-cert-bulk-import")))
    failed = parsers.parse_bulk(sample("set-cert-bulk-export-failed"))
    assert [line.succeeded for line in failed] == [True, False]
    (named,) = parsers.parse_bulk("Successfully exported tomcat certificate(s) to failed.example.com\n")
    assert named.succeeded
    assert parsers.parse_bulk("Executed command unsuccessfully\n") == (
        BulkLine("Executed command unsuccessfully", succeeded=False),
    )


@pytest.mark.parametrize("text", ["", "Success", "Hello there\n", "Successfully exported, but tftp failed\n"])
def test_a_bulk_answer_is_a_success_only_if_it_says_so(text: str) -> None:
    try:
        assert text == "Success" or not any(line.succeeded for line in parsers.parse_bulk(text))
    except Garbled:
        assert text in ("", "Hello there\n")


def test_an_import_says_what_wants_a_restart() -> None:
    change = parsers.parse_change(sample("set-cert-import-trust").partition("-----END CERTIFICATE-----")[2])
    assert (change.done, change.present) == (True, False)
    assert change.restart == ("services related to tomcat",)
    mixed = parsers.parse_change(sample("utils-ctl-mixed-mode"))
    assert mixed.done
    assert mixed.restart == ("TFTP", "Cisco CallManager")
    assert parsers.parse_change(sample("set-cert-delete")).done


@pytest.mark.parametrize(
    ("text", "done", "present"),
    [
        ("Certificate already exists in the trust store\n", True, True),
        ("Error: the certificate could not be imported\nExecuted command unsuccessfully\n", False, False),
        ("The certificate was not deleted\n", False, False),
        ("This certificate already exists: not imported again\n", True, True),
        ("Successfully deleted certificate tomcat-trust/not-failed.error.pem.\n", True, False),
        ("Executed command unsuccessfully\n", False, False),
    ],
)
def test_what_a_change_came_to(text: str, done: bool, present: bool) -> None:
    change = parsers.parse_change(text)
    assert (change.done, change.present, change.restart) == (done, present, ())


def test_an_answer_that_says_nothing_of_an_outcome_is_no_success() -> None:
    for text in ("", "Moving certificates\n", "Please restart services related to tomcat\n"):
        with pytest.raises(Garbled):
            parsers.parse_change(text)


def test_files_of_a_tftp_node() -> None:
    listed = parsers.parse_file_list(sample("file-list-tftp"))
    assert [file.name for file in listed if file.folder] == ["Ringlist.d"]
    assert [file.name for file in listed if not file.folder][:2] == ["CTLFile.tlv", "ITLFile.tlv"]
    detailed = parsers.parse_file_list(sample("file-list-tftp-detail"))
    assert detailed[0].size == 4947
    assert detailed[0].modified == datetime(2015, 3, 6, 19, 45, 13, tzinfo=UTC)
    with pytest.raises(Garbled, match="line 2 is not what is listed"):
        parsers.parse_file_list("a b\ndir count = 0, file count = 3\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Wed Feb 03 15:31:38 PST 2027", datetime(2027, 2, 3, 23, 31, 38, tzinfo=UTC)),
        ("since Sat Aug 9 02:49:37 2025", datetime(2025, 8, 9, 2, 49, 37, tzinfo=UTC)),
        ("Tue Feb 24 16:37:45 CET 2015", datetime(2015, 2, 24, 15, 37, 45, tzinfo=UTC)),
        ("Tue Feb 24 16:37:45 XYZ 2015", None),
        ("Tue Feb 31 16:37:45 2015", None),
        ("Mon Jan 01 00:00:00 CET 0001", None),
        ("yesterday", None),
    ],
)
def test_dates_in_the_nodes_own_zone(text: str, expected: datetime | None) -> None:
    assert date(text) == expected


# Any text at all


def total(parser: str, text: str) -> None:
    with suppress(Garbled):
        PARSERS[parser](text)


_WORD = st.sampled_from(
    [
        *("Unit:", "Name: x", "Expires: Thu Jan 30 00:53:07 UTC 9999", "a/b.pem", ":", "admin:", "[STARTED]", "===="),
        *("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----", "MIIB", "Active Master Version:", "1.2.3"),
        *("10.0.0.1 a Publisher", "authenticated", "Length of ITL file:", "ITL Record #:1", "1 RECORDLENGTH 2 3"),
        *("6 SERIALNUMBER 2 00:01", "BYTEPOS", "---", "(MD5)", "Successfully", "not", "restart the", "<dir>"),
        *("dir count = 1, file count = 1", "12 Dec,2004 12:00:59 1,234 a.txt", "Press <enter> for 1 line"),
        *("\x1b[K", "\b", "\ufffd", "\u0660", "\r", "\n", "\n", "Mon Jan 01 00:00:00 CET 0001", "9" * 5000),
    ]
)
WORDS = st.lists(_WORD, max_size=12)


@pytest.mark.parametrize("parser", PARSERS)
@given(text=st.one_of(st.text(), WORDS.map(" ".join), WORDS.map("".join)))
def test_any_text_gives_a_value_or_garbled(parser: str, text: str) -> None:
    total(parser, text)


@settings(max_examples=500)
@given(case=st.sampled_from(cases()), data=st.data())
def test_damaged_samples_give_a_value_or_garbled(case: tuple[str, str], data: st.DataObject) -> None:
    name, parser = case
    text = (SAMPLES / name).read_bytes().decode()
    at = data.draw(st.integers(0, len(text)))
    length = data.draw(st.integers(0, 40))
    total(parser, text[:at] + data.draw(st.text(max_size=5)) + text[at + length :])


@pytest.mark.parametrize(("name", "parser"), cases())
def test_truncated_samples_give_a_value_or_garbled(name: str, parser: str) -> None:
    text = (SAMPLES / name).read_bytes().decode()
    for end in range(0, len(text), max(1, len(text) // 60)):
        total(parser, text[:end])
