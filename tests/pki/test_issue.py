"""Identities as Unified CM makes them, and keys that stay hidden."""

from __future__ import annotations

import pickle
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from trustbridge.errors import InvalidCertificate, SettingsError
from trustbridge.pki.certificate import KeyKind
from trustbridge.pki.issue import (
    Identity,
    KeyName,
    Organisation,
    authority,
    locally_significant,
    node_identities,
    self_signed,
    signed_by,
)
from trustbridge.pki.units import Unit

TAIL = ";OU=TAC;O=Cisco Systems, Inc.;L=Krakow;ST=Malopolska;C=PL"


def test_subjects_read_as_unified_cm_writes_them(identities: dict[Unit, Identity]) -> None:
    subjects = {unit: identity.certificate.subject for unit, identity in identities.items()}
    capf = subjects.pop(Unit.CAPF)
    assert subjects == {
        Unit.CALLMANAGER: "CN=cm1.lab.test" + TAIL,
        Unit.CALLMANAGER_ECDSA: "CN=cm1-EC.lab.test" + TAIL,
        Unit.TOMCAT: "CN=cm1.lab.test" + TAIL,
        Unit.TOMCAT_ECDSA: "CN=cm1-EC.lab.test" + TAIL,
        Unit.TVS: "CN=cm1.lab.test" + TAIL,
        Unit.ITLRECOVERY: "CN=ITLRECOVERY_cm1.lab.test" + TAIL,
    }
    name, _, tail = capf.partition(";")
    assert tail == TAIL[1:]
    assert name.startswith("CN=CAPF-")
    assert len(bytes.fromhex(name.removeprefix("CN=CAPF-"))) == 4


def test_a_subscriber_has_neither_capf_nor_itlrecovery_and_ecdsa_can_be_left_out(
    now: datetime, organisation: Organisation
) -> None:
    made = node_identities(
        "sub1", domain="", organisation=organisation, now=now, publisher=False, itlrecovery=False, ecdsa=False
    )
    assert [identity.unit for identity in made] == [Unit.CALLMANAGER, Unit.TOMCAT, Unit.TVS]
    assert {identity.certificate.common_name for identity in made} == {"sub1"}
    assert {identity.node for identity in made} == {"sub1"}


def test_certificates_last_five_years_are_self_signed_and_have_sixteen_byte_serials(
    identities: dict[Unit, Identity], now: datetime
) -> None:
    serials = set()
    for identity in identities.values():
        certificate = identity.certificate
        assert certificate.self_signed
        assert certificate.not_before == now
        assert certificate.not_after == now + timedelta(days=1826)
        assert certificate.serial.bit_length() == 127
        assert certificate.problems(now) == ()
        algorithm = certificate.x509.signature_hash_algorithm
        assert algorithm is not None
        assert algorithm.name == "sha256"
        serials.add(certificate.serial)
    assert len(serials) == len(identities)


def test_extensions_are_those_of_unified_cm(identities: dict[Unit, Identity]) -> None:
    extensions = identities[Unit.CALLMANAGER].certificate.x509.extensions
    usage = extensions.get_extension_for_class(x509.KeyUsage).value
    assert extensions.get_extension_for_class(x509.KeyUsage).critical
    assert usage.digital_signature
    assert usage.key_encipherment
    assert usage.data_encipherment
    assert not usage.key_cert_sign
    assert set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == {
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    }
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["cm1.lab.test"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.10.1.1"]
    assert extensions.get_extension_for_class(x509.SubjectKeyIdentifier)


def test_only_capf_is_an_authority_of_its_own_and_only_for_phones(
    identities: dict[Unit, Identity], now: datetime, organisation: Organisation
) -> None:
    assert [unit for unit, identity in identities.items() if identity.certificate.is_ca] == [Unit.CAPF]
    phone = locally_significant(
        identities[Unit.CAPF], device="SEP001122334455", organisation=organisation, now=now, key="p256"
    )
    constraints = identities[Unit.CAPF].certificate.x509.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.value.path_length == 0
    assert not phone.certificate.is_ca
    assert phone.certificate.subject.startswith("CN=SEP001122334455;OU=TAC;O=")
    assert phone.certificate.issuer == identities[Unit.CAPF].certificate.subject
    phone.certificate.x509.verify_directly_issued_by(identities[Unit.CAPF].certificate.x509)


def test_identities_can_be_signed_by_an_authority_except_capf_and_itlrecovery(
    now: datetime, organisation: Organisation
) -> None:
    ca = authority("Lab CA", organisation, now, key="p256")
    made = node_identities(
        "cm1", domain="lab.test", organisation=organisation, now=now, publisher=True, itlrecovery=True, ca=ca
    )
    assert {identity.unit for identity in made if identity.certificate.self_signed} == {Unit.CAPF, Unit.ITLRECOVERY}
    for identity in made:
        if not identity.certificate.self_signed:
            identity.certificate.x509.verify_directly_issued_by(ca.certificate.x509)
            assert identity.certificate.issuer == "CN=Lab CA" + TAIL


def test_a_capf_signed_by_an_authority_is_still_an_authority(now: datetime, organisation: Organisation) -> None:
    ca = authority("Lab CA", organisation, now, key="p256")
    capf = signed_by(
        ca, node="cm1", unit=Unit.CAPF, common_name="CAPF-00000001", organisation=organisation, now=now, key="p256"
    )
    assert capf.certificate.is_ca


@pytest.mark.parametrize(
    ("key", "kind", "bits"),
    [
        ("rsa1024", KeyKind.RSA, 1024),
        ("rsa3072", KeyKind.RSA, 3072),
        ("p256", KeyKind.EC, 256),
        ("p384", KeyKind.EC, 384),
    ],
)
def test_a_key_is_of_the_kind_asked_for(
    key: KeyName, kind: KeyKind, bits: int, now: datetime, organisation: Organisation
) -> None:
    identity = self_signed(
        node="cm1", unit=Unit.TVS, common_name="a", organisation=organisation, now=now, key=key, serial=5
    )
    assert (identity.certificate.key_kind, identity.certificate.key_bits) == (kind, bits)
    assert identity.certificate.serial == 5


def test_an_expired_identity_can_be_made(now: datetime, organisation: Organisation) -> None:
    identity = self_signed(
        node="cm1", unit=Unit.TVS, common_name="a", organisation=organisation, now=now, key="p256", days=-1
    )
    assert identity.certificate.problems(now) == ("expired on 2026-02-28",)


def test_nothing_shows_or_pickles_a_private_key(identities: dict[Unit, Identity]) -> None:
    identity = identities[Unit.CALLMANAGER_ECDSA]
    assert repr(identity) == f"Identity(node='cm1', unit={identity.unit!r}, certificate={identity.certificate!r})"
    with pytest.raises(TypeError):
        pickle.dumps(identity)


def test_an_identity_comes_back_from_its_pem(identities: dict[Unit, Identity]) -> None:
    identity = identities[Unit.CAPF]
    again = Identity.from_pem(
        node="cm1", unit=Unit.CAPF, certificate=identity.certificate.pem(), key=identity.key_pem()
    )
    assert again == identity
    assert again.key_pem() == identity.key_pem()
    assert identity.key_pem().startswith(b"-----BEGIN PRIVATE KEY-----\n")


def test_a_key_of_another_certificate_is_refused(identities: dict[Unit, Identity]) -> None:
    with pytest.raises(InvalidCertificate, match=r"not that of CN=cm1\.lab\.test"):
        Identity.from_pem(
            node="cm1",
            unit=Unit.TVS,
            certificate=identities[Unit.TVS].certificate.pem(),
            key=identities[Unit.CAPF].key_pem(),
        )


def test_a_damaged_key_is_refused_without_a_word_of_it(identities: dict[Unit, Identity]) -> None:
    damaged = identities[Unit.TVS].key_pem().replace(b"M", b"N", 3)
    with pytest.raises(InvalidCertificate, match="can't be read") as caught:
        Identity.from_pem(node="cm1", unit=Unit.TVS, certificate=identities[Unit.TVS].certificate.pem(), key=damaged)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(("name", "country"), [("x" * 65, "PL"), ("a", "POL")])
def test_a_name_that_does_not_fit_a_certificate_is_a_setting_to_correct(name: str, country: str, now: datetime) -> None:
    with pytest.raises(SettingsError, match=f"'{name}' and its organisation") as caught:
        self_signed(
            node="cm1", unit=Unit.TVS, common_name=name, organisation=Organisation(c=country), now=now, key="p256"
        )
    assert "64 characters" in caught.value.hint


def test_a_host_name_that_is_not_ascii_is_a_setting_to_correct(now: datetime, organisation: Organisation) -> None:
    with pytest.raises(SettingsError, match="krakó"):
        self_signed(
            node="cm1",
            unit=Unit.TVS,
            common_name="a",
            organisation=organisation,
            now=now,
            key="p256",
            dns_names=("krakó.test",),
        )
