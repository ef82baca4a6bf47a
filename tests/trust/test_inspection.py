"""Inspection: by content, with offsets, and never with an exception whatever the bytes are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, pkcs12
from cryptography.hazmat.primitives.serialization.pkcs7 import serialize_certificates
from hypothesis import given, settings
from hypothesis import strategies as st

from trustbridge.pki.bundle import BundledCertificate, write_bundle
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.issue import Identity, KeyName, Organisation, self_signed
from trustbridge.pki.units import Unit
from trustbridge.trust import configuration
from trustbridge.trust.configuration import CallManagerMember, Configuration, TvsServer
from trustbridge.trust.inspection import (
    Inspection,
    Kind,
    KnownSigner,
    Severity,
    Verdict,
    certificates_in,
    inspect,
)
from trustbridge.trust.lists import ListedCertificate, Signer, build_trust_list, sign_file
from trustbridge.wire import signedfile, signedheader, trustlist, tvs
from trustbridge.wire.buffer import push_element, push_elements, text_value
from trustbridge.wire.signedheader import Digest
from trustbridge.wire.trustlist import Record, RecordTag, Role, TrustListFile

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PASSWORD = "trustbridge"
ORGANISATION = Organisation(ou="TAC", o="Cisco", l="Krakow", st="Malopolska", c="PL")


@dataclass(frozen=True, slots=True)
class Cluster:
    callmanager: Identity
    recovery: Identity
    tvs: Identity
    expired: Identity


def identity(unit: Unit, name: str, key: KeyName = "rsa1024", days: int = 1826) -> Identity:
    return self_signed(node="cm1", unit=unit, common_name=name, organisation=ORGANISATION, now=NOW, key=key, days=days)


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return Cluster(
        identity(Unit.CALLMANAGER, "cm1.lab.test", "rsa2048"),
        identity(Unit.ITLRECOVERY, "ITLRECOVERY_cm1.lab.test", "rsa2048"),
        identity(Unit.TVS, "tvs.lab.test", "p256"),
        identity(Unit.TVS, "old.lab.test", "p256", days=-1),
    )


def entries(cluster: Cluster) -> list[ListedCertificate]:
    return [
        ListedCertificate(Role.SAST, "cm1.lab.test", cluster.callmanager.certificate),
        ListedCertificate(Role.SAST, "cm1.lab.test", cluster.recovery.certificate),
        ListedCertificate(Role.CCM_TFTP, "cm1.lab.test", cluster.callmanager.certificate),
        ListedCertificate(Role.TVS, "10.1.1.1", cluster.tvs.certificate),
    ]


def signer_of(identity: Identity) -> Signer:
    assert isinstance(identity.private_key, rsa.RSAPrivateKey)
    return Signer(identity.certificate, identity.private_key)


def trust_list(
    cluster: Cluster,
    listed: Sequence[ListedCertificate] | None = None,
    *,
    file_name: str = "ITLFile.tlv",
    now: datetime = NOW,
    digest: Digest = Digest.SHA1,
) -> bytes:
    chosen = entries(cluster) if listed is None else listed
    signer = signer_of(cluster.recovery)
    return trustlist.encode(build_trust_list(chosen, signer, file_name=file_name, now=now, digest=digest))


def resigned(cluster: Cluster, change: Callable[[list[Record]], list[Record]]) -> bytes:
    """A trust list with changed records whose signature holds."""
    file = trustlist.decode(trust_list(cluster))
    records = tuple(change(list(file.records)))
    body = trustlist.encode(TrustListFile(file.header, records))[file.header.length :]
    return trustlist.encode(TrustListFile(signer_of(cluster.recovery).sign(file.header, body), records))


def with_element(record: Record, tag: int, value: bytes | None) -> Record:
    """A record with one element's value changed, added at its end, or (None) taken away."""
    elements = [(there, value if there == tag else old) for there, old in record.elements]
    if value is None:
        elements = [(there, old) for there, old in record.elements if there != tag]
    elif record.first(tag) is None:
        elements.append((tag, value))
    kept = [(there, old) for there, old in elements if old is not None]
    length = sum(3 + len(old) for _, old in kept)
    return Record(((RecordTag.RECORD_LENGTH, length.to_bytes(2)), *kept[1:]))


def signed_file(cluster: Cluster, content: bytes, name: str = "SEP001122334455.cnf.xml") -> bytes:
    return signedfile.encode(sign_file(content, signer_of(cluster.callmanager), file_name=name, now=NOW))


def device(**changes: object) -> bytes:
    plain = Configuration((CallManagerMember("cm1"),), (TvsServer("10.1.1.1"),))
    return configuration.build(replace(plain, **changes))  # type: ignore[arg-type]  # a test's own fields


def look(data: bytes, *signers: Certificate, password: str = PASSWORD) -> Inspection:
    known = [KnownSigner(certificate, "elsewhere") for certificate in signers]
    return inspect(data, now=NOW, password=password, signers=known)


def errors(found: Inspection) -> list[str]:
    return [problem.text for problem in found.problems if problem.severity is Severity.ERROR]


def texts(found: Inspection, severity: Severity) -> str:
    return "\n".join(problem.text for problem in found.problems if problem.severity is severity)


# Trust lists


def test_a_sound_trust_list_is_good_and_says_who_signed_it(cluster: Cluster) -> None:
    data = trust_list(cluster)
    found = look(data)
    assert (found.kind, found.verdict, found.problems) == (Kind.TRUST_LIST, Verdict.GOOD, ())
    assert found.get("signature") == "holds"
    assert found.get("verified_with") == "record 2"
    assert found.get("signer") == cluster.recovery.certificate.subject
    assert found.get("file_name") == "ITLFile.tlv"
    assert found.get("timestamp") == "2026-03-01T12:00:00+00:00"
    assert (found.get("digest"), found.get("signature_bits")) == ("SHA-1", 2048)
    assert (found.get("records"), found.get("sast"), found.get("blank")) == (4, 2, False)


def test_checksums_are_those_that_show_itl_prints(cluster: Cluster) -> None:
    data = trust_list(cluster)
    found = look(data)
    assert found.get("size") == len(data)
    assert found.get("md5") == hashlib.md5(data).hexdigest()
    assert found.get("sha1") == hashlib.sha1(data).hexdigest()
    assert found.get("sha256") == hashlib.sha256(data).hexdigest()


def test_each_record_is_a_row_with_what_its_certificate_says(cluster: Cluster) -> None:
    data = trust_list(cluster)
    rows = look(data).rows
    assert [row.get("role") for row in rows] == ["SAST", "SAST", "CCM+TFTP", "TVS"]
    assert [row.get("dns_name") for row in rows] == ["cm1.lab.test"] * 3 + ["10.1.1.1"]
    assert [row.get("key") for row in rows] == ["RSA 2048", "RSA 2048", "RSA 2048", "EC 256"]
    assert [row.get("signer") for row in rows] == [False, True, False, False]
    row, certificate = rows[3], cluster.tvs.certificate
    assert row.get("subject") == certificate.subject
    assert int(str(row.get("serial")), 16) == certificate.serial
    assert row.get("not_after") == certificate.not_after.isoformat()
    assert row.get("sha256") == certificate.sha256
    for row in rows:
        assert row.offset is not None
        assert data[row.offset : row.offset + 3] == b"\x01\x00\x02"


@pytest.mark.parametrize("name", ["CTLFile.tlv", "ITLSEP001122334455.tlv", "CTLSEP001122334455.tlv"])
def test_every_name_of_a_trust_list_is_one(cluster: Cluster, name: str) -> None:
    found = look(trust_list(cluster, file_name=name))
    assert (found.kind, found.verdict, found.get("file_name")) == (Kind.TRUST_LIST, Verdict.GOOD, name)


def test_a_changed_byte_makes_the_signature_refused_at_its_offset(cluster: Cluster) -> None:
    data = bytearray(trust_list(cluster))
    data[-1] ^= 1  # of the last record's address
    found = look(bytes(data))
    assert found.verdict is Verdict.WRONG
    assert found.get("signature") == "refused"
    (problem,) = [problem for problem in found.problems if problem.severity is Severity.ERROR]
    assert "does not hold for CN=ITLRECOVERY" in problem.text
    assert problem.offset is not None
    assert data[problem.offset] == signedheader.HeaderTag.SIGNATURE


def test_a_signer_that_is_not_listed_is_named_and_can_be_given(cluster: Cluster) -> None:
    data = trust_list(
        cluster, [entry for entry in entries(cluster) if entry.certificate != cluster.recovery.certificate]
    )
    found = look(data)
    assert (found.verdict, found.get("signature")) == (Verdict.GOOD, "unchecked")
    said = texts(found, Severity.WARNING)
    assert cluster.recovery.certificate.subject in said
    assert f"{cluster.recovery.certificate.serial:x}" in said
    assert look(data, cluster.recovery.certificate).get("signature") == "holds"
    assert look(data, cluster.recovery.certificate).get("verified_with") == "elsewhere"
    assert look(data, cluster.callmanager.certificate).get("signature") == "unchecked"


def test_a_signer_listed_without_the_role_of_a_signer_is_an_error(cluster: Cluster) -> None:
    listed = [ListedCertificate(Role.TFTP, "cm1", cluster.recovery.certificate), *entries(cluster)[2:]]
    found = look(trust_list(cluster, listed))
    assert found.get("signature") == "holds"
    assert errors(found) == ["the signer is among the records, but not as SAST: phones accept no list from it"]


def test_a_blank_list_is_good_and_says_that_it_is_blank(cluster: Cluster) -> None:
    blank = [replace(entry, certificate=None) for entry in entries(cluster)]
    found = look(trust_list(cluster, blank), cluster.recovery.certificate)
    assert (found.verdict, found.get("blank"), found.get("signature")) == (Verdict.GOOD, True, "holds")
    assert [row.get("subject") for row in found.rows] == [None] * 4
    assert found.get("sast") == 0


CONTRADICTIONS = [
    (RecordTag.SERIAL, b"\x12\x34", "serial of the record is 1234"),
    (RecordTag.ISSUER, text_value("CN=else;C=PL"), "issuer of the record is CN=else;C=PL"),
    (RecordTag.SUBJECT, text_value("CN=else;C=PL"), "subject of the record is CN=else;C=PL"),
    (RecordTag.PUBLIC_KEY, b"\x30\x01\x00", "public key of the record"),
    (RecordTag.SIGNATURE, bytes(64), "signature in the record"),
    (RecordTag.CERTIFICATE, b"garbage", "not a certificate"),
]


@pytest.mark.parametrize(("tag", "value", "said"), CONTRADICTIONS)
def test_a_record_that_contradicts_its_certificate_is_an_error_at_that_field(
    cluster: Cluster, tag: RecordTag, value: bytes, said: str
) -> None:
    data = resigned(cluster, lambda records: [*records[:3], with_element(records[3], tag, value)])
    found = look(data)
    assert (found.verdict, found.get("signature")) == (Verdict.WRONG, "holds")
    (problem,) = [problem for problem in found.problems if problem.severity is Severity.ERROR]
    assert said in problem.text
    assert problem.row == 4
    assert problem.offset is not None
    assert data[problem.offset : problem.offset + 3 + len(value)] == push_element(tag, value)


def test_the_other_spelling_of_a_name_is_no_contradiction(cluster: Cluster) -> None:
    commas = text_value("C=PL, ST=Malopolska, L=Krakow, O=cisco, OU=TAC, CN=TVS.lab.test")
    data = resigned(cluster, lambda records: [*records[:3], with_element(records[3], RecordTag.ISSUER, commas)])
    assert look(data).verdict is Verdict.GOOD


def test_a_certificate_hash_that_is_wrong_is_told(cluster: Cluster) -> None:
    right = hashlib.sha256(cluster.tvs.certificate.der).digest()
    for given_hash, said in ((right, False), (bytes(32), True)):

        def change(records: list[Record], value: bytes = given_hash) -> list[Record]:
            last = with_element(records[3], RecordTag.CERTIFICATE_HASH, value)
            return [*records[:3], with_element(last, RecordTag.HASH_ALGORITHM, b"\x02")]

        assert ("certificate hash" in texts(look(resigned(cluster, change)), Severity.WARNING)) is said


def test_unknown_tags_and_roles_are_said_and_refuse_nothing(cluster: Cluster) -> None:
    def change(records: list[Record]) -> list[Record]:
        odd = with_element(records[3], RecordTag.FUNCTION, b"\x00\x63")
        return [*records, with_element(odd, 77, b"new")]

    found = look(resigned(cluster, change))
    assert found.verdict is Verdict.GOOD
    assert found.rows[4].get("unknown_tags") == (77,)
    assert "unknown tags, kept as they are: 77" in texts(found, Severity.NOTE)
    assert "nobody knows role 99" in texts(found, Severity.WARNING)


def test_a_header_that_names_another_signer_is_warned_about(cluster: Cluster) -> None:
    signer = signer_of(cluster.recovery)
    header = signedheader.build(
        version=(1, 2),
        signer_version=None,
        signer_name="CN=somebody",
        serial=signer.certificate.serial,
        ca_name=signer.certificate.issuer,
        digest=Digest.SHA1,
        signature_length=256,
        file_name="CTLFile.tlv",
        timestamp=0,
    )
    header = replace(header, elements=(*header.elements, (99, b"")))
    length = (len(header.encode())).to_bytes(2)
    header = replace(header, elements=(header.elements[0], (2, length), *header.elements[2:]))
    data = trustlist.encode(TrustListFile(signer.sign(header, b""), ()))
    found = look(data, signer.certificate)
    assert (found.verdict, found.get("signature")) == (Verdict.GOOD, "holds")
    assert "names its signer CN=somebody, the certificate says CN=ITLRECOVERY" in texts(found, Severity.WARNING)
    assert "header elements with unknown tags, kept as they are: 99" in texts(found, Severity.NOTE)
    assert "it holds no record" in texts(found, Severity.WARNING)


def test_records_that_leave_something_out_are_warned_about(cluster: Cluster) -> None:
    def change(records: list[Record]) -> list[Record]:
        return [
            *records[:3],
            with_element(records[3], RecordTag.SERIAL, None),
            with_element(records[3], RecordTag.CERTIFICATE, None),
        ]

    found = look(resigned(cluster, change))
    assert found.verdict is Verdict.GOOD
    said = [(problem.row, problem.text) for problem in found.problems]
    assert (4, "the record has a certificate but no serial beside it") in said
    assert (5, "the record names a certificate but does not hold it") in said
    assert found.rows[4].get("subject") == cluster.tvs.certificate.subject


def test_more_sast_certificates_than_a_cluster_lists_are_noted(cluster: Cluster) -> None:
    more = ListedCertificate(Role.SAST, "x", cluster.tvs.certificate)
    found = look(trust_list(cluster, [*entries(cluster), more]))
    assert found.get("sast") == 3
    assert "3 different SAST certificates" in texts(found, Severity.NOTE)


def test_an_expired_tvs_certificate_is_an_error_and_another_a_warning(cluster: Cluster) -> None:
    expired = cluster.expired.certificate
    as_tvs = look(trust_list(cluster, [*entries(cluster), ListedCertificate(Role.TVS, "old", expired)]))
    assert errors(as_tvs) == [f"expired on {expired.not_after:%Y-%m-%d}: phones refuse this TVS"]
    as_capf = look(trust_list(cluster, [*entries(cluster), ListedCertificate(Role.CAPF, "old", expired)]))
    assert as_capf.verdict is Verdict.GOOD
    assert "expired on" in texts(as_capf, Severity.WARNING)


def test_a_list_longer_than_phones_load_is_an_error(cluster: Cluster) -> None:
    entry = entries(cluster)[0]
    count = trustlist.MAX_PHONE_FILE // len(push_elements(entry.record().elements)) + 1
    found = look(trust_list(cluster, [*entries(cluster), *[entry] * count]))
    assert len(found.rows) == 4 + count
    assert any("phones fail to load a trust list over 65536" in text for text in errors(found))


def test_what_old_phones_refuse_is_noted(cluster: Cluster) -> None:
    found = look(trust_list(cluster, digest=Digest.SHA512))
    assert found.verdict is Verdict.GOOD
    assert "SHA-512" in texts(found, Severity.NOTE)
    large = signedheader.build(
        version=(1, 2),
        signer_version=None,
        signer_name="CN=large",
        serial=1,
        ca_name="CN=large",
        digest=Digest.SHA1,
        signature_length=512,
        file_name="CTLFile.tlv",
        timestamp=0,
    )
    assert "above 2048 bits" in texts(look(trustlist.encode(TrustListFile(large, ()))), Severity.NOTE)


def test_a_list_from_the_future_is_warned_about(cluster: Cluster) -> None:
    assert "future" in texts(look(trust_list(cluster, now=NOW + timedelta(days=2))), Severity.WARNING)
    assert look(trust_list(cluster, now=NOW + timedelta(hours=2))).problems == ()


def test_an_itl_without_tvs_is_warned_about(cluster: Cluster) -> None:
    assert "can ask nobody" in texts(look(trust_list(cluster, entries(cluster)[:3])), Severity.WARNING)


def test_a_trust_list_cut_short_anywhere_is_bad_with_an_offset_inside(cluster: Cluster) -> None:
    data = trust_list(cluster)
    boundaries = {row.offset for row in look(data).rows}
    for end in range(5, len(data), 7):
        found = look(data[:end])
        if end in boundaries:
            continue  # whole records: only the signature tells that some are missing
        assert (found.kind, found.verdict) == (Kind.TRUST_LIST, Verdict.BAD)
        assert found.problems[0].offset is not None
        assert found.problems[0].offset <= end


def test_the_wire_view_lists_every_element_at_its_offset(cluster: Cluster) -> None:
    data = resigned(cluster, lambda records: [*records, with_element(records[0], 77, b"new")])
    lines = look(data).wire
    for line in lines:
        assert data[line.offset] == line.tag
    assert {line.row for line in lines} == {0, 1, 2, 3, 4, 5}
    spelled = {(line.row, line.name): line.value for line in lines}
    assert spelled[1, "FUNCTION"] == "System Administrator Security Token"
    assert spelled[4, "DNSNAME"] == "10.1.1.1"
    sha1 = hashlib.sha1(cluster.tvs.certificate.der).digest()
    assert spelled[4, "CERTIFICATE"] == f"{sha1.hex(' ').upper()} (SHA1 Hash HEX)"
    assert spelled[5, "UNKNOWN77"] == "6e 65 77"


def test_the_wire_view_has_the_lengths_of_a_public_show_ctl() -> None:
    # wire-formats, section 1: a header of 336 bytes whose signer info has 149, and a blank record of 33.
    subject = "CN=cucm-1051-a-pub;OU=TAC;O=Cisco;L=Krakow;ST=Malopolska;C=PL"
    header = signedheader.build(
        version=(1, 2),
        signer_version=None,
        signer_name=subject,
        serial=0x70CAF64E090751B9DF22F49F754FC5BB,
        ca_name=subject,
        digest=Digest.SHA1,
        signature_length=128,
        file_name="CTLFile.tlv",
        timestamp=0,
    )
    blank = trustlist.blank_record(role=Role.SAST, dns_name="10.48.47.153")
    lines = look(trustlist.encode(TrustListFile(header, (blank,)))).wire
    assert [(line.tag, line.name, line.length, line.value) for line in lines] == [
        (1, "VERSION", 2, "1.2"),
        (2, "HEADERLENGTH", 2, "336"),
        (3, "SIGNERID", 2, "149"),
        (4, "SIGNERNAME", 62, subject),
        (5, "SERIALNUMBER", 16, "70:CA:F6:4E:09:07:51:B9:DF:22:F4:9F:75:4F:C5:BB"),
        (6, "CANAME", 62, subject),
        (7, "SIGNATUREINFO", 2, "15"),
        (8, "DIGESTALGORITHM", 1, "1"),
        (9, "SIGNATUREALGOINFO", 2, "8"),
        (10, "SIGNATUREALGORITHM", 1, "0"),
        (11, "SIGNATUREMODULUS", 1, "1"),
        (12, "SIGNATURE", 128, ""),
        (14, "FILENAME", 12, "CTLFile.tlv"),
        (15, "TIMESTAMP", 4, "1970-01-01 00:00:00 UTC"),
        (13, "PADDING", 3, ""),
        (1, "RECORDLENGTH", 2, "33"),
        (2, "DNSNAME", 13, "10.48.47.153"),
        (4, "FUNCTION", 2, "System Administrator Security Token"),
        (10, "IPADDRESS", 4, "0.0.0.0"),
    ]


# Signed files


def test_a_signed_file_tells_its_signer_and_what_it_carries(cluster: Cluster) -> None:
    found = look(signed_file(cluster, device()), cluster.callmanager.certificate)
    assert (found.kind, found.verdict, found.get("signature")) == (Kind.SIGNED_FILE, Verdict.GOOD, "holds")
    assert found.get("signer") == cluster.callmanager.certificate.subject
    assert found.content is not None
    assert found.content.kind is Kind.CONFIGURATION
    assert found.content.get("tvs") == ("10.1.1.1:2445",)


def test_a_changed_content_makes_a_signed_file_wrong(cluster: Cluster) -> None:
    data = signed_file(cluster, device()).replace(b"10.1.1.1", b"10.6.6.6")
    found = look(data, cluster.callmanager.certificate)
    assert (found.verdict, found.get("signature")) == (Verdict.WRONG, "refused")


def test_broken_xml_in_a_signed_file_is_told_with_its_offset_in_the_whole_file(cluster: Cluster) -> None:
    data = signed_file(cluster, b"<device><a></b></device>")
    found = look(data, cluster.callmanager.certificate)
    assert found.verdict is Verdict.WRONG
    assert found.content is not None
    (problem,) = found.content.problems
    assert problem.offset is not None
    # expat points behind the "</" of the tag that matches nothing
    assert data[problem.offset :].startswith(b"b></device>")


def test_other_contents_of_a_signed_file_are_no_fault(cluster: Cluster) -> None:
    for content in (b"<CiscoIPPhoneRingList/>", b"\x00\x01binary", b""):
        found = look(signed_file(cluster, content, "Ringlist.xml"), cluster.callmanager.certificate)
        assert (found.verdict, found.content) == (Verdict.GOOD, None)
        assert found.get("content_size") == len(content)


def test_an_encrypted_file_is_recognised_and_named(cluster: Cluster) -> None:
    plain = sign_file(b"\x80" * 32, signer_of(cluster.callmanager), file_name="SEP001122334455.cnf.xml.enc", now=NOW)
    data = b"\x01\x00\x02\x02\x00" + signedfile.encode(plain)[5:]
    found = look(data)
    assert (found.kind, found.verdict, found.content) == (Kind.ENCRYPTED_FILE, Verdict.GOOD, None)
    assert "encrypted" in texts(found, Severity.NOTE)


# Bundles and certificates


def bundle(*identities: Identity) -> bytes:
    items = [BundledCertificate(one.certificate, f"src/{one.node}/{one.unit}") for one in identities]
    return write_bundle(items, password=PASSWORD)


def test_a_bundle_lists_its_certificates_by_name(cluster: Cluster) -> None:
    found = look(bundle(cluster.callmanager, cluster.tvs))
    assert (found.kind, found.verdict) == (Kind.BUNDLE, Verdict.GOOD)
    assert [row.get("name") for row in found.rows] == ["src/cm1/CallManager", "src/cm1/TVS"]
    assert [row.get("sha256") for row in found.rows] == [
        cluster.callmanager.certificate.sha256,
        cluster.tvs.certificate.sha256,
    ]


def test_a_wrong_password_is_told_without_showing_it(cluster: Cluster) -> None:
    found = look(bundle(cluster.tvs), password="another-secret")
    assert (found.kind, found.verdict) == (Kind.BUNDLE, Verdict.BAD)
    assert "password" in errors(found)[0]
    assert "another-secret" not in repr(found)


def test_a_private_key_in_a_bundle_is_named_as_an_error(cluster: Cluster) -> None:
    for protection in (BestAvailableEncryption(PASSWORD.encode()), NoEncryption()):
        data = pkcs12.serialize_key_and_certificates(
            b"cm1", cluster.tvs.private_key, cluster.tvs.certificate.x509, None, protection
        )
        found = look(data, password=PASSWORD if isinstance(protection, BestAvailableEncryption) else "")
        assert (found.kind, found.verdict) == (Kind.BUNDLE, Verdict.BAD)
        assert "private key" in errors(found)[0]


def test_an_expired_certificate_in_a_bundle_is_an_error_because_an_import_stops_there(cluster: Cluster) -> None:
    found = look(bundle(cluster.callmanager, cluster.expired))
    assert found.verdict is Verdict.WRONG
    (problem,) = [problem for problem in found.problems if problem.severity is Severity.ERROR]
    assert (problem.row, problem.text[:10]) == (2, "expired on")


def test_a_bundle_cut_short_has_the_offset_of_what_claims_too_much(cluster: Cluster) -> None:
    data = bundle(cluster.tvs)
    found = look(data[:-9])
    assert (found.kind, found.verdict) == (Kind.BUNDLE, Verdict.BAD)
    assert found.problems[0].offset == 0
    assert "where" in found.problems[0].text
    assert look(data + b"tail").problems[0].offset == len(data)


def test_pem_text_gives_every_certificate_and_names_the_rest(cluster: Cluster) -> None:
    first, second = cluster.callmanager.certificate.pem(), cluster.tvs.certificate.pem()
    damaged = second.replace("M", "!", 1)
    request = "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"
    text = f"a comment\n{first}{damaged}{request}{second}{cluster.tvs.key_pem().decode()}"
    found = look(text.encode())
    assert (found.kind, found.verdict) == (Kind.CERTIFICATES, Verdict.WRONG)
    assert [row.get("subject") for row in found.rows] == [
        cluster.callmanager.certificate.subject,
        cluster.tvs.certificate.subject,
    ]
    assert [row.offset for row in found.rows] == [text.index(first), text.rindex(second)]
    (problem,) = [problem for problem in found.problems if problem.severity is Severity.ERROR]
    assert problem.offset == text.index(damaged)
    assert "private key" in texts(found, Severity.WARNING)
    assert "CERTIFICATE REQUEST" in texts(found, Severity.NOTE)


def test_pem_text_without_a_certificate_is_bad(cluster: Cluster) -> None:
    found = look(cluster.tvs.key_pem())
    assert (found.kind, found.verdict) == (Kind.CERTIFICATES, Verdict.BAD)
    assert "private key" in texts(found, Severity.WARNING)
    assert look(cluster.tvs.certificate.pem()[:200].encode()).verdict is Verdict.BAD


def test_a_weak_or_expired_certificate_says_so(cluster: Cluster) -> None:
    weak = identity(Unit.TOMCAT, "weak", "rsa1024")
    assert "RSA key of 1024 bits is weak" in texts(look(weak.certificate.der), Severity.WARNING)
    assert errors(look(cluster.expired.certificate.der))[0].startswith("expired on")
    assert look(cluster.tvs.certificate.der).problems == ()


def test_broken_der_has_the_offset_where_it_breaks(cluster: Cluster) -> None:
    der = cluster.tvs.certificate.der
    assert look(der + b"tail").problems[0].offset == len(der)
    serial = der.index(b"\xa0\x03\x02\x01\x02") + 5
    swapped = der[:serial] + b"\x04" + der[serial + 1 :]  # an octet string where the serial number stands
    found = look(swapped)
    assert (found.kind, found.verdict) == (Kind.CERTIFICATES, Verdict.BAD)
    assert found.problems[0].offset == serial
    assert "serial number" in found.problems[0].text
    assert look(der[:100]).problems[0].offset == 0


def test_pkcs7_is_called_by_its_name(cluster: Cluster) -> None:
    found = look(serialize_certificates([cluster.tvs.certificate.x509], Encoding.DER))
    assert found.verdict is Verdict.BAD
    assert "PKCS#7" in errors(found)[0]


# TVS messages, configurations and strangers


def test_a_captured_query_shows_who_asks_about_what() -> None:
    # wire-formats, section 3: the start of a capture; its body is completed from the text beside it.
    subject = "CN=ucm11pub.stormin.local;OU=IST;O=Stormin;L=Brisbane;ST=QLD;C=AU"
    serial = 0x24000000179479B8F124AC3F3B000000000017
    request = tvs.query_request(1001, "CP-8861-SEPB000B4BA0AEE", subject, "CN=stormin-WIN2012-CA", serial)
    data = tvs.encode(request)
    assert data.startswith(bytes.fromhex("5701030000 0003e9 008f 010018 01".replace(" ", "")))
    found = look(data)
    assert (found.kind, found.verdict) == (Kind.TVS_MESSAGES, Verdict.GOOD)
    (row,) = found.rows
    assert (row.get("message"), row.get("session")) == ("query request", 1001)
    assert (row.get("device"), row.get("subject")) == ("CP-8861-SEPB000B4BA0AEE", subject)
    assert row.get("serial") == "24000000179479b8f124ac3f3b000000000017"


def test_an_answer_shows_its_certificate_and_roles(cluster: Cluster) -> None:
    certificate = cluster.callmanager.certificate
    request = tvs.query_request(7, "SEP", certificate.subject, certificate.issuer, certificate.serial)
    answer = tvs.response_to(request, certificate=certificate.der, roles=(0, 3), time_to_live=86400)
    found = look(tvs.encode(answer) + tvs.encode(tvs.response_to(request, certificate=None)))
    assert found.verdict is Verdict.GOOD
    first, second = found.rows
    assert (first.get("status"), first.get("roles"), first.get("time_to_live")) == ("valid", ("SAST", "TFTP"), 86400)
    assert first.get("certificate_sha256") == certificate.sha256
    assert second.get("status") == "not valid"
    assert second.offset == len(tvs.encode(answer))


def test_an_answer_with_another_certificate_than_asked_about_is_wrong(cluster: Cluster) -> None:
    certificate = cluster.callmanager.certificate
    for subject, issuer, serial, said in (
        ("CN=x", certificate.issuer, 7, "serial and certificate"),
        ("CN=x", "CN=other", certificate.serial, "issuer and certificate"),
    ):
        asked = tvs.query_request(7, "SEP", subject, issuer, serial)
        both = replace(asked, elements=(*asked.elements, (tvs.Tag.CERTIFICATE, certificate.der)))
        found = look(tvs.encode(both))
        assert found.verdict is Verdict.WRONG
        assert said in errors(found)[0]


def test_what_real_servers_add_to_an_answer_is_noted(cluster: Cluster) -> None:
    answer = tvs.response_to(tvs.verify_request(7, "SEP", b""), certificate=b"", roles=(0,), time_to_live=9)
    odd = replace(answer, reserved=0xF7, elements=(*answer.elements, (66, b"?")))
    found = look(tvs.encode(odd))
    assert found.verdict is Verdict.GOOD
    assert "reserved byte 0xf7" in texts(found, Severity.NOTE)
    assert "unknown tags: 66" in texts(found, Severity.NOTE)


def test_half_a_message_after_whole_ones_is_bad_at_its_offset(cluster: Cluster) -> None:
    whole = tvs.encode(tvs.verify_request(7, "SEP", cluster.tvs.certificate.der))
    found = look(whole + whole[:50])
    assert (found.kind, found.verdict, len(found.rows)) == (Kind.TVS_MESSAGES, Verdict.BAD, 1)
    assert found.problems[0].offset == len(whole) + 50


def test_a_message_with_garbage_for_a_certificate_is_wrong_at_that_element() -> None:
    data = tvs.encode(tvs.verify_request(7, "SEP", b"garbage"))
    found = look(data)
    assert found.verdict is Verdict.WRONG
    assert found.problems[0].offset == data.index(push_element(tvs.Tag.CERTIFICATE, b"garbage"))


def test_a_configuration_says_where_a_phone_goes_and_whom_it_asks() -> None:
    found = look(device())
    assert (found.kind, found.verdict) == (Kind.CONFIGURATION, Verdict.GOOD)
    assert found.get("call_managers") == ("cm1",)
    assert found.get("security_mode") == "non-secure"
    assert "can ask nobody" in texts(look(device(tvs=())), Severity.WARNING)
    assert "nowhere to register" in texts(look(device(call_managers=())), Severity.WARNING)
    five = tuple(TvsServer(f"10.1.1.{number}") for number in range(5))
    assert "phones keep no more" in texts(look(device(tvs=five)), Severity.NOTE)
    assert "without TLS" in texts(look(device(security_mode=3)), Severity.WARNING)


@pytest.mark.parametrize(
    ("data", "offset", "said"),
    [
        (b"<device><a></device>", 13, "mismatched tag"),
        (b"<device>", 8, "no element found"),
        (b"<?xml version='1.0'?>\n<!DOCTYPE device><device/>", 22, "document type"),
        (b"<CiscoIPPhoneRingList/>", 0, "root element <CiscoIPPhoneRingList>"),
        (b"<device><transportLayerProtocol>x</transportLayerProtocol></device>", 0, "expected a number"),
        (b"<?xml version='1.0' encoding='nobody'?><device/>", 0, "encoding"),
    ],
)
def test_a_broken_configuration_fails_at_an_offset(data: bytes, offset: int, said: str) -> None:
    found = look(data)
    assert (found.kind, found.verdict) == (Kind.CONFIGURATION, Verdict.BAD)
    assert said in found.problems[0].text
    assert found.problems[0].offset == offset


@pytest.mark.parametrize(
    ("data", "said", "closest"),
    [
        (b"", "empty", 0),
        (b"\xfe\xed\xfe\xed\0\0\0\2", "Java key store", 0),
        (b"PK\x03\x04rest", "ZIP", 0),
        (b"\x01\x00\x03rest", "begins with 01 00 03", 2),
        (b"\x57\x02", "begins with 57 02", 1),
        (b"plain text", "begins with 70 6c", 0),
    ],
)
def test_anything_else_is_bad_and_says_what_it_is_not(data: bytes, said: str, closest: int) -> None:
    found = look(data)
    assert (found.kind, found.verdict) == (Kind.UNKNOWN, Verdict.BAD)
    assert said in found.problems[0].text
    assert max(problem.offset or 0 for problem in found.problems) == closest
    if data:
        assert len(found.problems) == 5  # what it is, and each of the four things it is not


def test_certificates_are_found_in_whatever_brings_them(cluster: Cluster) -> None:
    one = cluster.callmanager.certificate
    for data in (one.der, one.pem().encode(), bundle(cluster.callmanager), trust_list(cluster)):
        assert one in certificates_in(data, password=PASSWORD)
    for data in (b"", b"junk", trust_list(cluster)[:999], bundle(cluster.tvs)[:99], device()):
        assert certificates_in(data, password=PASSWORD) == []


# Totality


def check_invariants(data: bytes, found: Inspection) -> None:
    assert (found.verdict is Verdict.BAD) <= any(problem.severity is Severity.ERROR for problem in found.problems)
    assert found.get("size") == len(data)
    for item in (found, *([found.content] if found.content else [])):
        numbers = [row.number for row in item.rows]
        assert numbers == list(range(1, len(numbers) + 1))
        for problem in item.problems:
            assert problem.offset is None or 0 <= problem.offset <= len(data)
            assert problem.row is None or problem.row in (*numbers, len(numbers) + 1)
        for fact in (*item.facts, *(fact for row in item.rows for fact in row.facts)):
            assert isinstance(fact.text, str)


BEGINNINGS = (
    b"",
    b"\x01\x00\x02\x01\x02",
    b"\x01\x00\x02\x01\x00",
    b"\x57\x01\x03",
    b"0\x82",
    b"0\x0a\x02\x01\x03",
    b"<",
)


@settings(max_examples=300, deadline=None)
@given(beginning=st.sampled_from(BEGINNINGS), rest=st.binary(max_size=300))
def test_no_bytes_at_all_raise(beginning: bytes, rest: bytes) -> None:
    data = beginning + rest
    check_invariants(data, look(data))
    certificates_in(data, password=PASSWORD)


@pytest.fixture(scope="module")
def real_files(cluster: Cluster) -> list[bytes]:
    return [
        trust_list(cluster),
        trust_list(cluster, [replace(entry, certificate=None) for entry in entries(cluster)]),
        signed_file(cluster, device()),
        cluster.callmanager.certificate.der,
        (cluster.tvs.certificate.pem() * 2).encode(),
        tvs.encode(tvs.verify_request(7, "CP-8861-SEP001122334455", cluster.tvs.certificate.der)),
        device(),
    ]


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_no_damage_to_a_real_file_raises(real_files: list[bytes], data: st.DataObject) -> None:
    damaged = bytearray(data.draw(st.sampled_from(real_files)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged)))
        what = data.draw(st.sampled_from(["change", "cut", "insert", "remove"]))
        if what == "cut":
            del damaged[at:]
        elif what == "insert":
            damaged[at:at] = data.draw(st.binary(min_size=1, max_size=4))
        elif what == "remove":
            del damaged[at : at + data.draw(st.integers(1, 4))]
        elif at < len(damaged):
            damaged[at] = data.draw(st.integers(0, 255))
    whole = bytes(damaged)
    check_invariants(whole, look(whole))


def test_no_damage_to_a_bundle_raises(cluster: Cluster) -> None:
    data = bundle(cluster.tvs)
    for at in range(0, len(data), 41):
        damaged = data[:at] + bytes([data[at] ^ 0x21]) + data[at + 1 :]
        check_invariants(damaged, look(damaged))
        check_invariants(data[:at], look(data[:at]))
