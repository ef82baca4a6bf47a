"""Every finding has a page, and the pages tell no others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from trustbridge.migration.findings import KINDS, Severity, finding, worst_first

ROOT = Path(__file__).parent.parent.parent
PAGES = ROOT / "docs" / "findings"
INDEX = (ROOT / "docs" / "findings.md").read_text("utf-8")
#: Ids of the failure modes that are known of.
KNOWN = (
    *(f"TB{number}" for number in range(101, 116)),
    *(f"TB{number}" for number in range(120, 125)),
    *(f"TB{number}" for number in range(130, 134)),
    *(f"TB{number}" for number in range(140, 156)),
    *(f"TB{number}" for number in range(160, 163)),
    *(f"TB{number}" for number in range(170, 172)),
)
HEADS = ("Symptom", "Cause", "How it is seen", "Remedy", "Source", "Raised by")


@pytest.mark.parametrize("kind", KINDS)
def test_every_id_has_a_page_under_its_title(kind: str) -> None:
    page = (PAGES / f"{kind}.md").read_text("utf-8")
    title, *_ = page.splitlines()
    assert title == f"# {kind}: {KINDS[kind].title}"
    parts = re.findall(r"^\*\*(.+?)\.\*\* (?=\S)", page, re.MULTILINE)
    assert tuple(parts) == HEADS
    assert f"| [{kind}](findings/{kind}.md) | {KINDS[kind].title} |" in INDEX


def test_no_page_is_about_another_id() -> None:
    assert sorted(page.stem for page in PAGES.iterdir()) == sorted(KINDS)
    assert set(re.findall(r"\(findings/(TB\d+)\.md\)", INDEX)) == set(KINDS)


def test_ids_stand_in_order_and_none_that_is_known_is_dropped() -> None:
    assert list(KINDS) == sorted(KINDS)
    assert set(KINDS) == set(KNOWN)


def test_what_is_said_to_be_raised_is_raised_somewhere() -> None:
    modules = [path for path in (ROOT / "src/trustbridge/migration").glob("*.py") if path.name != "findings.py"]
    raised = set(re.findall(r'"(TB\d+)"', "".join(path.read_text("utf-8") for path in modules)))
    assert raised == set(KINDS)
    assert "nobody" not in "".join(re.findall(r"\*\*Raised by.*", "".join(map(_page, KINDS))))


def _page(kind: str) -> str:
    return (PAGES / f"{kind}.md").read_text("utf-8")


def test_a_finding_has_its_kinds_words_where_nothing_more_exact_is_known() -> None:
    one = finding("TB101", Severity.STOP, "old", "seen")
    assert (one.title, one.consequence) == (KINDS["TB101"].title, KINDS["TB101"].consequence)
    exact = finding("TB101", Severity.NOTE, "old", "seen", consequence="this", remedy="that")
    assert (exact.consequence, exact.remedy) == ("this", "that")
    assert worst_first([exact, one, exact]) == (one, exact)
    assert one.as_json()["title"] == one.title
    with pytest.raises(KeyError):
        finding("TB999", Severity.STOP, "old", "seen")
