"""Distinguished names: every form gives the same key, and nothing a phone sends breaks the reading."""

from __future__ import annotations

import time

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import example, given
from hypothesis import strategies as st

from trustbridge.pki.der import DerError
from trustbridge.pki.names import CertificateKey, canonical_name, certificate_key, dn_text, read_rdns, short_name

#: Subject of the public `show ctl` dump that wire-formats takes its check lengths from.
DUMP_SUBJECT = "CN=cucm-1051-a-pub;OU=TAC;O=Cisco;L=Krakow;ST=Malopolska;C=PL"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("CN=a;OU=b", "CN=a,OU=b"),
        ("CN=a;OU=b", "CN=a, OU=b"),
        ("CN=a;OU=b", "OU=b,CN=a"),
        ("CN=a;OU=b", "  cn = A ;  Ou=  B "),
        ("CN=a;OU=b", "CN=a+OU=b"),
        ("CN=a;OU=b;", "CN=a;OU=b"),
        ("CN=a\tb", "CN=a   b"),
        ("O=Cisco Systems, Inc.;C=US", "C=US, O=Cisco Systems, Inc."),
        ("O=Cisco Systems, Inc.;C=US", "O=Cisco Systems\\, Inc.,C=US"),
        ("O=Cisco Systems, Inc.;C=US", 'O="Cisco Systems, Inc.", C=US'),
        ("O=Cisco Systems, Inc.;C=US", "O=Cisco Systems\\2C Inc.,C=US"),
        ('CN="a, OU=b"', "CN=a\\, OU\\=b"),
        ('CN="say \\"x\\""', 'CN=say "x"'),
        ("S=QLD", "ST=qld"),
        ("E=a@b.c", "emailAddress=a@b.c"),
        ("E=a@b.c", "1.2.840.113549.1.9.1=a@b.c"),
        ("2.5.4.3=a", "OID.2.5.4.3=A"),
        ("2.5.4.3=#0C0161", "CN=a"),
        ("1.2.3=#040161", "1.2.3=#040161"),
        ("CN=M\\C3\\BCnchen", "CN=MÜNCHEN"),
        ("CN=M\\FCnchen", "CN=münchen"),
        ("CN=DOMAIN\\user", "CN=domain\\\\user"),
        ("CN=C++;O=x", "O=x,CN=C++"),
        ("CN=a\\ ,O=x", "CN=a;O=x"),
        ("CN=a\\ ", "CN=a"),
    ],
)
def test_forms_of_one_name_give_equal_text(one: str, other: str) -> None:
    assert canonical_name(one) == canonical_name(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("CN=a;OU=b", "CN=a;OU=c"),
        ("CN=a;OU=b", "CN=b;OU=a"),
        ("CN=a;OU=b", "CN=a\\;OU=b"),
        ("CN=a,OU=b", 'CN="a,OU=b"'),
        ("CN=a", "CN=a;CN=a"),
        ("CN=a", "SN=a"),
        ("CN=ab", "CN=a b"),
        ("1.2.3=#040161", "1.2.3=\\#040161"),
        ("CN=a", "a"),
        ("CN=", ""),
        ("CN=a", "\\43N=a"),
    ],
)
def test_different_names_give_different_text(one: str, other: str) -> None:
    assert canonical_name(one) != canonical_name(other)


@given(st.text() | st.text(alphabet='aCNOU=;,+\\"# 1.\x00\u3000'))
@example("CN=a\\;")
@example("x,;CN=a\\")
@example("a b=c;CN=d")
@example("\\43N=a")
def test_any_text_has_a_canonical_form_that_stays_as_it_is(text: str) -> None:
    once = canonical_name(text)
    assert canonical_name(once) == once


_PAIRS = st.lists(
    st.tuples(
        st.sampled_from([NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.SURNAME, NameOID.EMAIL_ADDRESS]),
        st.text(min_size=1, max_size=20) | st.text(alphabet='aCN=;,+\\"# \x00', min_size=1, max_size=12),
    ),
    max_size=5,
)


@given(_PAIRS)
def test_what_dn_text_writes_is_read_back_as_the_same_pairs(pairs: list[tuple[x509.ObjectIdentifier, str]]) -> None:
    name = x509.Name([x509.NameAttribute(oid, value, _validate=False) for oid, value in pairs])
    parts = [canonical_name(dn_text(x509.Name([attribute]))) for attribute in name]
    assert canonical_name(dn_text(name)) == ";".join(sorted(parts))


def test_dn_text_is_what_unified_cm_writes() -> None:
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "PL"),
            x509.NameAttribute(NameOID.STATE_OR_PROVINCE_NAME, "Malopolska"),
            x509.NameAttribute(NameOID.LOCALITY_NAME, "Krakow"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Cisco"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "TAC"),
            x509.NameAttribute(NameOID.COMMON_NAME, "cucm-1051-a-pub"),
        ]
    )
    assert dn_text(name) == DUMP_SUBJECT


def test_dn_text_leaves_a_comma_bare_unless_it_would_separate() -> None:
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Cisco Systems, Inc."),
            x509.NameAttribute(NameOID.COMMON_NAME, "a, OU=evil"),
        ]
    )
    assert dn_text(name) == "CN=a\\, OU=evil;O=Cisco Systems, Inc."
    assert canonical_name(dn_text(name)) == "cn=a\\, ou=evil;o=cisco systems, inc."


def test_a_multi_valued_part_stands_together() -> None:
    name = x509.Name(
        [
            x509.RelativeDistinguishedName(
                [
                    x509.NameAttribute(NameOID.COMMON_NAME, "a"),
                    x509.NameAttribute(NameOID.ORGANIZATION_NAME, "b"),
                ]
            )
        ]
    )
    assert dn_text(name) in ("CN=a+O=b", "O=b+CN=a")


@pytest.mark.parametrize(
    ("der", "text"),
    [
        (bytes.fromhex("300c310a300806035504030c0161"), "a"),
        (bytes.fromhex("300c310a300806035504031401fc"), "ü"),
        (bytes.fromhex("300d310b300906035504031e0200fc"), "ü"),
        (bytes.fromhex("300f310d300b06035504031c04000000fc"), "ü"),
        (bytes.fromhex("300c310a3008060355040304017a"), b"\x04\x01z"),
    ],
)
def test_every_kind_of_string_is_read_and_anything_else_kept_as_der(der: bytes, text: str | bytes) -> None:
    assert read_rdns(der) == ((("2.5.4.3", text),),)


@given(st.binary(max_size=40))
@example(bytes.fromhex("300c310a300806035504030c0161"))
def test_bytes_are_a_name_or_a_der_error(data: bytes) -> None:
    try:
        rdns = read_rdns(data)
    except DerError:
        return
    assert all(isinstance(value, str | bytes) for rdn in rdns for _, value in rdn)


def test_a_key_is_equal_however_the_issuer_is_written() -> None:
    key = certificate_key(5, "CN=stormin-WIN2012-CA;DC=stormin;DC=local")
    assert key == certificate_key(5, "dc=local, dc=stormin, cn=stormin-win2012-ca")
    assert key != certificate_key(6, "CN=stormin-WIN2012-CA;DC=stormin;DC=local")
    assert key == CertificateKey(5, "cn=stormin-win2012-ca;dc=local;dc=stormin")


@pytest.mark.parametrize(
    "unit", [";", " ", ",CN", ",CN=", "\\", '"', 'a="', "1.", ",1.1", "\\\\", "+ ", 'a="\\"', ", ", "=", "#0", "a=#"]
)
def test_no_text_a_phone_can_send_takes_long(unit: str) -> None:
    text = unit * (0x4000 // len(unit))
    for hostile in (text, f"CN={text}x", f"{text}=x", f'CN="{text}'):
        started = time.perf_counter()
        canonical_name(hostile)
        assert time.perf_counter() - started < 0.5, "quadratic"


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("CN=src-pub.example;OU=UC;O=Source", "src-pub.example"),
        ("O=Source,OU=UC,CN=src-pub.example", "src-pub.example"),
        ("OU=UC;O=Source", "OU=UC;O=Source"),
        ("", ""),
        ("no name at all", "no name at all"),
    ],
)
def test_a_name_in_short_is_its_common_name(text: str, short: str) -> None:
    assert short_name(text) == short
