"""The table of 60,000 phones: filtered, sorted and paged by the database, in few statements."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, event
from tests.console.desks import CHEAP, HERE, PASSWORD, Browser, Clock
from tests.console.manyphones import fill, name_of, state_of
from tests.storage.databases import with_tables

from trustbridge.console.app import create_app
from trustbridge.console.campaignlook import looks
from trustbridge.console.desk import Desk
from trustbridge.migration.reportvalues import Group
from trustbridge.storage.models import CampaignState, Kind
from trustbridge.storage.people import Role

COUNT, SIZE, TURN = 60_000, 200, 150
ROWS = re.compile(r'<th scope="row"><a href="/campaigns/large/phones/(SEP[0-9A-F]{12})">')


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """On SQLite: `tests/storage` looks at both databases, with fewer phones."""
    folder = tmp_path_factory.mktemp("large")
    made = with_tables(f"sqlite:///{folder / 'large.db'}", folder)
    fill(made, Clock().at, count=COUNT, size=SIZE, turn=TURN, journal=False)
    yield made
    made.dispose()


@pytest.fixture(scope="module")
def desk(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    made = Desk(engine, tmp_path_factory.mktemp("desk"), now=Clock(), hashing=CHEAP, work=False)
    made.accounts.add("viewer", Role.VIEWER, PASSWORD)
    return made


@pytest.fixture(scope="module")
def browser(desk: Desk) -> Iterator[Browser]:
    with Browser(create_app(desk), HERE) as found:
        assert found.sign_in("viewer").status_code == 303
        yield found


@contextmanager
def statements(engine: Engine) -> Iterator[list[str]]:
    said: list[str] = []

    def heard(connection: object, cursor: object, statement: str, *rest: object) -> None:
        said.append(statement)

    event.listen(engine, "before_cursor_execute", heard)
    yield said
    event.remove(engine, "before_cursor_execute", heard)


def became(kind: Kind) -> list[int]:
    return [number for number in range(COUNT) if state_of(number, number // SIZE, TURN)[1] is kind]


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("", list(range(COUNT))),
        ("page=2", list(range(COUNT))[50:]),
        ("page=1200", list(range(COUNT))[-50:]),
        ("page=99999", []),
        ("down=yes", list(range(COUNT))[::-1]),
        ("kind=failed", became(Kind.FAILED)),
        ("kind=failed&page=3", became(Kind.FAILED)[100:]),
        ("state=skipped", became(Kind.SKIPPED)),
        ("wave=wave-7", list(range(7 * SIZE, 8 * SIZE))),
        ("wave=nowhere", []),
        ("predicted=strands", list(range(2, COUNT, 4))),
        ("text=c0000ea5", [number for number in range(COUNT) if "C0000EA5" in name_of(number)]),
        ("text=vouches+for+the+signer", became(Kind.FAILED)),
        ("text=site-39", list(range(39, COUNT, 40))),
        ("text=%25", []),
        ("kind=failed&wave=wave-2&predicted=moves", [n for n in became(Kind.FAILED) if 400 <= n < 600 and n % 4 < 2]),
        ("sort=state&state=planned", list(range((TURN + 1) * SIZE, COUNT))),
        ("sort=nonsense&kind=nonsense", list(range(COUNT))),
    ],
)
def test_what_is_asked_for_is_shown(browser: Browser, query: str, numbers: list[int]) -> None:
    shown = ROWS.findall(browser.get(f"/campaigns/large/phones?{query}").text)
    assert shown == [name_of(number) for number in numbers[:50]]


def test_sorted_by_time_the_newest_are_first(browser: Browser) -> None:
    shown = ROWS.findall(browser.get("/campaigns/large/phones?sort=since&down=yes").text)
    last = max(range(COUNT), key=lambda number: (number // SIZE, number % SIZE))
    assert shown[0] == name_of(last)


def test_numbers_are_those_of_all_pages(browser: Browser) -> None:
    html = browser.get("/campaigns/large/phones?kind=failed&page=2").text
    total = len(became(Kind.FAILED))
    assert f"{total} phones" in html
    assert f"51 to 100 of {total}" in html
    assert 'href="?kind=failed&amp;page=3"' in html
    assert 'href="?kind=failed"' in html


def test_a_page_takes_few_statements_however_many_phones_there_are(browser: Browser, engine: Engine) -> None:
    assert "Nothing was done with it yet" in browser.get(f"/campaigns/large/phones/{name_of(COUNT - 1)}").text
    for path, most in (("phones", 12), ("phones?text=c0000ea5&sort=since", 12), (f"phones/{name_of(7)}", 12), ("", 20)):
        browser.get(f"/campaigns/large/{path}".rstrip("/"))
        with statements(engine) as said:
            assert browser.get(f"/campaigns/large/{path}".rstrip("/")).status_code == 200
        assert len(said) <= most, said


PAGES = (
    "/campaigns",
    "/campaigns/large",
    "/campaigns/large/waves",
    "/campaigns/large/journal",
    "/campaigns/large/start",
    "/campaigns/large/retry",
    "/campaigns/large/rollback?wave=pilot",
    "/campaigns/large/phones?kind=failed",
    f"/campaigns/large/phones/{name_of(0)}",
    f"/phones/{name_of(0)}",
    "/phones",
    "/check",
    "/check/source/destination",
    "/predict",
    "/predict/source/destination",
    "/findings",
    "/findings/TB101",
)


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_whole(browser: Browser, path: str, language: str) -> None:
    answer = browser.get(path, headers={"Accept-Language": language})
    assert answer.status_code == 200, answer.text
    assert f'<html lang="{language}">' in answer.text
    assert not re.search(r"<script(?![^>]* src=)|<style| style=| on[a-z]+=", answer.text)


def test_what_is_not_there_is_said(browser: Browser) -> None:
    for path in ("nobody", "nobody/phones", "large/phones/SEP000000000000", "plans/77", "large/rollback/77"):
        assert browser.get(f"/campaigns/{path}").status_code == 404
    assert browser.get("/findings/TB999").status_code == 404
    assert browser.get("/phones/nobody").status_code == 422


def test_htmx_gets_the_table_alone(browser: Browser) -> None:
    part = browser.get("/campaigns/large/phones?kind=failed", headers={"HX-Request": "true", "HX-Target": "phones"})
    assert ROWS.findall(part.text)
    assert "<html" not in part.text
    assert "<form" not in part.text


def test_counters_and_failures(browser: Browser) -> None:
    html = browser.get("/campaigns/large").text
    failed = len(became(Kind.FAILED))
    assert f"<strong>{failed}</strong> failed" in html
    assert f"and {failed - 5} more" in html
    assert 'href="/findings/TB101"' in html


def test_the_curve_follows_the_journal(tmp_path: Path) -> None:
    made = with_tables(f"sqlite:///{tmp_path / 'small.db'}", tmp_path)
    fill(made, Clock().at, count=400, size=20, turn=10)
    desk = Desk(made, tmp_path, now=Clock(), hashing=CHEAP, work=False)
    campaign = desk.campaigns.get("large")
    seen = looks(desk).seen(campaign, desk.workers.of("large"), desk.now())
    assert seen.curve is not None
    assert campaign.state is CampaignState.RUNNING
    last = dict(zip(Group, seen.curve[-1].counts, strict=True))
    assert {group: count for group, count in last.items() if count} == seen.groups
    assert dict(zip(Group, seen.curve[0].counts, strict=True))[Group.HELD] == 400
    assert all(sum(point.counts) == 400 for point in seen.curve)
    # What comes to the journal later, is drawn later: nothing is read twice.
    with statements(made) as said:
        again = looks(desk).seen(campaign, desk.workers.of("large"), desk.now())
    assert again == seen
    assert sum("journal" in one for one in said) <= 4
    made.dispose()


def test_charts_are_in_the_readers_language_and_zone(browser: Browser) -> None:
    def chart(language: str, zone: str) -> str:
        browser.cookies.set("tb_zone", zone)
        html: str = browser.get("/campaigns/large", headers={"Accept-Language": language}).text
        return html[html.index("waves-chart-title") :]

    english, french = chart("en", "UTC"), chart("fr", "Asia/Tokyo")
    browser.cookies.delete("tb_zone")
    assert ">Sun 1 Mar<" in english
    assert ">dim. 1 mars<" in french
    assert ">11:50<" in english
    assert ">20:50<" in french


def test_what_no_database_looks_for_is_not_there(browser: Browser) -> None:
    for path in ("/campaigns/a%00b", "/campaigns/large/phones/SEP%00", "/check/a%00/b", "/predict/a%00/b"):
        assert browser.get(path).status_code in (200, 404)
    assert browser.get("/campaigns/large/phones?text=%00&wave=%00").status_code == 200
