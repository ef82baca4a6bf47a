"""A report as page, CSV and JSON: whole, alone, escaped, no formula; and of use when there are too many phones."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.migration.reportstage import EVIL, Stage, told, whole
from tests.migration.test_proofreport import Markup, words

from trustbridge import __version__
from trustbridge.migration import reportpage, spreadsheet
from trustbridge.migration.campaignwindows import Window
from trustbridge.migration.reportpage import as_html
from trustbridge.migration.reportvalues import Group, Report
from trustbridge.migration.reportviews import as_csv, as_json

__all__ = ["told", "whole"]


def read(page: str) -> Markup:
    markup = Markup()
    markup.feed(page)
    assert not markup.open
    return markup


def test_everything_is_on_the_page(told: Report) -> None:
    text = words(read(as_html(told)).text)
    said = [told.sentence, __version__, "2026-03-01 12:00:00", "release 12.5.1: src-pub, src-sub"]
    for cause in (*told.failures, *told.skips):
        said += [cause.reason, cause.advice.replace("`", "")]
        said += [part for phone in cause.phones for part in (phone.record.name, *phone.record.evidence)]
    said += [phone.surprise for phone in told.surprises]
    said += [command for one in told.undo for command in one.commands]
    said += [one.note.replace("`", "") for one in told.undo]
    said += [part for entry in told.milestones for part in (entry.reason, *entry.evidence)]
    said += [phone.record.name for phone in told.phones]
    said += ["TB151", "the destination does not know the device", "docs/findings/TB151.md"]
    assert not [one for one in said if words(one) not in text]
    for paces in told.paces:
        assert paces.register is not None
        assert paces.register.slowest in text


def test_the_page_loads_and_runs_nothing(told: Report) -> None:
    page = as_html(told)
    assert "default-src 'none'" in page
    assert not re.search(r"(?i)https?:|<link|<img|<script|@import|\bon[a-z]+=|src=|javascript:", page)
    links = [found["href"] or "" for tag, found in read(page).seen if "href" in found]
    assert links
    assert all(link.startswith("#") for link in links)
    # All that is named by url() is in the page itself.
    assert set(re.findall(r"url\(([^)]*)\)", page)) == {"#shares-hatch", "#over-time-hatch"}


def test_the_page_is_told_to_those_who_do_not_see_it(told: Report) -> None:
    markup = read(as_html(told))
    assert ("html", {"lang": "en"}) in markup.seen
    assert all(found.get("scope") in ("col", "row", "rowgroup") for tag, found in markup.seen if tag == "th")
    identifiers = [found["id"] for _, found in markup.seen if "id" in found]
    assert len(identifiers) == len(set(identifiers))
    known = set(identifiers)
    for _, found in markup.seen:
        assert set((found.get("aria-labelledby") or "").split()) <= known
        assert (found.get("href") or "#phones").removeprefix("#") in known
    drawn = [found for tag, found in markup.seen if tag == "svg"]
    assert all(found.get("role") == "img" or found.get("aria-hidden") == "true" for found in drawn)
    assert sum(found.get("role") == "img" for found in drawn) == 5  # shares, over time, two histograms, waves


def test_what_others_wrote_is_only_text(told: Report) -> None:
    campaign = replace(told.campaign, name=EVIL, source=EVIL, reason=EVIL)
    wave = replace(told.waves[1], record=replace(told.waves[1].record, name=EVIL, windows=(EVIL,), scopes=(EVIL,)))
    cause = replace(told.failures[0], reason=EVIL, advice=f"a `{EVIL}` b", findings=("TB999",))
    entry = replace(told.option150[0], reason=EVIL, evidence=(f"+{EVIL}",), wave=EVIL, by=EVIL)
    page = as_html(
        replace(
            told,
            campaign=campaign,
            waves=(wave,),
            failures=(cause,),
            option150=(entry,),
            milestones=(entry,),
            workers=((EVIL, 1),),
            clusters=(replace(told.clusters[0], name=EVIL, release=EVIL, nodes=(EVIL,)),),
        )
    )
    assert "<script" not in page
    assert EVIL not in page
    assert EVIL in read(page).text
    markup = html.escape(EVIL)
    assert page.count(markup.replace("&quot;", "&#34;").replace("&#x27;", "&#39;")) + page.count(markup) >= 12


def test_too_many_phones_are_not_all_on_the_page(told: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reportpage, "INLINE", 20)
    text = words(read(as_html(told)).text)
    quiet = [
        phone.record.name
        for phone in told.phones
        if phone.group is Group.MOVED
        and not phone.surprise
        and all(phone.record.name not in part for one in told.undo for part in one.commands)
        and all(pace is None or pace.slowest != phone.record.name for one in told.paces for pace in (one.whole,))
        and all(pace.slowest != phone.record.name for one in told.paces for _, pace in (*one.by_model, *one.by_wave))
    ]
    assert len(quiet) > 20
    assert not [name for name in quiet if name in text]
    assert all(phone.record.name in text for cause in told.failures for phone in cause.phones)
    assert "60 phones are too many for a page" in text
    assert "trustbridge report move --csv FILE" in text


def test_a_campaign_that_was_only_planned_has_a_page(tmp_path_factory: pytest.TempPathFactory) -> None:
    stage = Stage(tmp_path_factory.mktemp("planned"))
    text = words(read(as_html(stage.report())).text)
    assert "Nothing has happened to a phone yet." in text
    assert "There is nothing to undo" in text
    assert "The campaign is planned." in text
    stage.engine.dispose()


def test_csv_has_a_line_a_phone_and_no_formula(told: Report) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(told))))
    assert [row["phone"] for row in rows] == [phone.record.name for phone in told.phones]
    first, phone = rows[0], told.phones[0]
    assert first["device pool"] == f"'{EVIL}"
    assert phone.trip.requested is not None
    assert first["reset requested"] == f"{phone.trip.requested:%Y-%m-%d %H:%M:%S}"
    assert float(first["seconds to registration"]) == phone.trip.to_register
    assert first["direction"] == "back"
    assert first["predicted"] == "moves"
    stranded = next(row for row in rows if row["state"] == "stranded at source")
    assert stranded["reason"].startswith("it has restarted")
    assert stranded["evidence"] == "at source"
    assert stranded["differs from prediction"].startswith("predicted: moves; it did not")
    for row in csv.reader(io.StringIO(as_csv(told))):
        assert not [cell for cell in row if cell[:1] in ("=", "+", "-", "@", "\t", "\r", "\n")]


@pytest.mark.parametrize("cell", ["=1", "+1", "-1", "@a", "\t=1", "\r=1", "\n=1"])
def test_a_cell_that_would_be_a_formula_is_text(cell: str) -> None:
    assert spreadsheet.harmless(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", ["", "a=1", " x", "10.1.0.1", "'", "SEP1"])
def test_other_cells_stay_as_they_are(cell: str) -> None:
    assert spreadsheet.harmless(cell) == cell


def test_json_has_everything(whole: Stage, told: Report) -> None:
    journal = whole.campaigns.journal(whole.campaign.id)
    found = json.loads("".join(as_json(told, journal)))
    assert found["sentence"] == told.sentence
    assert found["counts"] == {str(group): count for group, count in told.groups.items()}
    assert [one["name"] for one in found["phones"]] == [phone.record.name for phone in told.phones]
    assert len(found["journal"]) == len(journal)
    assert found["journal"][-1]["at"] == journal[-1].at.isoformat()
    assert [entry["evidence"] for entry in found["journal"]] == [list(entry.evidence) for entry in journal]
    assert found["durations"]["forth"]["to_registration"]["count"] == 53
    assert {one["reason"]: one["count"] for one in found["failures"]} == {
        cause.reason: len(cause.phones) for cause in told.failures
    }
    assert found["changes"]["resets"][0] == {
        "cluster": "source",
        "requested": 58,
        "sent": 57,
        "unsent": 0,
        "refused": 1,
        "doubtful": 0,
    }
    assert [command for one in found["undo"] for command in one["commands"]] == [
        command for one in told.undo for command in one.commands
    ]


def test_json_of_nothing_is_json(told: Report) -> None:
    found = json.loads("".join(as_json(replace(told, phones=()), [])))
    assert (found["phones"], found["journal"]) == ([], [])


def test_windows_are_drawn_where_they_are_open() -> None:
    window = Window.parse("Mon-Fri 22:00-02:00 Europe/Warsaw")
    friday, monday = datetime(2026, 3, 6, 12, tzinfo=UTC), datetime(2026, 3, 9, 22, tzinfo=UTC)
    assert window.spans(friday, monday) == [
        (datetime(2026, 3, 6, 21, tzinfo=UTC), datetime(2026, 3, 7, 1, tzinfo=UTC)),
        (datetime(2026, 3, 9, 21, tzinfo=UTC), monday),
    ]
    within = datetime(2026, 3, 7, 0, tzinfo=UTC)
    assert window.spans(within, within + timedelta(minutes=5)) == [(within, within + timedelta(minutes=5))]
    assert window.spans(within + timedelta(hours=2), within + timedelta(hours=9)) == []
    for begin, _ in window.spans(friday, monday):
        assert window.opens(begin) == begin
