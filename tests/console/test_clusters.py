"""The pages of clusters, over a lab that runs and was exchanged."""

from __future__ import annotations

import dataclasses
import html
import json
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tests.cli.test_cluster import Kept
from tests.console.clusterlab import DESTINATION, SOURCE, browsing, desk_in, ended, know, passwords
from tests.console.desks import Browser, SignIn, token_of
from tests.e2e.test_cluster import STRANGER, entry_of
from tests.lab.prepared import LiveLab, Prepared, lab_definition, lighten, phones

from trustbridge.clients.tls import TlsIdentity
from trustbridge.console import clusterwork
from trustbridge.console.desk import Desk
from trustbridge.cucm.credentials import Credentials, Realm, Secret
from trustbridge.cucm.model import ClusterEntry
from trustbridge.cucm.pins import fingerprint
from trustbridge.lab.node import HTTPS
from trustbridge.pki.units import Unit
from trustbridge.services.httpsnode import HttpsServer
from trustbridge.storage.audit import AuditFilter, Outcome
from trustbridge.storage.passwordfile import PasswordFile
from trustbridge.storage.people import Role

PATHS = (
    "/clusters",
    "/clusters/source",
    "/clusters/destination",
    "/clusters/source/certificates",
    "/clusters/source/stores",
    "/clusters/source/files",
    "/clusters/source/identities",
    "/certificates",
    "/trust",
)


@dataclass(frozen=True)
class Here:
    """A lab, a desk that knows it and has read it, and browsers by role."""

    live: LiveLab
    desk: Desk
    browsers: dict[Role, Browser]

    def sees(self, path: str, role: Role = Role.VIEWER, headers: dict[str, str] | None = None) -> str:
        answer = self.browsers[role].get(path, headers=headers)
        assert answer.status_code == 200, answer.text
        return html.unescape(answer.text)

    def sends(self, role: Role, path: str, values: dict[str, str] | None = None) -> int:
        self.browsers[role].sees("/clusters")
        return self.browsers[role].send_form(path, values).status_code

    def last(self) -> tuple[str, str, Outcome]:
        entry = self.desk.audit.entries(AuditFilter())[0]
        return entry.action, entry.object, entry.outcome


@pytest.fixture(scope="module")
def keyring() -> Iterator[Kept]:
    with pytest.MonkeyPatch.context() as patch:
        found = Kept()
        patch.setattr("trustbridge.storage.passwords.system_keyring", lambda: found)
        yield found


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, keyring: Kept) -> Iterator[Here]:
    folder = tmp_path_factory.mktemp("clusters")
    with pytest.MonkeyPatch.context() as patch:
        lighten(patch)
        prepared = Prepared.once(tmp_path_factory).exchanged()
        definition = lab_definition(phones(1), source={"release": "12.5"}, destination={"release": "15"})
        with (
            LiveLab(prepared.lab(folder / "lab", definition)) as live,
            desk_in(folder / "state") as desk,
            browsing(desk) as browsers,
        ):
            know(desk, live)
            found = Here(live, desk, browsers)
            assert found.sends(Role.OPERATOR, "/clusters/read") == 303
            for name in (SOURCE, DESTINATION):
                job = ended(desk, clusterwork.READ, name)
                assert job.state == "done", job.error
                assert job.result["gaps"] == []
            yield found


def rows(page: str) -> list[str]:
    """A line a row of the first table's body."""
    body = re.search(r"<tbody.*?</tbody>", page, re.DOTALL)
    return [] if body is None else [_text(row) for row in re.findall(r"<tr>.*?</tr>", body[0], re.DOTALL)]


def _text(fragment: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", fragment).split())


def test_the_inventory_shows_what_was_read(here: Here) -> None:
    page = here.sees("/clusters")
    source, destination = rows(page)
    assert "12.5" in source
    assert "src-pub, src-sub1" in source
    assert "mixed" in source
    assert "days" in source
    assert "15.0" in destination
    assert {one.name: one.nodes for one in here.desk.campaigns.clusters()} == {
        SOURCE: ("src-pub", "src-sub1"),
        DESTINATION: ("dst-pub", "dst-sub1"),
    }


def test_no_page_and_no_file_of_ours_holds_a_password(here: Here) -> None:
    for path in PATHS:
        text = here.sees(path, Role.ADMINISTRATOR)
        assert not [one for one in passwords(here.live) if one in text], path
    edit = here.sees("/clusters/source/edit", Role.ADMINISTRATOR)
    assert "passwords.json" in edit
    assert not [one for one in passwords(here.live) if one in edit]
    for file in clusterwork.readings(here.desk).folder.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert not [one for one in passwords(here.live) if one in file.read_text()]


def test_certificates_are_sorted_and_filtered_on_the_server(here: Here) -> None:
    place = "/clusters/source/certificates"
    everything = rows(here.sees(place))
    assert len(everything) == 13
    up = rows(here.sees(f"{place}?sort=subject"))
    subjects = [row.split()[2] for row in up]
    down = [row.split()[2] for row in rows(here.sees(f"{place}?sort=-subject"))]
    assert down == subjects[::-1]
    assert subjects == sorted(subjects, key=str.casefold)
    assert 'aria-sort="ascending"' in here.sees(f"{place}?sort=subject")
    assert all(row.startswith("src-sub1 ") for row in rows(here.sees(f"{place}?node=src-sub1")))
    assert len(rows(here.sees(f"{place}?unit=TVS"))) == 2
    (capf,) = rows(here.sees(f"{place}?text=capf-"))
    assert capf.startswith("src-pub CAPF CAPF-")
    assert "destination: CAPF-trust, CallManager-trust" in capf
    assert rows(here.sees(f"{place}?within=expired")) == []
    assert "There is no such certificate" in here.sees(f"{place}?within=expired")
    # What nobody can mean filters nothing, and breaks nothing.
    assert rows(here.sees(f"{place}?sort=x&within=x&page=-1")) == everything
    assert len(rows(here.sees("/certificates?cluster=destination&unit=TVS"))) == 2
    assert len(rows(here.sees("/certificates?unit=TVS"))) == 4


def test_stores_tell_where_entries_came_from(here: Here) -> None:
    found = rows(here.sees("/clusters/destination/stores?store=Phone-SAST-trust"))
    assert any("its own: CallManager of dst-pub" in row for row in found)
    assert any("ITLRecovery of source/src-pub" in row and "on all 2 nodes" in row for row in found)
    assert all("dst-sub1" in row or "all 2" in row for row in rows(here.sees("/clusters/source/stores?node=src-sub1")))


def test_a_certificate_tells_everything_and_who_holds_it(here: Here) -> None:
    reading = clusterwork.reading_of(here.desk, DESTINATION)
    assert reading is not None
    recovery = next(one["sha256"] for one in reading["identities"] if one["unit"] == "ITLRecovery")
    page = _text(here.sees(f"/certificates/{recovery}"))
    assert "ITLRecovery of destination/dst-pub" in page
    assert "source CallManager-trust: src-pub, src-sub1 Phone-SAST-trust: src-pub, src-sub1" in page
    assert "BEGIN CERTIFICATE" in page
    part = here.sees(f"/certificates/{recovery}", headers={"HX-Request": "true"})
    assert "<html" not in part
    assert here.browsers[Role.VIEWER].get(f"/certificates/{'0' * 64}").status_code == 404


def test_trust_lists_are_decoded(here: Here) -> None:
    assert "ITLFile.tlv" in here.sees("/clusters/source/files")
    page = _text(here.sees("/clusters/source/files/src-sub1/ITLFile.tlv"))
    assert "ITLFile.tlv of src-sub1 ✓ good" in page
    assert "System Administrator Security Token" in page or "SAST" in page
    assert here.browsers[Role.VIEWER].get("/clusters/source/files/src-sub1/none.tlv").status_code == 404


def test_each_interface_is_tried_as_a_job(here: Here) -> None:
    assert here.sends(Role.OPERATOR, "/clusters/destination/test") == 303
    assert here.last() == ("cluster.test", DESTINATION, Outcome.DONE)
    assert ended(here.desk, clusterwork.TEST, DESTINATION).state == "done"
    page = _text(here.sees("/clusters/destination"))
    assert "certificate REST ✓ works" in page


def test_a_viewer_looks_and_changes_nothing(here: Here) -> None:
    for path in PATHS:
        page = here.sees(path, Role.VIEWER)
        forms = set(re.findall(r'<form method="post" action="([^"]+)"', page))
        assert forms == {"/logout"}, path
    for path in ("/clusters", "/clusters/source/edit", "/clusters/source/remove", "/clusters/source/read", "/trust"):
        assert here.sends(Role.VIEWER, path, {"name": "x"}) == 403
    for path in ("/clusters", "/clusters/source/edit", "/clusters/source/remove", "/clusters/source/identities"):
        assert here.sends(Role.OPERATOR, path, {"name": "x"}) == 403
    assert here.last()[2] is Outcome.REFUSED
    assert here.browsers[Role.OPERATOR].get("/clusters/source/edit").status_code == 403
    assert list(here.desk.inventory.all()) == [SOURCE, DESTINATION]


def test_an_administrator_adds_changes_and_removes_a_cluster(here: Here, keyring: Kept) -> None:
    values = {
        "name": "branch",
        "publisher": "cm1.example",
        "os_user": "admin",
        "app_user": "axl",
        "password_os": "first <secret>",
        "password_app": " second ",
        "place": "file",
        "ssh_port": "2222",
        "node_addresses": "cm2 = 192.0.2.2\n",
    }
    assert here.sends(Role.ADMINISTRATOR, "/clusters", values) == 303
    entry = here.desk.inventory.get("branch")
    assert (entry.ssh_port, entry.https_port, entry.node_addresses) == (2222, 8443, (("cm2", "192.0.2.2"),))
    file = PasswordFile(here.desk.state)
    assert file.get("branch") == Credentials(Secret("first <secret>"), Secret(" second "))
    audit = here.desk.audit.entries(AuditFilter())[0]
    assert (audit.action, audit.object) == ("cluster.add", "branch")
    assert "secret" not in json.dumps(audit.details)
    assert "It was not read yet" in here.sees("/clusters/branch")
    assert "Not read yet, so not in this list: branch" in here.sees("/certificates")

    # A name that is taken: the form comes back with all but the passwords.
    browser = here.browsers[Role.ADMINISTRATOR]
    again = browser.send_form("/clusters", values)
    assert again.status_code == 422
    assert "a cluster branch is there already" in again.text
    assert 'value="cm1.example"' in again.text
    assert "secret" not in html.unescape(again.text)
    assert here.last()[2] is Outcome.FAILED

    # Nothing typed leaves the password; the keyring's old one must not be sent instead of a new one in the file.
    change = values | {"password_os": "", "password_app": "third", "ssh_port": ""}
    keyring.held["branch", Realm.APP, "axl"] = Secret("old")
    assert here.sends(Role.ADMINISTRATOR, "/clusters/branch/edit", change) == 303
    assert here.desk.inventory.get("branch").ssh_port == 22
    assert file.get("branch") == Credentials(Secret("first <secret>"), Secret("third"))
    assert not keyring.held
    assert here.sends(Role.ADMINISTRATOR, "/clusters/branch/edit", change | {"place": "keyring"}) == 303
    assert keyring.held == {("branch", Realm.APP, "axl"): Secret("third")}

    # Another publisher is another cluster: it is sent no password that was kept for this one.
    other = change | {"publisher": "cm9.example", "password_app": ""}
    assert here.sends(Role.ADMINISTRATOR, "/clusters/branch/edit", other) == 303
    assert file.get("branch") == Credentials()
    assert not keyring.held

    assert here.sends(Role.ADMINISTRATOR, "/clusters/branch/remove") == 303
    assert here.last() == ("cluster.remove", "branch", Outcome.DONE)
    assert "branch" not in here.desk.inventory.all()
    assert here.browsers[Role.VIEWER].get("/clusters/branch").status_code == 404


@pytest.mark.parametrize(
    ("field", "typed", "said"),
    [
        ("name", "a b", "can't be a cluster's name"),
        ("publisher", "", "publisher should be a word"),
        ("https_port", "99999", "https_port should be a port"),
        ("https_port", "x", "is no port"),
        ("node_addresses", "cm2", "NAME=ADDRESS is expected"),
    ],
)
def test_what_can_not_be_right_is_said_in_the_form(here: Here, field: str, typed: str, said: str) -> None:
    here.browsers[Role.ADMINISTRATOR].sees("/new-cluster")
    values = {"name": "branch", "publisher": "cm1.example", "os_user": "admin", "app_user": "axl", field: typed}
    answer = here.browsers[Role.ADMINISTRATOR].send_form("/clusters", values)
    assert answer.status_code == 422
    assert said in html.unescape(answer.text)
    assert "branch" not in here.desk.inventory.all()


def test_a_refused_password_is_said_and_the_last_reading_stays(here: Here) -> None:
    before = clusterwork.reading_of(here.desk, SOURCE)
    entry = here.desk.inventory.get(SOURCE)
    file = PasswordFile(here.desk.state)
    good = file.get(SOURCE)
    file.keep(SOURCE, Credentials(Secret("wrong"), Secret("wrong")))
    try:
        clusterwork.start_reading(here.desk, "somebody", SOURCE)
        job = ended(here.desk, clusterwork.READ, SOURCE)
    finally:
        file.keep(SOURCE, good)
    assert job.state == "failed"
    assert entry.os_user in job.error
    page = here.sees("/clusters/source")
    assert job.error in page
    assert "12.5" in page
    assert clusterwork.reading_of(here.desk, SOURCE) == before


def test_a_changed_certificate_is_refused_and_pinned_only_once_it_was_seen_and_confirmed(here: Here) -> None:
    live, desk = here.live, here.desk
    node = live.node("dst-sub1")
    server = node.services[HTTPS]
    assert isinstance(server, HttpsServer)
    tomcat = live.destination.identity("dst-sub1", Unit.TOMCAT)
    changed = fingerprint(STRANGER.certificate.der)
    page = "/clusters/destination/identities"
    values = {"kind": "tls", "host": entry_of(live.destination).node_addresses[1][1], "fingerprint": changed}
    try:
        live.call(lambda: server.set_identity(TlsIdentity((STRANGER.certificate,), STRANGER.private_key)))
        clusterwork.start_reading(desk, "somebody", DESTINATION)
        assert ended(desk, clusterwork.READ, DESTINATION).state == "done"
        said = _text(here.sees("/clusters/destination"))
        assert f"it now shows {changed}" in said
        assert "Nothing was sent to it." in said

        # Nobody has seen it yet: a fingerprint out of a mail is not enough.
        assert here.sends(Role.ADMINISTRATOR, page, values) == 422
        assert here.sends(Role.OPERATOR, f"{page}/look") == 303
        assert ended(desk, clusterwork.LOOK, DESTINATION).state == "done"
        shown = _text(here.sees(page, Role.ADMINISTRATOR))
        assert "✕ another one Confirm it" in shown
        assert "Confirm it" not in here.sees(page, Role.OPERATOR)
        assert here.sends(Role.ADMINISTRATOR, page, values | {"host": "192.0.2.1"}) == 422
        assert here.sends(Role.ADMINISTRATOR, page, values) == 303
        assert here.last() == ("cluster.pin", DESTINATION, Outcome.DONE)
        assert "another one" not in here.sees(page)
    finally:
        live.call(lambda: server.set_identity(TlsIdentity((tomcat.certificate,), tomcat.private_key)))


def test_a_cluster_that_does_not_answer_keeps_no_page_from_being_shown(desk: Desk, signed_in: SignIn) -> None:
    browser = signed_in(Role.OPERATOR)
    desk.inventory.add(dataclasses.replace(_nowhere(), name="nowhere"))
    for path in ("/clusters", "/clusters/nowhere", "/clusters/nowhere/stores", "/clusters/nowhere/certificates"):
        assert browser.get(path).status_code == 200
    browser.sees("/clusters/nowhere")
    assert browser.send_form("/clusters/nowhere/read").status_code == 303
    job = ended(desk, clusterwork.READ, "nowhere")
    assert job.state == "failed"
    assert job.error in html.unescape(browser.sees("/clusters/nowhere"))
    assert browser.send_form("/clusters/elsewhere/read").status_code == 404


def _nowhere() -> ClusterEntry:
    return ClusterEntry(name="x", publisher="127.0.0.1", os_user="admin", app_user="axl", ssh_port=9)


def test_the_api_tells_the_same(here: Here) -> None:
    def get(path: str, role: Role = Role.VIEWER) -> object:
        answer = here.browsers[role].get(f"/api/v1{path}", headers=headers)
        assert answer.status_code == 200, answer.text
        assert not [one for one in passwords(here.live) if one in answer.text]
        return answer.json()

    headers = {"Authorization": f"Bearer {token_of(here.desk, Role.VIEWER)}"}
    assert [(one["name"], one["nodes"]) for one in get("/clusters")] == [  # type: ignore[attr-defined]
        (SOURCE, ["src-pub", "src-sub1"]),
        (DESTINATION, ["dst-pub", "dst-sub1"]),
    ]
    found = get("/clusters/source/certificates?unit=TVS&sort=node")
    assert [one["nodes"] for one in found["certificates"]] == [["src-pub"], ["src-sub1"]]  # type: ignore[index]
    assert get("/clusters/source/stores?store=CAPF-trust")["total"] == 2  # type: ignore[index]
    assert get("/clusters/source/reading")["format"] == 1  # type: ignore[index]
    browser = here.browsers[Role.VIEWER]
    assert browser.get("/api/v1/clusters/none", headers=headers).status_code == 404
    assert browser.delete("/api/v1/clusters/source", headers=headers).status_code == 403
    admin = {"Authorization": f"Bearer {token_of(here.desk, Role.ADMINISTRATOR)}"}
    new = {"name": "added", "publisher": "p", "os_user": "a", "app_user": "b", "os_password": "told to nobody"}
    answer = browser.post("/api/v1/clusters", json=new, headers=admin)
    assert answer.status_code == 201, answer.text
    assert "told to nobody" not in answer.text
    assert PasswordFile(here.desk.state).get("added").os == Secret("told to nobody")
    assert browser.post("/api/v1/clusters", json=new, headers=admin).status_code == 422
    assert browser.delete("/api/v1/clusters/added", headers=admin).status_code == 204
    assert PasswordFile(here.desk.state).get("added") == Credentials()


def test_pages_speak_french_and_have_nothing_inline(here: Here) -> None:
    french = {"Accept-Language": "fr"}
    for path in (*PATHS, "/clusters/source/files/src-sub1/ITLFile.tlv"):
        page = here.sees(path, headers=french)
        assert '<html lang="fr">' in page
        assert not re.search(r"<script(?![^>]* src=)|<style| style=| on[a-z]+=", page), path
    assert "Numéro de série" in here.sees("/clusters/source/certificates", headers=french)
    assert "Qui se porte garant de qui" in here.sees("/trust", headers=french)


@pytest.mark.parametrize("name", ["%00", "a%00b", "..%2F..", "%F0%9F%98%80", "x" * 3000, "%ED%A0%80"])
def test_what_an_address_has_in_a_name_s_place_breaks_nothing(desk: Desk, signed_in: SignIn, name: str) -> None:
    browser = signed_in(Role.ADMINISTRATOR)
    places = ("", "/certificates", "/stores", "/files", "/files/a/b", "/identities", "/edit")
    paths = [f"/clusters/{name}{place}" for place in places]
    paths += [f"/trust/{name}", f"/trust/{name}/cell", f"/trust/{name}/report.json", f"/certificates/{name}"]
    assert {browser.get(path).status_code for path in paths} == {404}
    browser.sees("/clusters")
    for path in ("read", "test", "remove", "edit", "identities", "identities/look", "forget-passwords"):
        assert browser.send_form(f"/clusters/{name}/{path}").status_code in (404, 422), path
