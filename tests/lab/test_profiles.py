"""What each release is able to do."""

from __future__ import annotations

from importlib import resources

import pytest

from trustbridge.lab.profiles import profile


@pytest.mark.parametrize(
    ("release", "able", "listing", "schema"),
    [
        ("8.6", set(), "blocks", "8.5"),
        ("9.1.2.10000-28", set(), "blocks", "9.1"),
        ("10.5", set(), "blocks", "10.5"),
        ("11.0", {"deletes"}, "blocks", "11.0"),
        ("11.5", {"deletes"}, "blocks", "11.5"),
        ("12.0", {"deletes", "bulk", "signs"}, "blocks", "12.0"),
        ("12.5", {"deletes", "bulk", "signs", "restarts", "one"}, "blocks", "12.5"),
        ("12.5.1.11900-146", {"deletes", "bulk", "signs", "restarts", "one"}, "blocks", "12.5"),
        ("14", {"deletes", "bulk", "signs", "restarts", "one", "rest"}, "lines", "12.5"),
        ("15", {"deletes", "bulk", "signs", "restarts", "one", "rest"}, "lines", "12.5"),
    ],
)
def test_a_release_can_what_its_row_says(release: str, able: set[str], listing: str, schema: str) -> None:
    found = profile(release)
    words = {
        "deletes": found.deletes_on_all_nodes,
        "bulk": found.itl_recovery_bulk,
        "signs": found.lists_signed_by_itl_recovery,
        "restarts": found.restarts_phones_on_import,
        "one": found.one_itl_recovery,
        "rest": found.rest,
    }
    assert {word for word, can in words.items() if can} == able
    assert found.certificate_listing == listing
    assert found.axl_schema == schema


@pytest.mark.parametrize(
    ("release", "written"),
    [("11.5", "11.5.1.10000-6"), ("14", "14.0.1.10000-20"), ("12.5.1.11900-146", "12.5.1.11900-146"), ("13", "13")],
)
def test_a_release_named_in_short_is_written_as_a_build(release: str, written: str) -> None:
    assert profile(release).release == written


@pytest.mark.parametrize("release", ["8.5", "9.1", "10.0", "10.5", "11.0", "11.5", "12.0", "12.5", "14"])
def test_every_schema_that_is_named_exists(release: str) -> None:
    try:
        schemas = resources.files("ciscoaxl") / "schema"
    except ModuleNotFoundError:
        pytest.skip("the package ciscoaxl is not installed")
    assert (schemas / profile(release).axl_schema).is_dir()
