"""The console's pages with 60,000 phones in the database while a campaign runs: medians and 95th percentiles.

One server on loopback, as `trustbridge serve` starts it, and one browser's requests one after the other. Meanwhile
another process does to the database what a campaign's worker does: it changes phones in bulk and adds to the journal,
several hundred a second; and the page of the campaign stands open and refreshes itself. Each page is asked for once
before, so that what is read once a start (templates, catalogues, the journal of before) is not counted.

Limit: 100 ms at the 95th percentile for each page. Peer: none that shows the same.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from sqlalchemy import insert, select, update
from tests.console.desks import CHEAP, PASSWORD
from tests.console.manyphones import fill, name_of

from trustbridge.console.desk import Desk
from trustbridge.console.server import serve
from trustbridge.storage.campaignwork import CampaignWork
from trustbridge.storage.database import open_database, upgrade_to_head
from trustbridge.storage.models import CampaignPhone, JournalEntry, Kind
from trustbridge.storage.people import Role

LIMIT = 0.100
PHONE = name_of(1234)
PAGES = (
    "/",
    "/campaigns",
    "/campaigns/large",
    "/campaigns/large/phones",
    "/campaigns/large/phones?page=1100",
    "/campaigns/large/phones?kind=failed&sort=since&down=yes",
    "/campaigns/large/phones?sort=state",
    "/campaigns/large/phones?text=0c00ea5",
    "/campaigns/large/phones?text=vouches",
    f"/campaigns/large/phones/{PHONE}",
    f"/phones/{PHONE}",
    "/campaigns/large/waves",
    "/campaigns/large/journal",
    "/audit",
    "/jobs",
    "/api/v1/campaigns/large/phones?state=moved&limit=100",
)


def _campaign(url: str, folder: str, stop: multiprocessing.synchronize.Event) -> None:
    """What a worker does to the database: changes of a hundred phones at a time, with the journal, five a second."""
    work = CampaignWork(open_database(url, Path(folder)), "worker:2:ef01")
    number = 0
    while not stop.wait(0.2):
        number += 1
        now = datetime.now(UTC)
        after, kind = (("gone from origin", Kind.UNDER_WAY), ("moved", Kind.DONE))[number % 2]
        with work.writing() as session:
            held = select(CampaignPhone.id, CampaignPhone.name, CampaignPhone.state).where(
                CampaignPhone.campaign_id == 1, CampaignPhone.kind == Kind.HELD
            )
            found = session.execute(held.limit(100)).all()
            changes = [
                {"id": one.id, "state": after, "kind": kind, "since": now, "step": 6, "reason": "it is its turn"}
                for one in found
            ]
            session.execute(update(CampaignPhone), changes)
            session.execute(
                insert(JournalEntry),
                [
                    {
                        "campaign_id": 1,
                        "at": now,
                        "by": work.by,
                        "event": "state",
                        "wave": None,
                        "phone": one.name,
                        "step": 6,
                        "before": one.state,
                        "after": after,
                        "reason": "it is its turn",
                        "evidence": [],
                    }
                    for one in found
                ],
            )


def main(arguments: list[str]) -> int:
    """Measure; 1 when a page is slower than the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--phones", type=int, default=60_000)
    parser.add_argument("--requests", type=int, default=60, help="of each page")
    parser.add_argument("--url", default="", help="an empty PostgreSQL database; else SQLite")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        return _measure(chosen.url, Path(folder), chosen.phones, chosen.requests)


def _measure(url: str, folder: Path, phones: int, requests: int) -> int:
    engine = open_database(url, folder)
    upgrade_to_head(engine)
    fill(engine, datetime.now(UTC) - timedelta(minutes=1), count=phones, size=200, turn=phones // 400)
    desk = Desk(engine, folder, hashing=CHEAP, work=False)
    desk.accounts.add("viewer", Role.VIEWER, PASSWORD)
    ready: list[str] = []
    address = threading.Event()

    def listening(where: str) -> None:
        ready.append(where)
        address.set()

    more = {"listening": listening}
    threading.Thread(target=serve, args=(desk, "127.0.0.1", 0, None), kwargs=more, daemon=True).start()
    address.wait(30)
    stop = multiprocessing.get_context("spawn").Event()
    worker = multiprocessing.get_context("spawn").Process(target=_campaign, args=(url, str(folder), stop), daemon=True)
    with httpx.Client(base_url=ready[0], timeout=60, follow_redirects=True) as browser:
        _sign_in(browser)
        following = threading.Thread(target=_follow, args=(ready[0], dict(browser.cookies)), daemon=True)
        following.start()
        worker.start()
        for path in PAGES:
            browser.get(path)
        while "over-time" not in browser.get("/campaigns/large").text:  # the journal of before is read once
            time.sleep(1)
        slow = 0
        print(f"{phones:,} phones on {engine.dialect.name}; {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
        print(f"{'page':60} {'median':>9} {'95 %':>9}   limit {LIMIT * 1000:.0f} ms")
        for path in PAGES:
            took = sorted(_once(browser, path) for _ in range(requests))
            ninetyfifth = took[max(0, -(-len(took) * 95 // 100) - 1)]
            slow += ninetyfifth > LIMIT
            mark = "  too slow" if ninetyfifth > LIMIT else ""
            print(f"{path:60} {statistics.median(took) * 1000:6.1f} ms {ninetyfifth * 1000:6.1f} ms{mark}", flush=True)
    stop.set()
    worker.join(10)
    return min(slow, 1)


def _sign_in(browser: httpx.Client) -> None:
    import re

    token = re.search(r'name="csrf" value="([^"]+)"', browser.get("/login").text)
    assert token is not None
    form = {"csrf": token[1], "name": "viewer", "password": PASSWORD}
    assert "viewer" in browser.post("/login", data=form, headers={"Sec-Fetch-Site": "same-origin"}).text


def _follow(url: str, cookies: dict[str, str]) -> None:
    """The campaign's page, open in another window."""
    with (
        httpx.Client(base_url=url, cookies=cookies, timeout=None) as window,
        window.stream("GET", "/live/campaign?of=large") as stream,
    ):
        for _ in stream.iter_raw():
            pass


def _once(browser: httpx.Client, path: str) -> float:
    begun = time.perf_counter()
    answer = browser.get(path)
    took = time.perf_counter() - begun
    assert answer.status_code == 200, (path, answer.status_code)
    return took


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
