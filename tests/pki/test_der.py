"""The little DER reader: exact bounds, or its one error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustbridge.pki.der import INTEGER, SEQUENCE, DerError, der_children, dotted, enter_der, pull_der


@pytest.mark.parametrize(
    ("data", "element"),
    [
        ("0200", (2, 2, 2)),
        ("020105", (2, 2, 3)),
        ("0201 05 ff", (2, 2, 3)),
        ("0281 01 05", (2, 3, 4)),
        ("0284 00000001 05", (2, 6, 7)),
    ],
)
def test_an_element_is_found_with_its_bounds(data: str, element: tuple[int, int, int]) -> None:
    whole = bytes.fromhex(data)
    assert pull_der(whole, 0, len(whole)) == element
    with pytest.raises(DerError, match="at offset 0"):
        pull_der(whole, 0, element[2] - 1)


@pytest.mark.parametrize("data", ["", "02", "0201", "0280", "0285 0000000001 05", "1f0100", "028101", "02ff"])
def test_what_is_cut_short_indefinite_or_strange_is_refused(data: str) -> None:
    with pytest.raises(DerError):
        pull_der(bytes.fromhex(data), 0, len(bytes.fromhex(data)))


def test_children_fill_their_parent_exactly() -> None:
    data = bytes.fromhex("3006 020101 020102 05")
    assert list(der_children(data, 2, 8)) == [(INTEGER, 4, 5), (INTEGER, 7, 8)]
    with pytest.raises(DerError):
        list(der_children(data, 2, 7))


def test_an_element_of_another_kind_is_refused_by_name() -> None:
    with pytest.raises(DerError, match="tag 0x02 at offset 0, expected 0x30"):
        enter_der(b"\x02\x00", 0, 2, SEQUENCE)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("550403", "2.5.4.3"),
        ("2a864886f70d010701", "1.2.840.113549.1.7.1"),
        ("8837", "2.999"),
        ("2b", "1.3"),
        ("00", "0.0"),
    ],
)
def test_an_object_identifier_has_its_dotted_form(value: str, text: str) -> None:
    assert dotted(bytes.fromhex(value)) == text


@pytest.mark.parametrize("value", ["", "2a86"])
def test_an_object_identifier_cut_short_is_refused(value: str) -> None:
    with pytest.raises(DerError):
        dotted(bytes.fromhex(value))


@given(st.binary(max_size=40))
def test_any_bytes_are_elements_within_bounds_or_the_one_error(data: bytes) -> None:
    try:
        elements = list(der_children(data, 0, len(data)))
    except DerError:
        return
    assert [start for _, start, _ in elements] == sorted(start for _, start, _ in elements)
    assert all(start <= end <= len(data) for _, start, end in elements)
    assert not data or elements[-1][2] == len(data)
