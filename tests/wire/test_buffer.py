"""Elements `tag u8, length u16, value`, and text in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustbridge.errors import DecodeError
from trustbridge.wire.buffer import MAX_VALUE, pull_elements, push_element, push_elements, text_value, value_text

ELEMENTS = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=40)), max_size=6).map(tuple)

# Made by hand from the format's definition.
VECTORS: list[tuple[str, tuple[tuple[int, bytes], ...], str]] = [
    ("nothing", (), ""),
    ("an empty value", ((7, b""),), "07 0000"),
    ("one byte", ((7, b"\0"),), "07 0001 00"),
    ("tag 255", ((255, b"ab"),), "ff 0002 6162"),
    ("a tag twice, and order", ((2, b"b"), (1, b"a"), (2, b"c")), "02 0001 62 01 0001 61 02 0001 63"),
    ("a length of two bytes", ((1, b"x" * 258),), "01 0102" + "78" * 258),
]


@pytest.mark.parametrize(("elements", "data"), [pytest.param(e, bytes.fromhex(d), id=o) for o, e, d in VECTORS])
def test_elements_are_these_bytes(elements: tuple[tuple[int, bytes], ...], data: bytes) -> None:
    assert push_elements(elements) == data
    assert pull_elements(data, 0, len(data)) == elements


@given(ELEMENTS, st.binary(max_size=5), st.binary(max_size=5))
def test_what_was_pushed_is_pulled_wherever_it_stands(
    elements: tuple[tuple[int, bytes], ...], before: bytes, after: bytes
) -> None:
    data = push_elements(elements)
    assert pull_elements(before + data + after, len(before), len(before) + len(data)) == elements


@given(st.binary(max_size=60))
def test_whatever_is_pulled_is_pushed_as_the_same_bytes(data: bytes) -> None:
    offset = None
    try:
        elements = pull_elements(data, 0, len(data))
    except DecodeError as error:
        offset = error.offset
    if offset is None:
        assert push_elements(elements) == data
    else:
        assert 0 <= offset < len(data)


@given(ELEMENTS.filter(bool))
def test_elements_cut_short_are_refused_with_the_offset_of_the_cut_one(elements: tuple[tuple[int, bytes], ...]) -> None:
    data = push_elements(elements)
    starts = [len(push_elements(elements[:count])) for count in range(len(elements) + 1)]
    for end in range(len(data)):
        if end in starts:
            assert pull_elements(data, 0, end) == elements[: starts.index(end)]
            continue
        with pytest.raises(DecodeError) as caught:
            pull_elements(data, 0, end)
        assert caught.value.offset == max(start for start in starts if start <= end)


def test_an_element_may_not_reach_past_the_end_of_its_block() -> None:
    # The bytes are there, but they belong to whatever follows the block.
    with pytest.raises(DecodeError, match="claims 4 bytes where 2 remain") as caught:
        pull_elements(bytes.fromhex("aaaa 01 0004 61626364"), 2, 7)
    assert caught.value.offset == 2


def test_a_value_has_at_most_65535_bytes() -> None:
    whole = push_element(1, bytes(MAX_VALUE))
    assert pull_elements(whole, 0, len(whole)) == ((1, bytes(MAX_VALUE)),)
    with pytest.raises(ValueError, match="65536 bytes do not fit"):
        push_element(1, bytes(MAX_VALUE + 1))


@pytest.mark.parametrize("tag", [-1, 256])
def test_a_tag_is_one_byte(tag: int) -> None:
    with pytest.raises(ValueError, match=f"tag {tag}"):
        push_element(tag, b"")


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0")))
def test_text_comes_back(text: str) -> None:
    assert value_text(text_value(text)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"", ""),
        (b"\0", ""),
        (b"abc", "abc"),
        (b"abc\0", "abc"),
        (b"abc\0\0", "abc\0"),
        (b"\0abc", "\0abc"),
        (b"caf\xe9\0", "caf\ufffd"),
    ],
)
def test_odd_text_is_read_leniently(value: bytes, text: str) -> None:
    assert value_text(value) == text
