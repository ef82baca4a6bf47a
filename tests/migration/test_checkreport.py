"""The page of a check: whole, alone, escaped, and in the check's own words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.cli.test_check import FOUND, GAPS, WHOLE
from tests.migration.test_proofreport import read, words

from trustbridge import __version__
from trustbridge.migration.check import Checked
from trustbridge.migration.checkreport import as_html
from trustbridge.migration.findings import Severity, finding

CASES = [
    (WHOLE, "no"),
    (replace(WHOLE, findings=FOUND[2:], phones=None), "unknown"),
    (replace(WHOLE, findings=(), unknowns=GAPS[1:], emcc=True), "yes"),
    (replace(WHOLE, findings=(), unknowns=()), "yes"),
]


@pytest.mark.parametrize(("checked", "state"), CASES)
def test_everything_is_on_the_page_and_unchanged(checked: Checked, state: str) -> None:
    page = as_html(checked)
    markup = read(page)
    text = words(markup.text)
    said = [checked.sentence, __version__, "2026-11-24 12:00:00 UTC", checked.source, checked.destination]
    for one in checked.findings:
        said += [one.id, one.subject, one.title, one.evidence, one.consequence, one.remedy]
    for gap in checked.unknowns:
        said += [gap.where, gap.what, gap.why]
    assert not [one for one in said if words(one) not in text]
    assert ("section", f"banner is-{state}") in [(tag, found.get("class")) for tag, found in markup.seen]
    assert f"What stops it: {len(checked.of(Severity.STOP)) or 'none'}" in text


def test_it_loads_nothing() -> None:
    markup = read(as_html(WHOLE))
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in markup.seen}
    assert not [found for _, found in markup.seen if "src" in found or "href" in found]


def test_what_others_wrote_is_text() -> None:
    evil = "<script>alert(1)</script>"
    page = as_html(replace(WHOLE, source=evil, findings=(finding("TB101", Severity.STOP, evil, evil),)))
    assert "<script" not in page
    assert evil in read(page).text
