"""Signed files (`*.sgn`), byte for byte. Source: `wire-formats`, section 2."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustbridge.errors import DecodeError
from trustbridge.wire import signedfile, signedheader
from trustbridge.wire.signedfile import SignedFile
from trustbridge.wire.signedheader import SIGNED_FILE_VERSION, TRUST_LIST_VERSION, Digest, SignedHeader

CONTENT = b'<?xml version="1.0"?><device/>'


def header(version: tuple[int, int] = SIGNED_FILE_VERSION, file_name: str = "SEP001122334455.cnf.xml") -> SignedHeader:
    return signedheader.build(
        version=version,
        signer_version=None,
        signer_name="CN=cm1;O=Cisco",
        serial=0x1234,
        ca_name="CN=cm1;O=Cisco",
        digest=Digest.SHA1,
        signature_length=64,
        file_name=file_name,
        timestamp=0x59682F00,
    ).with_signature(bytes(range(64)))


#: The format's table by hand: version 1.0, no signer version, the plain file at the end.
GOLDEN = (
    bytes.fromhex("01 0002 0100  02 0002 00b0")
    + bytes.fromhex("03 0029  04 000f")
    + b"CN=cm1;O=Cisco\0"
    + bytes.fromhex("05 0002 1234  06 000f")
    + b"CN=cm1;O=Cisco\0"
    + bytes.fromhex("07 000f  08 0001 01  09 0008  0a 0001 00  0b 0001 00")
    + bytes.fromhex("0c 0040")
    + bytes(range(64))
    + bytes.fromhex("0e 0018")
    + b"SEP001122334455.cnf.xml\0"
    + bytes.fromhex("0f 0004 59682f00")
)
PADDED = GOLDEN + b"\x0d" * (-len(GOLDEN) % 4)


def test_a_signed_file_is_written_byte_for_byte_as_the_format_says() -> None:
    assert len(PADDED) == 0xB0
    assert signedfile.encode(SignedFile(header(), CONTENT)) == PADDED + CONTENT


def test_a_signed_file_is_read_back() -> None:
    file = signedfile.decode(PADDED + CONTENT)
    assert file == SignedFile(header(), CONTENT)
    assert file.header.file_name == "SEP001122334455.cnf.xml"
    assert not file.header.encrypted


def test_the_signature_covers_header_and_content_but_not_itself() -> None:
    data = PADDED + CONTENT
    start = data.index(bytes.fromhex("0c 0040"))
    assert signedfile.decode(data).header.signed_bytes(data) == data[:start] + data[start + 67 :]


def test_an_encrypted_file_is_recognised_and_kept_closed() -> None:
    file = signedfile.decode(header((2, 0)).encode() + b"\x8f\x01")
    assert file.header.encrypted
    assert file.content == b"\x8f\x01"


@pytest.mark.parametrize("version", [TRUST_LIST_VERSION, (1, 1)])
def test_a_trust_list_is_not_taken_for_a_signed_file(version: tuple[int, int]) -> None:
    with pytest.raises(DecodeError, match="this is a trust list") as caught:
        signedfile.decode(header(version).encode() + CONTENT)
    assert caught.value.offset == 3


def test_a_plain_file_is_refused_at_its_first_byte() -> None:
    with pytest.raises(DecodeError, match="not a signed file") as caught:
        signedfile.decode(CONTENT)
    assert caught.value.offset == 0


def test_a_file_cut_short_in_its_header_is_refused_and_one_cut_short_after_it_is_shorter() -> None:
    data = PADDED + CONTENT
    for length in range(len(data)):
        if length >= len(PADDED):
            assert signedfile.decode(data[:length]).content == CONTENT[: length - len(PADDED)]
            continue
        with pytest.raises(DecodeError) as caught:
            signedfile.decode(data[:length])
        assert 0 <= caught.value.offset <= length


def test_a_large_file_keeps_every_byte() -> None:
    content = bytes(range(256)) * 1024
    assert signedfile.decode(signedfile.encode(SignedFile(header(), content))).content == content


@given(
    content=st.binary(max_size=300),
    file_name=st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    version=st.sampled_from([SIGNED_FILE_VERSION, (2, 0)]),
    extra=st.lists(st.tuples(st.integers(17, 27), st.binary(max_size=9)), max_size=3),
)
def test_what_is_built_is_read_back(
    content: bytes, file_name: str, version: tuple[int, int], extra: list[tuple[int, bytes]]
) -> None:
    head = header(version, file_name)
    length = head.length + sum(3 + len(value) for _, value in extra)
    elements = (head.elements[0], (2, length.to_bytes(2)), *head.elements[2:], *extra)
    file = SignedFile(replace(head, elements=elements), content)
    assert signedfile.decode(signedfile.encode(file)) == file


@given(
    data=st.binary(max_size=60),
    mutations=st.lists(st.tuples(st.integers(0), st.binary(max_size=3), st.integers(0, 3)), max_size=3),
)
def test_any_bytes_are_a_signed_file_or_refused(data: bytes, mutations: list[tuple[int, bytes, int]]) -> None:
    check_total(data)
    mutated = PADDED + data
    for place, value, removed in mutations:
        at = place % len(PADDED)
        mutated = mutated[:at] + value + mutated[at + removed :]
    check_total(mutated)


def check_total(data: bytes) -> None:
    found = decoded(data)
    if isinstance(found, DecodeError):
        assert 0 <= found.offset <= len(data)
    else:
        assert signedfile.encode(found) == data


def decoded(data: bytes) -> SignedFile | DecodeError:
    try:
        return signedfile.decode(data)
    except DecodeError as error:
        return error
