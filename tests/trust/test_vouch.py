"""What a TVS answers. Layout and roles: the capture of a CP-8861 in `wire-formats`, section 3."""

from __future__ import annotations

from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID, ObjectIdentifier
from hypothesis import given
from hypothesis import strategies as st
from tests.trust.world import NOW, ORGANISATION, cluster, stranger

from trustbridge.pki.certificate import Certificate
from trustbridge.pki.issue import Identity, self_signed
from trustbridge.pki.units import BulkType, Store, Unit
from trustbridge.trust.vouch import STORE_ROLES, TIME_TO_LIVE, Vouched, VouchIndex
from trustbridge.wire import tvs
from trustbridge.wire.trustlist import Role
from trustbridge.wire.tvs import Message, Tag, TvsMessage, query_request, verify_request

DEVICE = "CP-8861-SEPB000B4BA0AEE"
SUBJECT = "CN=ucm11pub.stormin.local;OU=IST;O=Stormin;L=Brisbane;ST=QLD;C=AU"
ISSUER = "CN=stormin-WIN2012-CA"
SERIAL = 0x24000000179479B8F124AC3F3B000000000017
A, B = cluster("src"), cluster("dst")
CCM = B.certificate(Unit.CALLMANAGER)


def query(certificate: Certificate, issuer: str | None = None) -> TvsMessage:
    return query_request(1001, DEVICE, certificate.subject, issuer or certificate.issuer, certificate.serial)


@cache
def captured() -> Certificate:
    """A certificate with the capture's names, serial number and length of 1451 bytes; the key is ours."""
    key = rsa.generate_private_key(65537, 2048)
    parts = [("C", "AU"), ("ST", "QLD"), ("L", "Brisbane"), ("O", "Stormin"), ("OU", "IST")]
    oids = {"C": NameOID.COUNTRY_NAME, "ST": NameOID.STATE_OR_PROVINCE_NAME, "L": NameOID.LOCALITY_NAME}
    oids |= {"O": NameOID.ORGANIZATION_NAME, "OU": NameOID.ORGANIZATIONAL_UNIT_NAME}
    subject = [x509.NameAttribute(oids[kind], value) for kind, value in parts]
    subject.append(x509.NameAttribute(NameOID.COMMON_NAME, "ucm11pub.stormin.local"))
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stormin-WIN2012-CA")])

    def padded(size: int) -> bytes:
        builder = x509.CertificateBuilder(issuer, x509.Name(subject), key.public_key(), SERIAL, NOW, NOW)
        padding = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.55555.1"), bytes(size))
        return builder.add_extension(padding, critical=False).sign(key, SHA256()).public_bytes(Encoding.DER)

    return Certificate.from_der(padded(300 + 1451 - len(padded(300))))


def test_a_query_is_answered_byte_for_byte_in_the_layout_of_the_capture() -> None:
    der = captured().der
    assert (len(der), der[:4].hex()) == (1451, "308205a7")
    request = (
        bytes.fromhex("57 01 03 00 00 00 03 e9 00 8f 01 00 18 01")
        + DEVICE.encode()
        + bytes.fromhex("03 00 42")
        + SUBJECT.encode()
        + bytes.fromhex("00 04 00 16")
        + ISSUER.encode()
        + bytes.fromhex("00 05 00 13 24000000179479b8f124ac3f3b000000000017")
    )
    assert len(request) == 153
    assert tvs.encode(query_request(1001, DEVICE, SUBJECT, ISSUER, SERIAL)) == request
    index = VouchIndex.from_stores([(Store.PHONE_SAST_TRUST, captured()), (Store.CALLMANAGER_TRUST, captured())])
    response = tvs.encode(index.answer(tvs.decode(request)))
    assert response == (
        bytes.fromhex("57 01 04 00 00 00 03 e9 05 be 07 00 01 00 02 05 ab")
        + der
        + bytes.fromhex("08 00 02 00 03 09 00 04 00 01 51 80")
    )
    assert len(response) == 1480


def test_a_query_for_somebody_unknown_is_answered_with_a_status_alone() -> None:
    response = VouchIndex.from_stores([]).answer(query(CCM))
    assert tvs.encode(response) == bytes.fromhex("57 01 04 00 00 00 03 e9 00 04 07 00 01 01")


def test_a_verify_is_answered_without_the_certificate() -> None:
    index = VouchIndex.from_stores([(Store.TOMCAT_TRUST, CCM)], time_to_live=60)
    response = index.answer(verify_request(7, DEVICE, CCM.der))
    assert tvs.encode(response) == bytes.fromhex(
        "57 01 02 00 00 00 00 07 00 0f 07 00 01 00 08 00 01 07 09 00 04 0000003c"
    )
    unknown = index.answer(verify_request(8, DEVICE, A.certificate(Unit.TOMCAT).der))
    assert tvs.encode(unknown) == bytes.fromhex("57 01 02 00 00 00 00 08 00 04 07 00 01 01")


@pytest.mark.parametrize(
    ("stores", "roles"),
    [
        ({Store.PHONE_SAST_TRUST}, (0,)),
        ({Store.CALLMANAGER_TRUST}, (3,)),
        ({Store.TOMCAT_TRUST}, (7,)),
        ({Store.PHONE_SAST_TRUST, Store.CALLMANAGER_TRUST}, (0, 3)),
        ({Store.TOMCAT_TRUST, Store.CALLMANAGER_TRUST, Store.PHONE_SAST_TRUST}, (0, 3, 7)),
        ({Store.CAPF_TRUST, Store.CALLMANAGER_TRUST}, (3,)),
        ({Store.CAPF_TRUST}, None),
        ({Store.TVS_TRUST}, None),
        ({Store.IPSEC_TRUST}, None),
        (set(), None),
    ],
)
def test_roles_follow_from_the_stores_that_hold_the_certificate(
    stores: set[Store], roles: tuple[int, ...] | None
) -> None:
    index = VouchIndex.from_stores([(store, CCM) for store in stores])
    for request in (query(CCM), verify_request(1, DEVICE, CCM.der)):
        response = index.answer(request)
        assert response.valid == (roles is not None)
        assert response.roles == (roles or ())
        assert response.time_to_live == (TIME_TO_LIVE if roles is not None else None)
    assert len(index) == (roles is not None)


@given(held=st.lists(st.tuples(st.sampled_from(Store), st.sampled_from([CCM, *[node.tvs for node in B.nodes]]))))
def test_every_certificate_in_a_store_with_a_role_is_found_with_all_its_roles(
    held: list[tuple[Store, Certificate]],
) -> None:
    index = VouchIndex.from_stores(held)
    expected: dict[Certificate, set[int]] = {}
    for store, certificate in held:
        if store in STORE_ROLES:
            expected.setdefault(certificate, set()).add(STORE_ROLES[store])
    assert {found.certificate: set(found.roles) for found in index} == expected
    for certificate, roles in expected.items():
        assert index.find(certificate.key) == Vouched(certificate, tuple(sorted(roles)))


def test_the_seeds_import_makes_the_signers_vouched_for_as_sast_and_tftp() -> None:
    index = VouchIndex.from_stores([*A.stores(), *B.offered()])
    for signer in (B.certificate(Unit.ITLRECOVERY), CCM, B.certificate(Unit.CALLMANAGER, 1)):
        response = index.answer(query(signer))
        assert response.certificate == signer.der
        assert response.roles == (Role.SAST, Role.TFTP)
    assert index.answer(query(B.certificate(Unit.TOMCAT))).roles == (Role.APP_SERVER,)
    assert index.answer(query(B.certificate(Unit.CAPF))).roles == (Role.TFTP,)
    assert not index.answer(query(B.certificate(Unit.TVS))).valid  # no part of the exchange
    only_tftp = VouchIndex.from_stores(B.offered(BulkType.TFTP))
    assert not only_tftp.answer(query(B.certificate(Unit.ITLRECOVERY))).valid  # TB104


@pytest.mark.parametrize(
    "issuer",
    [
        "CN=dst1.lab.test;OU=TAC;O=Cisco;L=Krakow;ST=Malopolska;C=PL",
        "CN=dst1.lab.test,OU=TAC,O=Cisco,L=Krakow,ST=Malopolska,C=PL",
        "C=PL, ST=Malopolska, L=Krakow, O=Cisco, OU=TAC, CN=dst1.lab.test",
        "cn=DST1.LAB.TEST; ou=tac; o=cisco; l=krakow; s=malopolska; c=pl",
    ],
)
def test_an_issuer_is_found_in_any_form(issuer: str) -> None:
    assert CCM.issuer == "CN=dst1.lab.test;OU=TAC;O=Cisco;L=Krakow;ST=Malopolska;C=PL"
    index = VouchIndex.from_stores([(Store.PHONE_SAST_TRUST, CCM)])
    assert index.answer(query(CCM, issuer)).certificate == CCM.der
    assert not index.answer(query(CCM, issuer + ";DC=x")).valid


def test_another_serial_number_is_not_found() -> None:
    index = VouchIndex.from_stores([(Store.PHONE_SAST_TRUST, CCM)])
    assert not index.answer(query_request(1, DEVICE, CCM.subject, CCM.issuer, CCM.serial + 1)).valid


def twin(serial: int, *, days: int) -> Identity:
    return self_signed(
        node="x",
        unit=Unit.CALLMANAGER,
        common_name="twin.lab.test",
        organisation=ORGANISATION,
        now=NOW,
        days=days,
        serial=serial,
    )


def test_of_two_certificates_with_one_serial_and_issuer_the_first_is_known_and_roles_do_not_mix() -> None:
    first, second = twin(5, days=10).certificate, twin(5, days=20).certificate
    assert first.key == second.key
    index = VouchIndex.from_stores(
        [(Store.CALLMANAGER_TRUST, first), (Store.PHONE_SAST_TRUST, second), (Store.TOMCAT_TRUST, first)]
    )
    response = index.answer(query(second))
    assert (response.certificate, response.roles) == (first.der, (3, 7))
    assert index.answer(verify_request(1, DEVICE, first.der)).valid
    assert not index.answer(verify_request(1, DEVICE, second.der)).valid


def test_a_verify_compares_the_whole_certificate_not_only_its_key() -> None:
    # The same key pair, names and serial number in another certificate: another validity, so other bytes.
    held = stranger()
    builder = x509.CertificateBuilder(
        held.certificate.x509.issuer,
        held.certificate.x509.subject,
        held.private_key.public_key(),
        held.certificate.serial,
        NOW,
        NOW,
    )
    other = Certificate.from_der(builder.sign(held.private_key, SHA256()).public_bytes(Encoding.DER))
    assert (other.key, other.public_key_value) == (held.certificate.key, held.certificate.public_key_value)
    index = VouchIndex.from_stores([(Store.TOMCAT_TRUST, held.certificate)])
    assert index.answer(verify_request(1, DEVICE, held.certificate.der)).valid
    assert not index.answer(verify_request(1, DEVICE, other.der)).valid


@given(der=st.binary(max_size=40) | st.integers(0, len(CCM.der) - 1).map(lambda at: CCM.der[:at]))
def test_what_is_no_certificate_is_not_valid(der: bytes) -> None:
    index = VouchIndex.from_stores([(Store.TOMCAT_TRUST, CCM)])
    assert not index.answer(verify_request(1, DEVICE, der)).valid


def test_a_query_with_nonsense_in_its_issuer_is_not_valid() -> None:
    index = VouchIndex.from_stores([(Store.TOMCAT_TRUST, CCM)])
    nonsense = TvsMessage(
        Message.QUERY_REQUEST, 1, ((Tag.DEVICE_NAME, b""), (Tag.ISSUER, b"\xff\0;=\\"), (Tag.SERIAL, b""))
    )
    assert not index.answer(nonsense).valid


def test_a_certificate_with_an_unreadable_name_does_not_keep_the_others_from_being_found() -> None:
    odd = Certificate(b"\x30\x03\x02\x01\x00")
    index = VouchIndex.from_stores([(Store.TOMCAT_TRUST, odd), (Store.TOMCAT_TRUST, CCM)])
    assert [found.certificate for found in index] == [CCM]


def test_a_response_is_not_a_request() -> None:
    index = VouchIndex.from_stores([])
    with pytest.raises(ValueError, match="QUERY_RESPONSE is not a request"):
        index.answer(index.answer(query(CCM)))
