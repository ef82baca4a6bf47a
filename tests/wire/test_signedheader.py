"""Headers of signed files, byte for byte.

Check lengths and element order: `wire-formats`, section 1, from public `show ctl` output. The hex below is that text's
table written out by hand; nothing of the codec made it.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trustbridge.errors import DecodeError
from trustbridge.wire import signedheader
from trustbridge.wire.signedheader import (
    MODULUS_BYTES,
    SIGNED_FILE_VERSION,
    SIGNER_VERSION,
    TRUST_LIST_VERSION,
    Digest,
    SignedHeader,
)

DN = "CN=cucm-1051-a-pub;OU=TAC;O=Cisco;L=Krakow;ST=Malopolska;C=PL"
SERIAL = 0x70D5A8E1F2B34C5D6E7F8091A2B3C4D5  # 16 bytes, as in the public dump; its digits are ours
#: Offsets of the elements of GOLDEN.
SIGNER_INFO, SIGNATURE_INFO, SIGNATURE, FILE_NAME, TIMESTAMP, PADDING = 10, 162, 180, 311, 326, 333
GOLDEN = b"".join(
    [
        bytes.fromhex("01 0002 0102"),
        bytes.fromhex("02 0002 0150"),  # 336 bytes
        bytes.fromhex("03 0095"),  # 149 bytes of signer info
        bytes.fromhex("04 003e") + DN.encode() + b"\0",
        bytes.fromhex("05 0010 70d5a8e1f2b34c5d6e7f8091a2b3c4d5"),
        bytes.fromhex("06 003e") + DN.encode() + b"\0",
        bytes.fromhex("07 000f  08 0001 01  09 0008  0a 0001 00  0b 0001 01"),
        bytes.fromhex("0c 0080") + bytes(range(128)),
        bytes.fromhex("0e 000c") + b"CTLFile.tlv\0",
        bytes.fromhex("0f 0004 59682f00"),
        bytes.fromhex("0d 0d 0d"),
    ]
)


def built(**changes: object) -> SignedHeader:
    values: dict[str, object] = {
        "version": TRUST_LIST_VERSION,
        "signer_version": None,
        "signer_name": DN,
        "serial": SERIAL,
        "ca_name": DN,
        "digest": Digest.SHA1,
        "signature_length": 128,
        "file_name": "CTLFile.tlv",
        "timestamp": 0x59682F00,
    }
    return signedheader.build(**(values | changes))  # type: ignore[arg-type]  # a table of keyword arguments


def test_a_header_has_the_check_lengths_of_the_public_dump() -> None:
    header = built()
    assert header.length == len(header.encode()) == 336
    signer_info = header.first(signedheader.HeaderTag.SIGNER_INFO)
    assert signer_info is not None
    assert len(signer_info) == 149


def test_a_header_is_written_byte_for_byte_as_the_format_says() -> None:
    assert built().with_signature(bytes(range(128))).encode() == GOLDEN


def test_a_header_is_read_field_by_field() -> None:
    header = signedheader.decode(GOLDEN + b"what follows")
    assert header == built().with_signature(bytes(range(128)))
    assert (header.version, header.length, header.signer_version) == ((1, 2), 336, None)
    assert (header.signer_name, header.serial, header.ca_name) == (DN, SERIAL, DN)
    assert (header.digest, header.signature_algorithm, header.modulus) == (Digest.SHA1, 0, 1)
    assert header.signature == bytes(range(128))
    assert (header.file_name, header.timestamp) == ("CTLFile.tlv", 0x59682F00)
    assert not header.encrypted


def test_the_signer_version_stands_after_the_header_length() -> None:
    data = built(signer_version=SIGNER_VERSION).encode()
    assert data[10:15] == bytes.fromhex("1c 0002 0100")
    header = signedheader.decode(data)
    assert header.signer_version == (1, 0)
    assert len(data) == header.length == 340  # 338 bytes and two of padding


def test_the_signature_covers_all_but_its_own_element() -> None:
    header = signedheader.decode(GOLDEN)
    assert header.signature_span() == (SIGNATURE, FILE_NAME)
    assert header.signed_bytes(GOLDEN + b"rest") == GOLDEN[:SIGNATURE] + GOLDEN[FILE_NAME:] + b"rest"


@pytest.mark.parametrize(("code", "length"), MODULUS_BYTES.items())
def test_the_modulus_code_names_the_length_of_the_signature(code: int, length: int) -> None:
    header = signedheader.decode(built(signature_length=length).encode())
    assert (header.modulus, len(header.signature)) == (code, length)


@pytest.mark.parametrize(
    ("version", "trust_list", "encrypted"),
    [
        ((1, 2), True, False),
        ((1, 1), True, False),
        ((1, 0), False, False),
        ((2, 0), False, True),
        ((2, 2), False, True),
    ],
)
def test_the_version_tells_what_follows(version: tuple[int, int], trust_list: bool, encrypted: bool) -> None:
    header = signedheader.decode(built(version=version).encode())
    assert (header.of_trust_list, header.encrypted) == (trust_list, encrypted)


def test_an_encryption_container_alone_marks_a_file_as_encrypted() -> None:
    assert signedheader.decode(assembled([*PARTS, element(16, b"\x11\0\0")])).encrypted


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"signature_length": 384}, "no code for a signature of 384 bytes"),  # RSA 3072
        ({"serial": -1}, "negative serial number"),
        ({"signer_name": "x" * 70_000}, "do not fit a 16-bit length"),
        ({"signer_name": "x" * 33_000, "file_name": "y" * 32_600}, "header of 65[0-9]{3} bytes does not fit"),
        ({"timestamp": -1}, "does not fit the 32 bits"),
        ({"timestamp": 2**32}, "does not fit the 32 bits"),
    ],
)
def test_what_the_format_has_no_room_for_is_not_built(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        built(**changes)


def test_a_signature_of_another_length_is_not_put_in_place() -> None:
    with pytest.raises(ValueError, match="256 bytes in a place for 128"):
        built().with_signature(bytes(256))


@pytest.mark.parametrize(
    ("serial", "value"), [(0, "00"), (0x7F, "7f"), (0x80, "80"), (0xFF01, "ff01"), (1 << 64, "01" + "00" * 8)]
)
def test_a_serial_number_is_unsigned_without_a_leading_zero(serial: int, value: str) -> None:
    assert signedheader.serial_value(serial).hex() == value


# What no header may be.


def element(tag: int, value: bytes) -> bytes:
    return bytes([tag]) + len(value).to_bytes(2) + value


#: A small header by hand: version, signer info, signature info, signature; the length goes in between.
SIGNER = [element(4, b"CN=a\0"), element(5, b"\x01"), element(6, b"CN=b\0")]
ALGORITHM = [element(10, b"\0"), element(11, b"\0")]
INFO = [element(8, b"\1"), element(9, b"".join(ALGORITHM))]
PARTS = [element(3, b"".join(SIGNER)), element(7, b"".join(INFO)), element(12, bytes(64))]


def assembled(parts: list[bytes], *, version: tuple[int, int] = TRUST_LIST_VERSION, extra: int = 0) -> bytes:
    body = b"".join(parts)
    return element(1, bytes(version)) + element(2, (10 + len(body) + extra).to_bytes(2)) + body


def patched(at: int, value: bytes) -> bytes:
    return GOLDEN[:at] + value + GOLDEN[at + len(value) :]


ERRORS = [
    ("nothing", b"", 0, "header cut short: 0 of its first 10 bytes"),
    ("nine bytes", GOLDEN[:9], 9, "header cut short: 9 of its first 10 bytes"),
    ("a PEM file", b"-----BEGIN CERTIFICATE-----", 0, "does not begin with a version"),
    ("a version of one byte", b"\1\0\1" + GOLDEN[3:], 0, "does not begin with a version"),
    ("no header length", patched(5, b"\3"), 5, "no header length after the version"),
    ("a header length of three bytes", patched(7, b"\3"), 5, "no header length after the version"),
    ("a header length of nothing", patched(8, b"\0\0"), 8, "header length 0 is shorter than its first two elements"),
    ("a header longer than the file", patched(8, b"\x01\x51"), 8, "header length 337 in a file of 336 bytes"),
    ("a header that ends in a tag", assembled([*PARTS, b"\x0f\0"]), 118, "element cut short: 2 of its first 3 bytes"),
    ("an element beyond the header", patched(FILE_NAME + 2, b"\xff"), FILE_NAME, "tag 14 claims 255 bytes of 22"),
    (
        "an element that ends in what follows",
        patched(FILE_NAME + 2, b"\xff") + bytes(300),
        FILE_NAME,
        "tag 14 claims 255 bytes of 22",
    ),
    (
        "a tag whose length is in what follows",
        assembled([*PARTS, b"\x0f\0"]) + bytes(300),
        118,
        "2 of its first 3 bytes",
    ),
    ("a timestamp of three bytes", patched(TIMESTAMP + 2, b"\3"), TIMESTAMP, "tag 15 has 3 bytes, expected 4"),
    ("a signer version of one byte", assembled([element(28, b"\1"), *PARTS]), 10, "tag 28 has 1 bytes, expected 2"),
    ("no signer info", assembled(PARTS[1:]), 95, "header without signer info"),
    ("no signature info", assembled([PARTS[0], PARTS[2]]), 100, "header without signature info"),
    ("no signature", assembled(PARTS[:2]), 51, "header without signature"),
    ("two signatures", assembled([*PARTS, PARTS[2]]), 118, "second signature in one header"),
    ("two signer infos", assembled([PARTS[0], *PARTS]), 33, "second signer info in one header"),
    (
        "two file names",
        assembled([*PARTS, element(14, b"a"), element(14, b"b")]),
        122,
        "second file name in one header",
    ),
    ("a second header length", assembled([*PARTS, element(2, b"\0\1")]), 118, "second header length in one header"),
    (
        "a signer without a serial",
        assembled([element(3, SIGNER[0] + SIGNER[2]), *PARTS[1:]]),
        10,
        "info without serial",
    ),
    (
        "a signer with two serials",
        assembled([element(3, b"".join([*SIGNER, SIGNER[1]])), *PARTS[1:]]),
        33,
        "second serial in one signer info",
    ),
    (
        "an element beyond its container",
        patched(SIGNER_INFO + 5, b"\xff"),
        13,
        "tag 4 claims 255 bytes where 146 remain",
    ),
    (
        "a container that ends in a tag",
        assembled([element(3, b"\4\0"), *PARTS[1:]]),
        13,
        "element cut short: 2 of the 3",
    ),
    ("no digest", assembled([PARTS[0], element(7, INFO[1]), PARTS[2]]), 33, "signature info without digest"),
    ("a digest of no bytes", assembled([PARTS[0], element(7, element(8, b"") + INFO[1]), PARTS[2]]), 36, "has 0 bytes"),
    (
        "no modulus",
        assembled([PARTS[0], element(7, INFO[0] + element(9, ALGORITHM[0])), PARTS[2]]),
        40,
        "signature algorithm info without modulus",
    ),
    ("a signature shorter than its modulus", patched(179, b"\2"), SIGNATURE, "of 128 bytes, its modulus code says 256"),
]


@pytest.mark.parametrize(("data", "offset", "words"), [case[1:] for case in ERRORS], ids=[case[0] for case in ERRORS])
def test_what_is_no_header_is_refused_with_the_offset(data: bytes, offset: int, words: str) -> None:
    with pytest.raises(DecodeError) as caught:
        signedheader.decode(data)
    assert words in caught.value.what
    assert caught.value.offset == offset


def test_a_header_cut_short_anywhere_is_refused() -> None:
    for length in range(len(GOLDEN)):
        with pytest.raises(DecodeError) as caught:
            signedheader.decode(GOLDEN[:length])
        assert 0 <= caught.value.offset <= length


def test_what_follows_a_header_changes_nothing_in_it() -> None:
    assert signedheader.decode(GOLDEN + b"\0" * 100_000) == signedheader.decode(GOLDEN)


# Any header: other orders, unknown elements, padding anywhere.


@dataclass(frozen=True)
class Made:
    """A header made by hand, and what must be read in it."""

    data: bytes
    signer_name: bytes
    serial: int
    ca_name: bytes
    digest: int
    modulus: int
    signature: bytes


names = st.binary(max_size=40) | st.text(max_size=30).map(lambda text: text.encode() + b"\0")


def unknown(*known: int) -> st.SearchStrategy[list[bytes]]:
    tags = st.integers(0, 255).filter(lambda tag: tag not in known)
    return st.lists(st.builds(element, tags, st.binary(max_size=9)), max_size=2)


@st.composite
def headers(draw: st.DrawFn) -> Made:
    signer_name, serial, ca_name = draw(names), draw(st.binary(max_size=20)), draw(names)
    signer = [element(4, signer_name), element(5, serial), element(6, ca_name), *draw(unknown(4, 5, 6))]
    digest, modulus = draw(st.integers(0, 255)), draw(st.sampled_from([0, 1, 2, 3, 4, 255]))
    algorithm = [element(10, b"\0"), element(11, bytes([modulus])), *draw(unknown(10, 11))]
    info = [
        element(8, bytes([digest])),
        element(9, b"".join(draw(st.permutations(algorithm)))),
        *draw(unknown(8, 9)),
    ]
    length = MODULUS_BYTES.get(modulus)
    signature = draw(st.binary(min_size=length or 0, max_size=length or 70))
    parts = [
        element(3, b"".join(draw(st.permutations(signer)))),
        element(7, b"".join(draw(st.permutations(info)))),
        element(12, signature),
        *draw(st.sampled_from([[], [element(28, b"\1\1")]])),
        *draw(st.sampled_from([[], [element(14, b"ITLFile.tlv\0")]])),
        *draw(st.sampled_from([[], [element(15, b"\0\1\2\3")]])),
        *draw(unknown(1, 2, 3, 7, 12, 13, 14, 15, 16, 28)),
        *[b"\x0d"] * draw(st.integers(0, 5)),
    ]
    version = draw(st.sampled_from([TRUST_LIST_VERSION, SIGNED_FILE_VERSION]))
    data = assembled(draw(st.permutations(parts)), version=version)
    return Made(data, signer_name, int.from_bytes(serial), ca_name, digest, modulus, signature)


@given(made=headers(), tail=st.binary(max_size=20))
def test_any_order_and_unknown_elements_are_read_and_written_back(made: Made, tail: bytes) -> None:
    header = signedheader.decode(made.data + tail)
    assert header.encode() == made.data
    assert signedheader.decode(header.encode()) == header
    assert header.length == len(made.data)
    assert header.serial == made.serial
    assert (header.digest, header.modulus, header.signature) == (made.digest, made.modulus, made.signature)
    for text, value in ((header.signer_name, made.signer_name), (header.ca_name, made.ca_name)):
        assert text == value.removesuffix(b"\0").decode("utf-8", "replace")
    start, end = header.signature_span()
    assert made.data[start:end] == element(12, made.signature)
    assert header.signed_bytes(made.data + tail) == made.data[:start] + made.data[end:] + tail


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@given(
    version=st.sampled_from([TRUST_LIST_VERSION, SIGNED_FILE_VERSION]),
    signer_version=st.sampled_from([None, (1, 0), (1, 1)]),
    signer_name=texts,
    serial=st.integers(0, 2**160),
    ca_name=texts,
    digest=st.sampled_from(Digest),
    signature_length=st.sampled_from(sorted(MODULUS_BYTES.values())),
    file_name=texts,
    timestamp=st.integers(0, 2**32 - 1),
)
def test_what_is_built_is_read_back(**values: object) -> None:
    header = built(**values)
    data = header.encode()
    assert signedheader.decode(data) == header
    assert len(data) == header.length
    assert len(data) % 4 == 0
    assert (header.version, header.signer_version) == (values["version"], values["signer_version"])
    assert (header.file_name, header.timestamp) == (values["file_name"], values["timestamp"])


@given(data=st.binary(max_size=200) | st.binary(max_size=200).map(lambda tail: GOLDEN[:10] + tail))
@example(GOLDEN[:8] + b"\0\x0a")
def test_any_bytes_are_a_header_or_refused(data: bytes) -> None:
    check_total(data)


@given(made=headers(), at=st.integers(0, 10_000), value=st.binary(max_size=4), removed=st.integers(0, 4))
def test_a_mutated_header_is_read_as_it_stands_or_refused(made: Made, at: int, value: bytes, removed: int) -> None:
    at %= len(made.data)
    check_total(made.data[:at] + value + made.data[at + removed :])


def check_total(data: bytes) -> None:
    found = decoded(data)
    if isinstance(found, DecodeError):
        assert 0 <= found.offset <= len(data)
    else:
        assert found.encode() == data[: found.length]


def decoded(data: bytes) -> SignedHeader | DecodeError:
    try:
        return signedheader.decode(data)
    except DecodeError as error:
        return error
