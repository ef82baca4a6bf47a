"""Trust lists, byte for byte.

Check lengths: `wire-formats`, section 1, from public `show ctl` output: a record of 1156 bytes for a 1024-bit key and
a certificate of 694 bytes, a blank record of 33. The hex is that page's table written out by hand.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustbridge.errors import DecodeError
from trustbridge.wire import signedheader, trustlist
from trustbridge.wire.signedheader import MODULUS_BYTES, Digest, SignedHeader
from trustbridge.wire.trustlist import MAX_PHONE_FILE, Record, RecordTag, Role, TrustListFile, role_label

DN = "CN=cucm-1051-a-pub;OU=TAC;O=Cisco;L=Krakow;ST=Malopolska;C=PL"
SERIAL = 0x70D5A8E1F2B34C5D6E7F8091A2B3C4D5
KEY, SIGNATURE, CERTIFICATE = b"\x30" * 140, bytes(range(128)), b"\x30" * 694
#: Offsets of the elements in GOLDEN_RECORD.
DNS_NAME, SUBJECT, FUNCTION, ISSUER, SERIAL_NUMBER, ADDRESS = 5, 24, 89, 94, 159, 1149
GOLDEN_RECORD = b"".join(
    [
        bytes.fromhex("01 0002 0484"),  # 1156 bytes
        bytes.fromhex("02 0010") + b"cucm-1051-a-pub\0",
        bytes.fromhex("03 003e") + DN.encode() + b"\0",
        bytes.fromhex("04 0002 0000"),
        bytes.fromhex("05 003e") + DN.encode() + b"\0",
        bytes.fromhex("06 0010 70d5a8e1f2b34c5d6e7f8091a2b3c4d5"),
        bytes.fromhex("07 008c") + KEY,
        bytes.fromhex("08 0080") + SIGNATURE,
        bytes.fromhex("09 02b6") + CERTIFICATE,
        bytes.fromhex("0a 0004 00000000"),
    ]
)
GOLDEN_BLANK = bytes.fromhex("01 0002 0021  02 000d 31302e34382e34372e31353300  04 0002 0002  0a 0004 00000000")


def element(tag: int, value: bytes) -> bytes:
    return bytes([tag]) + len(value).to_bytes(2) + value


def record_bytes(*elements: bytes, extra: int = 0) -> bytes:
    """A record by hand; `extra` falsifies its length."""
    body = b"".join(elements)
    return element(1, (5 + len(body) + extra).to_bytes(2)) + body


def header(file_name: str = "ITLFile.tlv", signature_length: int = 64) -> SignedHeader:
    return signedheader.build(
        version=signedheader.TRUST_LIST_VERSION,
        signer_version=signedheader.SIGNER_VERSION,
        signer_name="CN=a",
        serial=1,
        ca_name="CN=b",
        digest=Digest.SHA512,
        signature_length=signature_length,
        file_name=file_name,
        timestamp=1_700_000_000,
    )


HEADER = header().encode()
START = len(HEADER)
FULL = [element(2, b"cm1\0"), element(4, b"\0\2"), element(9, b"DER"), element(10, b"\x0a\0\0\1")]


def golden_record(role: Role = Role.SAST) -> Record:
    return trustlist.record(
        role=role,
        dns_name="cucm-1051-a-pub",
        subject=DN,
        issuer=DN,
        serial=SERIAL,
        public_key=KEY,
        signature=SIGNATURE,
        certificate=CERTIFICATE,
    )


def test_a_record_has_the_check_length_of_the_public_dump() -> None:
    record = golden_record()
    assert record.length == 1156
    assert trustlist.encode(TrustListFile(header(), (record,))) == HEADER + GOLDEN_RECORD


def test_a_blank_record_has_the_check_length_of_the_public_dump() -> None:
    record = trustlist.blank_record(role=Role.CCM_TFTP, dns_name="10.48.47.153")
    assert record.length == 33
    assert trustlist.encode(TrustListFile(header(), (record,))) == HEADER + GOLDEN_BLANK


def test_a_record_is_read_field_by_field() -> None:
    (record,) = trustlist.decode(HEADER + GOLDEN_RECORD).records
    assert record == golden_record()
    assert (record.length, record.role, record.dns_name) == (1156, Role.SAST, "cucm-1051-a-pub")
    assert (record.subject, record.issuer, record.serial) == (DN, DN, SERIAL)
    assert (record.public_key, record.certificate) == (KEY, CERTIFICATE)
    assert record.first(RecordTag.SIGNATURE) == SIGNATURE
    assert (record.address, record.blank, record.unknown_tags) == ("0.0.0.0", False, ())


def test_a_blank_record_names_a_node_and_a_role_and_no_certificate() -> None:
    (record,) = trustlist.decode(HEADER + GOLDEN_BLANK).records
    assert record.blank
    assert (record.dns_name, record.role, record.address) == ("10.48.47.153", Role.CCM_TFTP, "0.0.0.0")
    assert (record.subject, record.issuer, record.serial, record.certificate, record.public_key) == (None,) * 5


def test_a_hardware_token_has_no_signature_element() -> None:
    record = trustlist.record(
        role=Role.SAST,
        dns_name="",
        subject="CN=t",
        issuer="CN=c",
        serial=2,
        public_key=b"K",
        signature=None,
        certificate=b"C",
        address="10.1.2.3",
    )
    data = HEADER + trustlist.encode_records([record])
    assert data[START:] == record_bytes(
        element(2, b"\0"),  # one NUL when empty
        element(3, b"CN=t\0"),
        element(4, b"\0\0"),
        element(5, b"CN=c\0"),
        element(6, b"\2"),
        element(7, b"K"),
        element(9, b"C"),
        element(10, b"\x0a\1\2\3"),
    )
    assert trustlist.decode(data).records == (record,)
    assert not record.blank
    assert record.dns_name == ""


@pytest.mark.parametrize(
    ("number", "label"),
    [
        (0, "SAST"),
        (1, "CCM"),
        (2, "CCM+TFTP"),
        (3, "TFTP"),
        (4, "CAPF"),
        (7, "APP-SERVER"),
        (21, "TVS"),
        (99, "role 99"),
    ],
)
def test_roles_are_named_as_the_field_names_them(number: int, label: str) -> None:
    assert role_label(number) == label
    data = HEADER + record_bytes(FULL[0], element(4, number.to_bytes(2)))
    assert trustlist.decode(data).records[0].role == number


def test_a_list_is_blank_when_no_record_names_a_certificate() -> None:
    blank = trustlist.blank_record(role=Role.TVS, dns_name="a")
    assert TrustListFile(header(), (blank, blank)).blank
    assert not TrustListFile(header(), (blank, golden_record())).blank
    assert not TrustListFile(header(), ()).blank
    unknown = trustlist.decode(HEADER + record_bytes(element(4, b"\0\0"), element(99, b"what?")))
    assert not unknown.blank


def test_unknown_elements_are_kept_and_named() -> None:
    data = HEADER + record_bytes(
        element(200, b"first"), *FULL, element(11, b"hash"), element(12, b"\1"), element(200, b"")
    )
    file = trustlist.decode(data)
    assert file.records[0].unknown_tags == (200, 200)
    assert file.records[0].certificate == b"DER"
    assert trustlist.encode(file) == data


def test_other_tools_order_and_an_older_version_are_accepted() -> None:
    signer = element(4, b"CN=a,O=b\0") + element(6, b"CN=c,O=d\0") + element(5, b"\1\2")
    body = (
        element(3, signer)
        + element(7, element(8, b"\1") + element(9, element(10, b"\0") + element(11, b"\0")))
        + element(12, bytes(64))
        + b"\x0d" * 3
    )
    data = element(1, b"\1\1") + element(2, (10 + len(body)).to_bytes(2)) + body + record_bytes(*FULL)
    file = trustlist.decode(data)
    assert (file.header.signer_name, file.header.serial, file.header.ca_name) == ("CN=a,O=b", 0x0102, "CN=c,O=d")
    assert (file.header.file_name, file.header.timestamp) == (None, None)
    assert trustlist.encode(file) == data


def test_a_list_without_records_is_a_list() -> None:
    assert trustlist.decode(HEADER) == TrustListFile(header(), ())


@pytest.mark.parametrize("count", [40, 57, 300])
def test_a_file_of_any_size_is_read(count: int) -> None:
    file = TrustListFile(header(), (golden_record(),) * count)
    data = trustlist.encode(file)
    assert len(data) == START + count * 1156
    assert (len(data) > MAX_PHONE_FILE) == (count > 56)
    assert trustlist.decode(data) == file


def test_the_longest_record_is_written_and_a_longer_one_is_not() -> None:
    def sized(size: int) -> Record:
        return trustlist.record(
            role=Role.SAST,
            dns_name="",
            subject="",
            issuer="",
            serial=0,
            public_key=b"",
            signature=None,
            certificate=bytes(size),
        )

    smallest = sized(0).length
    longest = TrustListFile(header(), (sized(0xFFFF - smallest),))
    assert longest.records[0].length == 0xFFFF
    assert trustlist.decode(trustlist.encode(longest)) == longest
    for size in (0x10000 - smallest, 0x10000):
        with pytest.raises(ValueError, match="does not fit its 16-bit length"):
            sized(size)


def test_an_element_of_more_than_16_bits_is_not_written() -> None:
    with pytest.raises(ValueError, match="element with tag 9: 70000 bytes do not fit"):
        trustlist.encode_records([Record(((RecordTag.CERTIFICATE, bytes(70_000)),))])


@pytest.mark.parametrize("address", ["cucm1", "10.1.2.3.4", "::1"])
def test_an_address_that_is_not_ipv4_is_refused(address: str) -> None:
    with pytest.raises(ValueError):
        trustlist.blank_record(role=Role.TVS, dns_name="a", address=address)


ERRORS = [
    ("a signed file", replace(header(), elements=((1, b"\1\0"), *header().elements[1:])).encode(), 3, "version 1.0"),
    (
        "an encrypted file",
        replace(header(), elements=((1, b"\2\0"), *header().elements[1:])).encode(),
        3,
        "version 2.0",
    ),
    ("four bytes of a record", HEADER + b"\1\0\2\0", START, "record cut short: 4 bytes left"),
    ("a record without length", HEADER + b"".join(FULL), START, "record begins with tag 2 of 4 bytes"),
    ("a length of three bytes", HEADER + b"\1\0\3\0\0\7", START, "record begins with tag 1 of 3 bytes"),
    ("a length of 4", HEADER + b"\1\0\2\0\4", START + 3, "record length 4 does not cover its own element"),
    ("a record beyond the file", HEADER + record_bytes(*FULL, extra=1), START + 3, "length 31, but 30 bytes are left"),
    (
        "a record that cuts an element",
        HEADER + record_bytes(*FULL, extra=-1) + record_bytes(*FULL),
        START + 23,
        "element with tag 10 claims 4 bytes where 3 remain",
    ),
    ("a record that ends in a tag", HEADER + record_bytes(*FULL, b"\2\0"), START + 30, "cut short: 2 of the 3 bytes"),
    ("no function", HEADER + record_bytes(FULL[0], FULL[2]), START, "record without a function"),
    ("an empty record", HEADER + record_bytes(), START, "record without a function"),
    ("a function of one byte", HEADER + record_bytes(element(4, b"\2")), START + 5, "tag 4 has 1 bytes, expected 2"),
    ("an IPv6 address", HEADER + record_bytes(FULL[1], element(10, bytes(16))), START + 10, "tag 10 has 16 bytes"),
    ("a hash algorithm of none", HEADER + record_bytes(FULL[1], element(12, b"")), START + 10, "tag 12 has 0 bytes"),
    ("two functions", HEADER + record_bytes(FULL[1], FULL[1]), START + 10, "second element with tag 4"),
    ("two certificates", HEADER + record_bytes(*FULL, FULL[2]), START + 30, "second element with tag 9"),
    ("two lengths", HEADER + record_bytes(*FULL, element(1, b"\0\5")), START + 30, "second element with tag 1"),
    (
        "two addresses, the first odd",
        HEADER + record_bytes(FULL[1], element(10, b""), FULL[3]),
        START + 10,
        "tag 10 has 0",
    ),
    (
        "a fault in the second record",
        HEADER + record_bytes(*FULL) + record_bytes(FULL[0]),
        START + 30,
        "without a function",
    ),
    ("a tail of one byte", HEADER + GOLDEN_RECORD + b"\0", START + 1156, "record cut short: 1 bytes left"),
]


@pytest.mark.parametrize(("data", "offset", "words"), [case[1:] for case in ERRORS], ids=[case[0] for case in ERRORS])
def test_what_is_no_trust_list_is_refused_with_the_offset(data: bytes, offset: int, words: str) -> None:
    with pytest.raises(DecodeError) as caught:
        trustlist.decode(data)
    assert words in caught.value.what
    assert caught.value.offset == offset


def test_a_list_cut_short_anywhere_but_between_records_is_refused() -> None:
    data = HEADER + GOLDEN_BLANK + GOLDEN_RECORD + GOLDEN_BLANK
    between = {START: 0, START + 33: 1, START + 33 + 1156: 2}
    for length in range(len(data)):
        if length in between:
            assert len(trustlist.decode(data[:length]).records) == between[length]
            continue
        with pytest.raises(DecodeError) as caught:
            trustlist.decode(data[:length])
        assert 0 <= caught.value.offset <= length


# Any list.

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
addresses = st.ip_addresses(v=4).map(str)
built_records = st.builds(
    trustlist.record,
    role=st.sampled_from(Role),
    dns_name=names,
    subject=names,
    issuer=names,
    serial=st.integers(0, 2**160),
    public_key=st.binary(max_size=40),
    signature=st.none() | st.binary(max_size=40),
    certificate=st.binary(max_size=60),
    address=addresses,
) | st.builds(trustlist.blank_record, role=st.sampled_from(Role), dns_name=names, address=addresses)
headers = st.builds(header, file_name=names, signature_length=st.sampled_from(sorted(MODULUS_BYTES.values())))


@given(head=headers, records=st.lists(built_records, max_size=4))
def test_what_is_built_is_read_back(head: SignedHeader, records: list[Record]) -> None:
    file = TrustListFile(head, tuple(records))
    data = trustlist.encode(file)
    assert trustlist.decode(data) == file
    assert len(data) == head.length + sum(record.length for record in records)


@st.composite
def raw_records(draw: st.DrawFn) -> bytes:
    """Records as other tools may write them: any order, any subset, unknown elements, odd texts."""
    values = {
        2: st.binary(max_size=9),
        3: st.binary(max_size=9),
        5: st.binary(max_size=9),
        6: st.binary(max_size=9),
        7: st.binary(max_size=9),
        8: st.binary(max_size=9),
        9: st.binary(max_size=9),
        10: st.binary(min_size=4, max_size=4),
        11: st.binary(max_size=9),
        12: st.binary(min_size=1, max_size=1),
    }
    elements = [element(4, draw(st.binary(min_size=2, max_size=2)))]
    elements += [element(tag, draw(values[tag])) for tag in draw(st.sets(st.sampled_from(sorted(values))))]
    unknown = st.integers(13, 255) | st.just(0)
    elements += draw(st.lists(st.builds(element, unknown, st.binary(max_size=9)), max_size=3))
    return record_bytes(*draw(st.permutations(elements)))


@given(raw=st.lists(raw_records(), max_size=4))
def test_any_order_and_unknown_elements_survive_byte_for_byte(raw: list[bytes]) -> None:
    data = HEADER + b"".join(raw)
    file = trustlist.decode(data)
    assert trustlist.encode(file) == data
    assert len(file.records) == len(raw)
    for record, part in zip(file.records, raw, strict=True):
        assert record.length == len(part)
        for value in (record.dns_name, record.subject, record.issuer):
            assert value is None or isinstance(value, str)
        assert record.serial is None or record.serial >= 0
        assert record.address is None or record.address.count(".") == 3


@given(
    tail=st.binary(max_size=120) | raw_records(),
    raw=raw_records(),
    mutations=st.lists(st.tuples(st.integers(0), st.binary(max_size=3), st.integers(0, 3)), max_size=2),
)
def test_any_bytes_are_a_list_or_refused(tail: bytes, raw: bytes, mutations: list[tuple[int, bytes, int]]) -> None:
    check_total(tail)
    check_total(HEADER + tail)
    data = HEADER + raw + tail
    for place, value, removed in mutations:
        at = place % (len(data) + 1)
        data = data[:at] + value + data[at + removed :]
    check_total(data)


def check_total(data: bytes) -> None:
    found = decoded(data)
    if isinstance(found, DecodeError):
        assert 0 <= found.offset <= len(data)
    else:
        assert trustlist.encode(found) == data
        assert all(0 <= record.role <= 0xFFFF for record in found.records)


def decoded(data: bytes) -> TrustListFile | DecodeError:
    try:
        return trustlist.decode(data)
    except DecodeError as error:
        return error
