"""Bulk Certificate Management by its pages, on a lab: the vendor's whole procedure, and what keeps it from working."""

from __future__ import annotations

import html
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.console.clusterlab import browsing, desk_in, know, passwords
from tests.console.desks import Browser, SignIn, token_of
from tests.lab.prepared import LiveLab, Prepared, lab_definition, lighten, phones

from trustbridge.console import bulk
from trustbridge.console.bulk import BulkDesk, key_of
from trustbridge.console.desk import Desk
from trustbridge.cucm.access import HOST_KEYS
from trustbridge.cucm.model import BulkLine
from trustbridge.migration.bulkcourse import Course, ResultLine
from trustbridge.pki.units import Unit
from trustbridge.storage.audit import AuditFilter, Outcome
from trustbridge.storage.jobs import JobRecord
from trustbridge.storage.models import JobState
from trustbridge.storage.people import Role

STORES = ("CallManager-trust", "Phone-SAST-trust", "tomcat-trust")
BOTH = ["source", "destination"]
#: Longest that a job may take, seconds.
PATIENCE = 60.0


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared.once(tmp_path_factory)


@pytest.fixture(autouse=True)
def _light(monkeypatch: pytest.MonkeyPatch) -> None:
    lighten(monkeypatch)


@pytest.fixture
def live(prepared: Prepared, tmp_path: Path) -> Iterator[LiveLab]:
    definition = lab_definition(phones(1), source={"release": "12.5"}, destination={"release": "15"})
    with LiveLab(prepared.lab(tmp_path / "lab", definition)) as live:
        yield live


@pytest.fixture
def at(live: LiveLab, tmp_path: Path) -> Iterator[Desk]:
    with desk_in(tmp_path / "state") as desk:
        know(desk, live)
        yield desk


@pytest.fixture
def people(at: Desk) -> Iterator[dict[Role, Browser]]:
    with browsing(at) as people:
        for browser in people.values():
            browser.sees("/bulk")
        yield people


def settings_of(live: LiveLab) -> dict[str, Any]:
    found = live.lab.sftp_settings()
    return {
        "host": found.host,
        "port": str(found.port),
        "username": found.username,
        "password": found.password or "",
        "directory": found.directory,
    }


def ended(desk: Desk, cluster: str) -> JobRecord:
    """The newest job of a cluster, when it has come to its end."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        job = desk.jobs.table.of_key(key_of(cluster))
        if job is not None and not job.running:
            return job
        time.sleep(0.02)
    raise AssertionError(f"nothing of {cluster} came to its end")


def done(desk: Desk, *clusters: str) -> None:
    for cluster in clusters:
        job = ended(desk, cluster)
        assert job.state is JobState.DONE, (job.error, job.hint)


def fingerprint_in(page: str) -> str:
    found = re.search(r'name="fingerprint" value="([^"]+)"', page)
    assert found is not None, page
    return html.unescape(found[1])


def set_up(desk: Desk, browser: Browser, live: LiveLab) -> None:
    """The settings saved and told, the host key confirmed."""
    answer = browser.send_form("/bulk/server", settings_of(live) | {"clusters": BOTH})
    assert answer.status_code == 303, answer.text
    done(desk, *BOTH)
    first = browser.send_form("/bulk/server/test")
    assert browser.send_form("/bulk/server/test", {"fingerprint": fingerprint_in(first.text)}).status_code == 200


def act(desk: Desk, browser: Browser, action: str, *clusters: str, **more: str) -> None:
    values: dict[str, Any] = {"clusters": list(clusters), "type": "all"} | more
    answer = browser.send_form(f"/bulk/{action}", values)
    assert answer.status_code == 303, answer.text
    done(desk, *clusters)


def offered(page: str) -> set[str]:
    """The actions that a page offers."""
    return set(re.findall(r'data-dialog="ask-(\w+)"', page))


def test_the_whole_procedure_by_its_pages(live: LiveLab, at: Desk, people: dict[Role, Browser]) -> None:
    operator, viewer = people[Role.OPERATOR], people[Role.VIEWER]
    live.boot()
    page = operator.sees("/bulk")
    assert "no SFTP server is set" in page
    assert offered(page) == set()

    # Settings, saved and told; the host key is shown, and pinned only when somebody has confirmed it.
    answer = operator.send_form("/bulk/server", settings_of(live) | {"clusters": BOTH})
    assert (answer.status_code, answer.headers["location"]) == (303, "/bulk")
    done(at, *BOTH)
    pins = at.state / HOST_KEYS
    server = live.lab.sftp_settings()
    tested = operator.send_form("/bulk/server/test")
    assert tested.status_code == 409
    pinned_by_sftp = f"[{server.host}]:{server.port}"
    assert pinned_by_sftp not in pins.read_text()
    tested = operator.send_form("/bulk/server/test", {"fingerprint": fingerprint_in(tested.text)})
    assert tested.status_code == 200
    assert "does all that publishers need" in tested.text
    assert pinned_by_sftp in pins.read_text()
    page = operator.sees("/bulk")
    assert "has these settings since" in page
    assert "No file lies there" in page
    assert offered(page) == {"export"}
    assert "no cluster has exported anything" in page

    # Export on both, destination first, as the vendor has it.
    act(at, operator, "export", "destination")
    page = operator.sees("/bulk")
    assert offered(page) == {"export"}
    assert "only destination has exported anything" in page
    act(at, operator, "export", "source")
    page = viewer.sees("/bulk")
    assert "source_src-pub_tftp.p12" in page
    assert "destination_dst-sub1_tomcat.p12" in page
    subject = live.destination.identities[("dst-pub", Unit.CALLMANAGER)].certificate
    assert html.escape(subject.subject) in page
    assert f"{subject.serial:x}" in page
    assert offered(page) == set()
    filtered = viewer.sees("/bulk?cluster=source&type=tftp")
    assert "source_src-pub_tftp.p12" in filtered
    assert "destination_dst-pub_tftp.p12" not in filtered.partition('id="files"')[2].partition("</table>")[0]
    assert offered(operator.sees("/bulk")) == {"export", "consolidate"}

    # Consolidate on one; then import on both, and TVS vouches.
    act(at, operator, "consolidate", "source")
    page = operator.sees("/bulk")
    assert "consolidated_itlrecovery.p12" in page
    assert offered(page) == {"export", "consolidate", "import"}
    refused = operator.send_form("/bulk/import", {"clusters": "source", "type": "all"})
    assert refused.status_code == 409
    assert "TB145" in refused.text
    act(at, operator, "import", "destination", restart="yes")
    act(at, operator, "import", "source", restart="yes")
    lines = ended(at, "source").result["lines"]
    assert {(line["node"], line["place"]) for line in lines} == {
        (node, store) for node in ("src-pub", "src-sub1") for store in STORES
    }
    assert all(line["good"] and line["came"] and not line["missing"] for line in lines)
    live.point_at("destination")
    (outcome,) = live.boot()
    assert outcome.refusal is None, outcome.reason
    assert live.call(live.whereabouts) == ["destination"]
    # Again: all is there, and nothing comes.
    act(at, operator, "import", "source", restart="yes")
    assert {(line["came"], line["missing"]) for line in ended(at, "source").result["lines"]} == {(0, 0)}

    entries = at.audit.entries(AuditFilter())
    assert {one.action for one in entries} >= {
        "bulk.settings",
        "bulk.test",
        "bulk.export",
        "bulk.consolidate",
        "bulk.import",
    }
    secrets = [*passwords(live), live.lab.sftp_password]
    everything = page + filtered + repr(entries) + repr([one.result for one in at.jobs.table.all()])
    everything += (at.state / "bulk.json").read_text()
    assert not [secret for secret in secrets if secret in everything]
    assert (at.state / "bulk.json").stat().st_mode & 0o777 == 0o600


def test_an_older_release_leaves_itlrecovery_out_and_that_is_said(prepared: Prepared, tmp_path: Path) -> None:
    """11.5 does not know it in bulk: its consolidation has none, and importing all of it would stop at it."""
    with (
        LiveLab(prepared.lab(tmp_path / "lab", lab_definition(phones(1)))) as live,
        desk_in(tmp_path / "state") as desk,
    ):
        know(desk, live)
        with browsing(desk) as people:
            operator = people[Role.OPERATOR]
            operator.sees("/bulk")
            set_up(desk, operator, live)
            act(desk, operator, "export", *BOTH)
            act(desk, operator, "consolidate", "source")
            page = operator.sees("/bulk")
            assert offered(page) == {"export", "consolidate", "import"}
            assert "itlrecovery is left out: only one cluster has exported it" in page
            act(desk, operator, "import", *BOTH, restart="yes")
            for cluster, why in (("destination", "not consolidated"), ("source", "does not import it in bulk")):
                lines = ended(desk, cluster).result["lines"]
                (left_out,) = [line for line in lines if line["place"] == "itlrecovery"]
                assert left_out["good"] is None
                assert why in left_out["text"]
                assert "TB104" in left_out["text"]
                assert all(line["good"] for line in lines if line is not left_out)


def test_a_viewer_looks_and_does_nothing(live: LiveLab, at: Desk, people: dict[Role, Browser]) -> None:
    set_up(at, people[Role.OPERATOR], live)
    viewer = people[Role.VIEWER]
    page = viewer.sees("/bulk")
    assert "need the role operator" in page
    assert 'name="password"' not in page
    for path in ("/bulk/server", "/bulk/server/test", "/bulk/export", "/bulk/exchange/plan", "/bulk/exchange/verify"):
        answer = viewer.send_form(path, settings_of(live) | {"clusters": "source"})
        assert answer.status_code == 403, path
    assert viewer.get("/bulk/export").status_code == 403
    assert people[Role.OPERATOR].send_form("/bulk/server/forget").status_code == 403
    assert {one.outcome for one in at.audit.entries(AuditFilter())[:6]} == {Outcome.REFUSED}
    assert not (live.lab.folder / "sftp" / "files").exists() or not list(live.lab.folder.glob("sftp/**/*.p12"))


def test_a_wrong_password_of_the_server(live: LiveLab, at: Desk, people: dict[Role, Browser]) -> None:
    operator = people[Role.OPERATOR]
    set_up(at, operator, live)
    wrong = settings_of(live) | {"password": "a wrong password"}
    assert operator.send_form("/bulk/server", wrong | {"clusters": BOTH}).status_code == 303
    done(at, *BOTH)
    tested = operator.send_form("/bulk/server/test")
    assert tested.status_code == 424
    assert "does not accept user" in html.unescape(tested.text)
    assert "a wrong password" not in tested.text
    page = operator.sees("/bulk")
    assert offered(page) == set()
    assert "can't work until that is put right" in html.unescape(page)
    # A password is not sent to another server than the one it was given for.
    elsewhere = settings_of(live) | {"password": "", "host": "127.0.0.1"}
    answer = operator.send_form("/bulk/server", elsewhere)
    assert answer.status_code == 422
    assert "is not sent to this one" in answer.text
    # Put right, it works.
    set_up_again = operator.send_form("/bulk/server", settings_of(live) | {"clusters": BOTH})
    assert set_up_again.status_code == 303
    done(at, *BOTH)
    assert operator.send_form("/bulk/server/test").status_code == 200


def test_a_publisher_with_other_settings_says_so(live: LiveLab, at: Desk, people: dict[Role, Browser]) -> None:
    """Nobody told the publisher: its own words are shown, as a failed job."""
    operator = people[Role.OPERATOR]
    assert operator.send_form("/bulk/server", settings_of(live)).status_code == 303
    operator.send_form(
        "/bulk/server/test", {"fingerprint": fingerprint_in(operator.send_form("/bulk/server/test").text)}
    )
    assert operator.send_form("/bulk/export", {"clusters": "source", "type": "all"}).status_code == 303
    job = ended(at, "source")
    assert job.state is JobState.FAILED
    assert job.error
    assert html.escape(job.error, quote=False)[:40] in operator.sees("/bulk").replace("&#39;", "'").replace(
        "&#34;", '"'
    )


def test_what_came_of_it_is_kept_where_it_failed(
    live: LiveLab, at: Desk, people: dict[Role, Browser], monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = people[Role.OPERATOR]
    set_up(at, operator, live)
    said = (BulkLine("Successfully exported tomcat", True), BulkLine("Failed to export capf: <no>", False))

    async def half(*_: object) -> Course:
        return Course("source", said, (ResultLine("src-pub", "a_file.p12", came=2),))

    monkeypatch.setitem(bulk._COURSES, "export", half)
    assert operator.send_form("/bulk/export", {"clusters": "source", "type": "all"}).status_code == 303
    job = ended(at, "source")
    assert job.state is JobState.FAILED
    assert "1 of 2 answers: Failed to export capf" in job.error
    page = operator.sees("/bulk")
    assert "a_file.p12" in page
    assert "Failed to export capf: &lt;no&gt;" in page


def test_another_host_key_is_refused_until_it_is_forgotten(
    live: LiveLab, at: Desk, people: dict[Role, Browser]
) -> None:
    operator = people[Role.OPERATOR]
    set_up(at, operator, live)
    pins, server = at.state / HOST_KEYS, live.lab.sftp_settings()
    lines = pins.read_text().splitlines()
    others = [line for line in lines if not line.startswith(f"[{server.host}]")]
    stranger = next(line for line in others if "ssh-ed25519" in line or "ssh-rsa" in line).split()
    mine = next(line for line in lines if line.startswith(f"[{server.host}]")).split()
    pins.write_text("\n".join([*others, " ".join([mine[0], *stranger[1:]])]) + "\n")
    tested = operator.send_form("/bulk/server/test")
    assert tested.status_code == 424
    assert "has changed" in tested.text
    assert "SHA256:" in tested.text
    assert "/bulk/server/forget" not in tested.text
    assert offered(operator.sees("/bulk?look=again")) == set()
    administrator = people[Role.ADMINISTRATOR]
    assert "/bulk/server/forget" in administrator.send_form("/bulk/server/test").text
    assert administrator.send_form("/bulk/server/forget").status_code == 303
    again = operator.send_form("/bulk/server/test")
    assert operator.send_form("/bulk/server/test", {"fingerprint": fingerprint_in(again.text)}).status_code == 200
    # A confirmed key that is not the one shown pins nothing.
    assert administrator.send_form("/bulk/server/forget").status_code == 303
    assert operator.send_form("/bulk/server/test", {"fingerprint": "SHA256:another"}).status_code == 409


def test_the_server_ends_in_the_middle_and_the_work_is_run_again(
    live: LiveLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with desk_in(tmp_path / "state") as desk:
        know(desk, live)
        with browsing(desk) as people:
            people[Role.OPERATOR].sees("/bulk")
            set_up(desk, people[Role.OPERATOR], live)

            async def hangs(*_: object) -> None:
                import asyncio

                await asyncio.Event().wait()

            with monkeypatch.context() as patch:
                patch.setitem(bulk._COURSES, "export", hangs)
                answer = people[Role.OPERATOR].send_form("/bulk/export", {"clusters": "source", "type": "all"})
                assert answer.status_code == 303
                again = people[Role.OPERATOR].send_form("/bulk/export", {"clusters": "source", "type": "all"})
                assert again.status_code == 409
                assert "being done already" in again.text
        assert ended(desk, "source").state is JobState.INTERRUPTED
    with desk_in(tmp_path / "state") as desk, Browser_of(desk) as operator:
        page = operator.sees("/bulk")
        assert "the server was stopped while it ran" in page
        act(desk, operator, "export", "source")
        assert "source_src-pub_tftp.p12" in operator.sees("/bulk?look=again")


def Browser_of(desk: Desk) -> Browser:  # noqa: N802 - reads as one
    """A browser of the operator, after the server was started again: the user is there already."""
    from tests.console.desks import HERE

    from trustbridge.console.app import create_app

    class Signed(Browser):
        def __enter__(self) -> Signed:
            super().__enter__()
            assert self.sign_in("the-operator").status_code == 303
            return self

    return Signed(create_app(desk), HERE)


def test_a_look_is_shared_and_kept(live: LiveLab, at: Desk, people: dict[Role, Browser]) -> None:
    operator = people[Role.OPERATOR]
    set_up(at, operator, live)
    number = BulkDesk.of(at).seen.number
    operator.sees("/bulk")
    operator.sees("/bulk/part")
    assert BulkDesk.of(at).seen.number == number
    operator.sees("/bulk?look=again")
    assert BulkDesk.of(at).seen.number == number + 1


def test_the_api_does_the_same(live: LiveLab, at: Desk, people: dict[Role, Browser]) -> None:
    client = people[Role.OPERATOR]
    head = {"Authorization": f"Bearer {token_of(at, Role.OPERATOR)}"}
    look = {"Authorization": f"Bearer {token_of(at, Role.VIEWER)}"}
    client.cookies.clear()
    assert client.get("/api/v1/bulk/server", headers=look).status_code == 404
    assert client.get("/api/v1/bulk/files", headers=look).status_code == 409
    values = settings_of(live) | {"port": live.lab.sftp_settings().port, "clusters": BOTH}
    assert client.put("/api/v1/bulk/server", headers=look, json=values).status_code == 403
    answer = client.put("/api/v1/bulk/server", headers=head, json=values)
    assert answer.status_code == 200
    assert len(answer.json()["jobs"]) == 2
    done(at, *BOTH)
    shown = client.get("/api/v1/bulk/server", headers=look)
    assert set(shown.json()["told"]) == set(BOTH)
    assert live.lab.sftp_password not in shown.text
    unknown = client.post("/api/v1/bulk/server/test", headers=head, json={})
    assert unknown.status_code == 409
    found = re.search(r"SHA256:\S+", unknown.json()["error"]["message"])
    assert found is not None
    answer = client.post("/api/v1/bulk/server/test", headers=head, json={"fingerprint": found[0]})
    assert answer.json()["pinned"] == found[0]
    for action, clusters in (("export", BOTH), ("consolidate", ["source"]), ("import", BOTH)):
        body = {"clusters": clusters, "accept_restart": action == "import"}
        answer = client.post(f"/api/v1/bulk/{action}", headers=head, json=body)
        assert answer.status_code == 202, answer.text
        done(at, *clusters)
    files = client.get("/api/v1/bulk/files", headers=look).json()
    assert {one["kind"] for one in files["files"]} == {"export", "consolidated", "manifest"}
    ready = files["ready"]["import"]
    assert (ready["can"], ready["sure"], ready["types"]) == (
        True,
        True,
        ["all", "tftp", "tomcat", "capf", "itlrecovery"],
    )
    bad = client.post("/api/v1/bulk/export", headers=head, json={"clusters": ["nowhere"]})
    assert bad.status_code == 422
    assert "nowhere" in bad.json()["error"]["message"]


def test_where_the_console_cannot_reach_the_server_publishers_may(desk: Desk, signed_in: SignIn) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
        browser = signed_in(Role.OPERATOR)
        values = {"host": "127.0.0.1", "port": port, "username": "bulk", "password": "secret words", "directory": "/"}
        assert browser.send_form("/bulk/server", values).status_code == 303
        page = html.unescape(browser.sees("/bulk"))
        assert offered(page) == {"export", "consolidate", "import"}
        assert "this console can't look at the server" in page
        assert browser.send_form("/bulk/server/test").status_code == 424
    assert browser.send_form("/bulk/server", values | {"port": "none"}).status_code == 422
    assert browser.send_form("/bulk/export", {"type": "all"}).status_code == 422
    assert browser.send_form("/bulk/elsewhere", {"type": "all"}).status_code == 404
