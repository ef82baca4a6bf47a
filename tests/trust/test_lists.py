"""Trust lists and signed files: what goes into them, who can sign them, and that nobody can change them."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from tests.trust.world import NOW, cluster, stranger

from trustbridge.errors import DecodeError, SignatureRefused, TrustbridgeError
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.issue import Organisation, self_signed
from trustbridge.pki.units import Unit
from trustbridge.trust import lists
from trustbridge.trust.lists import ListedCertificate, Signer, check_signature
from trustbridge.wire import signedfile, trustlist
from trustbridge.wire.signedfile import SignedFile
from trustbridge.wire.signedheader import PADDING, Digest
from trustbridge.wire.trustlist import Role, TrustListFile

HASHES = {Digest.SHA1: hashes.SHA1(), Digest.SHA256: hashes.SHA256(), Digest.SHA512: hashes.SHA512()}
CONTENT = b"<device/>"


def signer(key: str = "rsa2048") -> Signer:
    identity = stranger(key)
    return Signer(identity.certificate, identity.private_key)


def small_list(by: Signer, digest: Digest = Digest.SHA1) -> bytes:
    entries = [ListedCertificate(Role.SAST, "cm1", by.certificate), ListedCertificate(Role.TVS, "cm1", None)]
    return trustlist.encode(lists.build_trust_list(entries, by, file_name="ITLFile.tlv", now=NOW, digest=digest))


@pytest.mark.parametrize("digest", Digest)
@pytest.mark.parametrize(("key", "code"), [("rsa1024", 1), ("rsa2048", 2), ("rsa4096", 3)])
def test_a_signature_holds_for_every_digest_and_every_length_of_key(digest: Digest, key: str, code: int) -> None:
    by = signer(key)
    data = small_list(by, digest)
    header = trustlist.decode(data).header
    assert (header.digest, header.signature_algorithm, header.modulus) == (digest, 0, code)
    assert (header.version, header.signer_version) == ((1, 2), (1, 0))
    check_signature(header, data, by.certificate)
    # The same, said by the library alone: the whole file without the signature element.
    public = by.certificate.public_key
    assert isinstance(public, rsa.RSAPublicKey)
    element = b"\x0c" + len(header.signature).to_bytes(2) + header.signature
    assert data.count(element) == 1
    public.verify(header.signature, data.replace(element, b""), padding.PKCS1v15(), HASHES[digest])


@pytest.mark.parametrize("digest", Digest)
def test_a_signed_file_holds_for_every_digest(digest: Digest) -> None:
    file = lists.sign_file(CONTENT, signer(), file_name="SEP1.cnf.xml", now=NOW, digest=digest)
    data = signedfile.encode(file)
    assert (file.header.version, file.header.signer_version) == ((1, 0), None)
    assert file.header.file_name == "SEP1.cnf.xml"
    assert data.endswith(CONTENT)
    check_signature(file.header, data, signer().certificate)


def test_a_header_names_its_signer_and_the_time() -> None:
    by, header = signer(), trustlist.decode(small_list(signer())).header
    assert (header.signer_name, header.ca_name) == (by.certificate.subject, by.certificate.issuer)
    assert header.serial == by.certificate.serial
    assert header.timestamp == int(NOW.timestamp())


def test_an_rsa_key_of_3072_bits_is_refused_with_a_clear_word() -> None:
    with pytest.raises(TrustbridgeError, match=r"RSA key of 3072 bits, which can't sign trust lists") as caught:
        small_list(signer("rsa3072"))
    assert "2048 and 4096" in caught.value.hint


def test_a_key_of_an_odd_length_signs_only_if_its_signature_has_a_length_of_the_format() -> None:
    with pytest.raises(TrustbridgeError, match="RSA key of 1025 bits"):
        small_list(Signer(stranger().certificate, odd_key(1025)))
    data = small_list(Signer(stranger().certificate, odd_key(2044)))
    assert len(trustlist.decode(data).header.signature) == 256


@cache
def odd_key(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


@pytest.mark.parametrize("key", ["p256", "p384"])
def test_an_elliptic_curve_signer_is_refused_with_a_clear_word(key: str) -> None:
    with pytest.raises(TrustbridgeError, match=r"elliptic-curve key, which can't sign trust lists") as caught:
        small_list(signer(key))
    assert "RSA CallManager" in caught.value.hint
    with pytest.raises(TrustbridgeError, match="elliptic-curve key"):
        lists.sign_file(CONTENT, signer(key), file_name="a", now=NOW)


def test_a_signers_key_is_not_shown() -> None:
    assert repr(signer()) == f"Signer({stranger().certificate.subject})"


def test_an_elliptic_curve_certificate_can_be_listed() -> None:
    listed = ListedCertificate(Role.CCM, "cm1", stranger("p384").certificate).record()
    assert listed.public_key is not None
    assert (len(listed.public_key), listed.public_key[0]) == (97, 4)  # uncompressed point of 384 bits
    assert listed.certificate == stranger("p384").certificate.der


# Tampering.


@pytest.mark.parametrize("kind", ["list", "file"])
def test_changing_any_byte_breaks_the_file_or_its_signature(kind: str) -> None:
    by = signer("rsa1024")
    data = (
        small_list(by)
        if kind == "list"
        else signedfile.encode(lists.sign_file(CONTENT, by, file_name="SEP1.cnf.xml", now=NOW))
    )
    for at in range(len(data)):
        for bit in (1, 0x80):
            tampered = data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]
            assert not holds(tampered, by.certificate), f"byte {at} of {len(data)}"


def test_adding_removing_or_swapping_bytes_breaks_the_file_or_its_signature() -> None:
    by = signer("rsa1024")
    data = small_list(by)
    blank = trustlist.decode(data).records[1].length
    for tampered in (data + data[-blank:], data[:-blank], data[:-blank] + data[-blank:][::-1], data + b"\0"):
        assert not holds(tampered, by.certificate)


def holds(data: bytes, certificate: Certificate) -> bool:
    try:
        check_signature(lists.decode_signed(data).header, data, certificate)
    except (DecodeError, SignatureRefused):
        return False
    return True


def test_padding_is_signed_too() -> None:
    by = signer()
    file = lists.sign_file(CONTENT, by, file_name="a", now=NOW)
    tags = [tag for tag, _ in file.header.elements]
    data = signedfile.encode(file)
    at = file.header.length - 1
    assert (tags[-1], data[at]) == (PADDING, PADDING)
    assert not holds(data[:at] + b"\x0e" + data[at + 1 :], by.certificate)


def test_another_certificate_with_the_same_name_does_not_verify() -> None:
    by = signer()
    other = self_signed(
        node="x",
        unit=Unit.CALLMANAGER,
        common_name=by.certificate.common_name,
        organisation=Organisation(),
        now=NOW,
        serial=by.certificate.serial,
    )
    data = small_list(by)
    with pytest.raises(SignatureRefused, match=r"ITLFile\.tlv: the signature does not hold for CN=") as caught:
        check_signature(trustlist.decode(data).header, data, other.certificate)
    assert "changed after it was signed" in caught.value.hint


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("08000101", "08000104", "unknown digest algorithm 4"),
        ("0a000100", "0a000101", "unknown signature algorithm 1"),
        ("0b000102", "0b000109", "the signature does not hold"),
    ],
)
def test_an_algorithm_nobody_knows_is_refused_by_name(old: str, new: str, words: str) -> None:
    data = small_list(signer())
    info = data.index(bytes.fromhex("07000f"))
    at = data.index(bytes.fromhex(old), info)
    tampered = data[:at] + bytes.fromhex(new) + data[at + 4 :]
    with pytest.raises(SignatureRefused, match=words):
        check_signature(trustlist.decode(tampered).header, tampered, signer().certificate)


def test_a_signer_without_an_rsa_key_is_refused_and_so_is_one_with_an_unreadable_key() -> None:
    data = small_list(signer())
    header = trustlist.decode(data).header
    with pytest.raises(SignatureRefused, match="has no RSA key"):
        check_signature(header, data, stranger("p256").certificate)
    with pytest.raises(SignatureRefused, match="can't be used"):
        check_signature(header, data, unreadable_key())


def unreadable_key() -> Certificate:
    """A certificate whose key claims an algorithm nobody knows (rsaEncryption with another last arc)."""
    der = stranger().certificate.der
    algorithm = bytes.fromhex("06092a864886f70d010101")
    assert der.count(algorithm) == 1
    return Certificate.from_der(der.replace(algorithm, algorithm[:-1] + b"\x7f"))


def test_either_kind_of_file_is_told_apart() -> None:
    data = signedfile.encode(lists.sign_file(CONTENT, signer(), file_name="a", now=NOW))
    assert isinstance(lists.decode_signed(data), SignedFile)
    assert isinstance(lists.decode_signed(small_list(signer())), TrustListFile)
    with pytest.raises(DecodeError, match="not a signed file"):
        lists.decode_signed(b"-----BEGIN CERTIFICATE-----")


def test_a_time_before_1970_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        lists.sign_file(CONTENT, signer(), file_name="a", now=datetime(1969, 1, 1, tzinfo=UTC))


# What a cluster lists: `domain`, "Trust lists a cluster builds".

A = cluster("src")


def listed(data: bytes) -> list[tuple[Role, str, Certificate | None]]:
    file = trustlist.decode(data)
    return [
        (
            Role(record.role),
            record.dns_name or "",
            None if record.certificate is None else Certificate.from_der(record.certificate),
        )
        for record in file.records
    ]


def test_an_itl_lists_what_the_domain_says() -> None:
    recovery, capf = A.certificate(Unit.ITLRECOVERY), A.certificate(Unit.CAPF)
    ccm1, ccm2 = A.certificate(Unit.CALLMANAGER, 0), A.certificate(Unit.CALLMANAGER, 1)
    assert listed(A.itl(1)) == [
        (Role.SAST, "src2", ccm2),
        (Role.SAST, "src1", recovery),
        (Role.CCM_TFTP, "src2", ccm2),
        (Role.TVS, "src1", A.certificate(Unit.TVS, 0)),
        (Role.TVS, "src2", A.certificate(Unit.TVS, 1)),
        (Role.CAPF, "src1", capf),
        (Role.TFTP, "src1", ccm1),
    ]


def test_an_itl_signed_by_callmanager_still_lists_itlrecovery() -> None:
    data = A.itl(0, signer=A.signer(Unit.CALLMANAGER))
    assert trustlist.decode(data).header.serial == A.certificate(Unit.CALLMANAGER).serial
    sast = [certificate for role, _, certificate in listed(data) if role is Role.SAST]
    assert sast == [A.certificate(Unit.CALLMANAGER), A.certificate(Unit.ITLRECOVERY)]


def test_a_node_without_tftp_is_listed_only_for_its_tvs() -> None:
    nodes = [A.nodes[0], lists.NodeCertificates("src2", A.nodes[1].callmanager, A.nodes[1].tvs, runs_tftp=False)]
    assert [role for role, name, _ in listed(A.itl(nodes=nodes)) if name == "src2"] == [Role.TVS]


def test_a_blank_itl_has_the_same_roles_and_no_certificate() -> None:
    full, blank = listed(A.itl()), listed(A.itl(blank=True))
    assert blank == [(role, name, None) for role, name, _ in full]
    assert trustlist.decode(A.itl(blank=True)).blank


def test_a_ctl_lists_what_the_domain_says() -> None:
    assert listed(A.ctl()) == [
        (Role.SAST, "src1", A.certificate(Unit.CALLMANAGER, 0)),
        (Role.SAST, "src1", A.certificate(Unit.ITLRECOVERY)),
        (Role.CCM_TFTP, "src1", A.certificate(Unit.CALLMANAGER, 0)),
        (Role.CCM_TFTP, "src2", A.certificate(Unit.CALLMANAGER, 1)),
        (Role.CAPF, "src1", A.certificate(Unit.CAPF)),
    ]


def test_a_list_for_a_cluster_without_capf_and_itlrecovery_is_shorter() -> None:
    entries = lists.ctl_entries(A.nodes, publisher="src1", itl_recovery=None, capf=None)
    assert [entry.role for entry in entries] == [Role.SAST, Role.CCM_TFTP, Role.CCM_TFTP]
    own = A.nodes[0]
    entries = lists.itl_entries(own, [own], publisher="src1", signer=own.callmanager, itl_recovery=None, capf=None)
    assert [entry.role for entry in entries] == [Role.SAST, Role.CCM_TFTP, Role.TVS]
