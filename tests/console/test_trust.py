"""Who vouches for whom, over a lab before its exchange and after, and with a TVS that has stopped."""

from __future__ import annotations

import html
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.console.clusterlab import DESTINATION, SOURCE, browsing, desk_in, ended, know, passwords
from tests.console.desks import Browser, SignIn, token_of
from tests.console.test_clusters import keyring
from tests.lab.prepared import TVS, LiveLab, Prepared, lab_definition, lighten, phones
from tests.migration.proofstage import Stage

from trustbridge.console import clusterwork
from trustbridge.console.desk import Desk
from trustbridge.console.trustmatrix import Matrix, state_of
from trustbridge.migration import proofreport
from trustbridge.storage.audit import AuditFilter, Outcome
from trustbridge.storage.people import Role

__all__ = ["keyring"]

KEY = f"{SOURCE}+{DESTINATION}"


@pytest.fixture
def live(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, keyring: object) -> Iterator[LiveLab]:
    with pytest.MonkeyPatch.context() as patch:
        lighten(patch)
        prepared = Prepared.once(tmp_path_factory)
        with LiveLab(prepared.lab(tmp_path / "lab", lab_definition(phones(1)))) as live:
            yield live


def answers(page: str) -> dict[str, list[str]]:
    """By node: what its cells say."""
    found: dict[str, list[str]] = {}
    for table in re.findall(r'<div class="scroll tall matrix.*?</table>', page, re.DOTALL):
        for row in re.findall(r'<tr><th scope="row" title="([^"]+)">(.*?)</tr>', table, re.DOTALL):
            cells = re.findall(r"<td><a class=\"answer (\w+)\".*?>(.*?)</a>", row[1], re.DOTALL)
            found[row[0]] = [f"{verdict}: {' '.join(re.sub('<[^>]*>', ' ', text).split())}" for verdict, text in cells]
    return found


def ask(desk: Desk, browser: Browser) -> str:
    """Ask again, and give the page."""
    browser.sees("/trust")
    values = {"clusters": [SOURCE, DESTINATION]}
    answer = browser.send_form("/trust", values)  # type: ignore[arg-type]
    assert answer.status_code == 303, answer.text
    assert answer.headers["location"] == f"/trust/{KEY}"
    job = ended(desk, clusterwork.TRUST, KEY)
    assert job.state == "done", job.error
    page = browser.get(f"/trust/{KEY}")
    assert page.status_code == 200
    return html.unescape(page.text)


def test_the_matrix_is_red_before_the_exchange_green_after_it_and_unknown_where_nobody_answers(
    live: LiveLab, tmp_path: Path
) -> None:
    with desk_in(tmp_path / "state") as desk, browsing(desk) as browsers:
        know(desk, live)
        operator, viewer = browsers[Role.OPERATOR], browsers[Role.VIEWER]
        before = ask(desk, operator)
        assert desk.audit.entries(AuditFilter())[0].action == "trust.ask"
        red = answers(before)
        assert set(red) == {"src-pub", "src-sub1", "dst-pub", "dst-sub1"}
        assert {cell for cells in red.values() for cell in cells} == {"no: ✕ refused TB101"}
        assert "TB170" in before

        # Each cell explains itself: as a page, and as what a dialogue shows.
        link = html.unescape(re.findall(r'data-dialog="cell" href="([^"]+)"', viewer.get(f"/trust/{KEY}").text)[0])
        for headers in ({}, {"HX-Request": "true"}):
            answer = viewer.get(link, headers=headers)
            assert answer.status_code == 200
            said = html.unescape(answer.text)
            for words in ("it answers: not valid", "SEP000000000000", "TB101", "trustbridge exchange run", "CN="):
                assert words in said
            assert ("<html" in said) is not bool(headers)
        assert viewer.get(link.replace("node=", "node=x")).status_code == 404
        assert "Ask again" not in viewer.get(f"/trust/{KEY}").text
        viewer.sees("/trust")
        assert viewer.send_form("/trust", {"clusters": SOURCE}).status_code == 403
        assert desk.audit.entries(AuditFilter())[0].outcome is Outcome.REFUSED

        live.exchange()
        green = answers(ask(desk, operator))
        assert {cell for cells in green.values() for cell in cells} == {"yes: ✓ vouched"}
        assert "proven" in operator.sees("/trust")

        live.stop_service("dst-sub1", TVS)
        page = ask(desk, operator)
        found = answers(page)
        assert set(found["dst-pub"]) == {"yes: ✓ vouched"}
        assert set(found["dst-sub1"]) == {"unknown: ? unknown TB111"}
        link = html.unescape(next(one for one in re.findall(r'href="([^"]+)"', page) if "node=dst-sub1" in one))
        assert "no answer" in viewer.get(link).text

        report = viewer.get(f"/trust/{KEY}/report.html")
        assert report.headers["content-disposition"].startswith('attachment; filename="trust-source+destination-')
        assert "<style" in report.text
        value = viewer.get(f"/trust/{KEY}/report.json").json()
        headers = {"Authorization": f"Bearer {token_of(desk, Role.OPERATOR)}"}
        assert viewer.get(f"/api/v1/trust/{KEY}", headers=headers).json() == value
        (asked,) = viewer.get("/api/v1/trust", headers=headers).json()
        assert (asked["clusters"], asked["holds"], asked["counts"]["unknown"]) == (
            [SOURCE, DESTINATION],
            None,
            len(found["dst-sub1"]),
        )
        begun = viewer.post("/api/v1/trust", json={"clusters": [SOURCE, DESTINATION], "quick": True}, headers=headers)
        assert begun.status_code == 202, begun.text
        assert ended(desk, clusterwork.TRUST, KEY).id == begun.json()["id"]
        assert [one.name for one in desk.campaigns.clusters()] == [DESTINATION, SOURCE]

        for path in clusterwork.proofs(desk).folder.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert not [one for one in passwords(live) if one in path.read_text()]


def test_questions_that_can_not_be_asked_are_refused(desk: Desk, signed_in: SignIn) -> None:
    browser = signed_in(Role.OPERATOR)
    assert "It takes two clusters" in browser.sees("/trust")
    for clusters in ([], ["source"], ["source", "nobody"]):
        assert browser.send_form("/trust", {"clusters": clusters}).status_code == 422  # type: ignore[dict-item]
    for path in ("/trust/a+b", "/trust/a+b/cell", "/trust/a+b/report.html", "/trust/a+b/report.json"):
        assert browser.get(path).status_code == 404


def test_a_cell_tells_what_is_about_it_alone() -> None:
    value = proofreport.as_json(Stage.strangers().proof())
    matrix = Matrix("old+new", value)
    for direction in matrix.directions:
        for node, cells in direction.rows:
            for cell, _state in cells:
                found = matrix.explained(direction.asking, direction.vouched, node, cell["signer"])
                assert found is not None
                assert {one["id"] for one in found.findings} <= set(cell["findings"])
                others = [one["id"] for one in direction.signers if one["id"] != cell["signer"]]
                assert not [one for one in found.findings for other in others if other in one["evidence"]]
    assert matrix.explained("old", "old", "x", "y") is None


@pytest.mark.parametrize(
    ("cell", "state"),
    [
        ({"verdict": "yes", "roles": ["SAST"], "returned_sha256": "ab"}, "vouched"),
        ({"verdict": "unknown", "roles": [], "returned_sha256": None}, "unknown"),
        ({"verdict": "no", "roles": [], "returned_sha256": None}, "refused"),
        # The TVS says yes, and phones still do not trust it: its own certificate is in no ITL, say.
        ({"verdict": "no", "roles": ["SAST"], "returned_sha256": "ab"}, "vouched, not trusted"),
    ],
)
def test_a_no_is_told_from_a_yes_that_helps_nobody(cell: dict[str, object], state: str) -> None:
    assert state_of(cell) == state
