"""`trustbridge cluster` without anybody to talk to: what it keeps, what it refuses, and where passwords come from."""

from __future__ import annotations

import json
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import trustbridge.cli
from trustbridge.cli import clusterview, opened, passwords
from trustbridge.cli.cluster import app
from trustbridge.cli.passwords import cluster_credentials
from trustbridge.cucm.credentials import Credentials, Realm, Secret
from trustbridge.cucm.https import Patience
from trustbridge.cucm.model import ClusterEntry, NodeIdentity
from trustbridge.errors import NotNow, SettingsError, TrustbridgeError, Unreachable
from trustbridge.pki.issue import Organisation, self_signed
from trustbridge.pki.units import Unit
from trustbridge.storage.inventory import Inventory
from trustbridge.storage.passwordfile import PasswordFile
from trustbridge.storage.systemkeyring import SystemKeyring

ENTRY = ClusterEntry(name="source", publisher="127.0.0.1", os_user="administrator", app_user="axluser", ssh_port=1)
ACCOUNTS = ("--os-user", "administrator", "--app-user", "axluser")


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRUSTBRIDGE_STATE_FOLDER", str(tmp_path / "state"))
    return tmp_path / "state"


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def test_a_cluster_is_added_listed_and_removed(state: Path) -> None:
    assert "no cluster is known" in run("list")
    run("add", "source", "cm1.example.com", *ACCOUNTS, "--ssh-port", "2222", "--node-address", "cm2=192.0.2.2")
    assert Inventory(state).get("source") == ClusterEntry(
        name="source",
        publisher="cm1.example.com",
        os_user="administrator",
        app_user="axluser",
        ssh_port=2222,
        node_addresses=(("cm2", "192.0.2.2"),),
    )
    assert "cm1.example.com" in run("list")
    assert json.loads(run("list", "--json"))[0]["ssh_port"] == 2222
    run("remove", "source")
    assert Inventory(state).all() == {}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("add", "source"), "NAME PUBLISHER"),
        (("add", "source", "cm1"), "NAME PUBLISHER"),
        (("add", "so urce", "cm1", *ACCOUNTS), "can't be a cluster's name"),
        (("add", "source", "cm1", *ACCOUNTS, "--ssh-port", "0"), "ssh_port should be a port"),
        (("add", "source", "cm1", *ACCOUNTS, "--node-address", "cm2"), "NAME=ADDRESS is expected"),
        (("add", "--lab", "folder", "cm1"), "--lab knows"),
        (("show", "nobody"), "no cluster is called nobody"),
        (("test", "nobody"), "no cluster is called nobody"),
        (("remove", "nobody"), "no cluster is called nobody"),
        (("show", "nobody", "--json", "--csv"), "exclude each other"),
    ],
)
def test_what_makes_no_sense_is_refused(state: Path, arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        run(*arguments)
    assert said in caught.value.message


def test_a_password_comes_from_the_environment_then_the_file_and_else_is_unknown(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cluster_credentials(ENTRY, state) == Credentials()  # nobody sits at a terminal
    PasswordFile(state).keep("source", Credentials(Secret("kept 1"), Secret("kept 2")))
    monkeypatch.setenv("TRUSTBRIDGE_SOURCE_OS_PASSWORD", "given")
    assert cluster_credentials(ENTRY, state) == Credentials(Secret("given"), Secret("kept 2"))
    monkeypatch.setenv("TRUSTBRIDGE_SOURCE_OS_PASSWORD", "")
    with pytest.raises(SettingsError, match="TRUSTBRIDGE_SOURCE_OS_PASSWORD is empty"):
        cluster_credentials(ENTRY, state)


class Kept(SystemKeyring):
    """A keyring on paper; `asked` is what was looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[tuple[str, Realm, str], Secret] = {}
        self.asked: list[Realm] = []
        self.trouble: TrustbridgeError | None = None

    def get(self, cluster: str, realm: Realm, user: str) -> Secret | None:
        self.asked.append(realm)
        return self.held.get((cluster, realm, user))

    def keep(self, cluster: str, realm: Realm, user: str, secret: Secret) -> str:
        if self.trouble is not None:
            raise self.trouble
        self.held[cluster, realm, user] = secret
        return "the paper"

    def forget(self, cluster: str, realm: Realm, user: str) -> bool:
        if self.trouble is not None:
            raise self.trouble
        return self.held.pop((cluster, realm, user), None) is not None


@pytest.fixture
def kept(state: Path, monkeypatch: pytest.MonkeyPatch) -> Kept:
    found = Kept()
    monkeypatch.setattr(passwords, "system_keyring", lambda: found)
    monkeypatch.setattr("trustbridge.storage.passwords.system_keyring", lambda: found)
    Inventory(state).add(ENTRY)
    return found


OS, APP = ("source", Realm.OS, "administrator"), ("source", Realm.APP, "axluser")


def test_the_keyring_comes_after_the_environment_and_before_the_file(
    state: Path, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    PasswordFile(state).keep("source", Credentials(Secret("file 1"), Secret("file 2")))
    kept.held[OS] = Secret("ring 1")
    assert cluster_credentials(ENTRY, state) == Credentials(Secret("ring 1"), Secret("file 2"))
    monkeypatch.setenv("TRUSTBRIDGE_SOURCE_OS_PASSWORD", "given 1")
    monkeypatch.setenv("TRUSTBRIDGE_SOURCE_APP_PASSWORD", "given 2")
    kept.asked.clear()
    assert cluster_credentials(ENTRY, state) == Credentials(Secret("given 1"), Secret("given 2"))
    assert kept.asked == []


def test_a_password_is_typed_twice_unseen_and_kept(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["typed 1", "tipped 1", "typed 1", "typed 1", ""])

    def prompt(question: str, **options: Any) -> str:
        assert options["hide_input"]
        return next(answers)

    monkeypatch.setattr("typer.prompt", prompt)
    monkeypatch.setattr("trustbridge.cli.passwords.sys", Terminal())
    said = run("password", "source")
    assert kept.held == {OS: Secret("typed 1")}  # the other was left as it is
    assert "kept in the paper: the password of administrator, OS administrator of source" in said
    assert "not the same" in said
    assert "typed" not in said


class Terminal:
    """As `sys`, where somebody sits."""

    class stdin:  # noqa: N801 - as `sys` has it
        @staticmethod
        def isatty() -> bool:
            return True


def test_a_password_to_keep_comes_from_a_file_or_standard_input(kept: Kept, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("filed\nmore\n")
    file.chmod(0o600)
    said = run("password", "source", "--app", "--password-file", str(file))
    assert "warning" not in said
    file.chmod(0o644)
    assert "warning: other users" in run("password", "source", "--app", "--password-file", str(file))
    result = CliRunner().invoke(app, ["password", "source", "--os", "--password-file", "-"], input="piped\n")
    assert result.exit_code == 0
    assert kept.held == {OS: Secret("piped"), APP: Secret("filed")}
    assert "filed" not in said
    assert "piped" not in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--password-file", "-"), "either --os or --app"),
        (("--os", "--app", "--password-file", "-"), "either --os or --app"),
        (("--os", "--forget", "--password-file", "-"), "one password to store"),
        (("--os", "--password-file", "-"), "first line of - is empty"),
        ((), "no terminal"),
    ],
)
def test_a_password_that_can_not_be_had_is_not_kept(kept: Kept, arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        run("password", "source", *arguments)
    assert said in caught.value.message
    assert kept.held == {}


def test_a_file_of_another_encoding_is_refused_without_its_bytes(kept: Kept, tmp_path: Path) -> None:
    (tmp_path / "password").write_bytes(b"p\xe4ss")
    with pytest.raises(SettingsError) as caught:
        run("password", "source", "--os", "--password-file", str(tmp_path / "password"))
    assert caught.value.message.endswith("it is not UTF-8")
    assert caught.value.__suppress_context__


def test_passwords_are_forgotten_one_by_one_and_with_their_cluster(state: Path, kept: Kept) -> None:
    kept.held |= {OS: Secret("1"), APP: Secret("2")}
    assert "forgotten: the password of axluser" in run("password", "source", "--app", "--forget")
    assert list(kept.held) == [OS]
    said = run("password", "source", "--forget")
    assert "forgotten: the password of administrator" in said
    assert "not known: the password of axluser" in said
    kept.held |= {OS: Secret("1"), APP: Secret("2")}
    PasswordFile(state).keep("source", Credentials(Secret("3"), None))
    run("remove", "source")
    assert kept.held == {}
    assert PasswordFile(state).get("source") == Credentials()


def test_a_cluster_is_removed_though_the_keyring_fails_and_that_is_said(state: Path, kept: Kept) -> None:
    kept.trouble = Unreachable("the system's keyring did not answer")
    said = run("remove", "source")
    assert "may still hold the password of administrator: the system's keyring did not answer" in said
    assert Inventory(state).all() == {}


def test_what_the_keyring_says_against_it_is_the_error_of_storing(kept: Kept, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("filed")
    kept.trouble = NotNow("the system's keyring is locked", "Unlock it.")
    with pytest.raises(NotNow, match="locked"):
        run("password", "source", "--os", "--password-file", str(tmp_path / "password"))


def test_another_cluster_under_the_same_name_does_not_get_the_first_ones_passwords(state: Path, kept: Kept) -> None:
    kept.held |= {OS: Secret("1"), APP: Secret("2")}
    PasswordFile(state).keep("source", Credentials(Secret("3"), None))
    run("add", "source", "127.0.0.1", *ACCOUNTS, "--ssh-port", "2222", "--replace")
    assert set(kept.held) == {OS, APP}  # the same one
    run("add", "source", "cm9.example.com", *ACCOUNTS, "--replace")
    assert kept.held == {}
    assert cluster_credentials(ENTRY, state) == Credentials()


def test_passwords_leave_the_environment_when_a_command_begins(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTBRIDGE_SOURCE_OS_PASSWORD", "given")
    monkeypatch.setenv("TRUSTBRIDGE_SFTP_PASSWORD", "given too")
    assert CliRunner().invoke(trustbridge.cli.app, ["cluster", "list"]).exit_code == 0
    assert not [name for name in os.environ if name.startswith("TRUSTBRIDGE_") and name.endswith("_PASSWORD")]
    assert cluster_credentials(ENTRY, state) == Credentials(Secret("given"), None)
    assert cluster_credentials(ENTRY, state) == Credentials(Secret("given"), None)
    assert passwords.read_password("bulk", None) == "given too"
    assert CliRunner().invoke(trustbridge.cli.app, ["cluster", "list"]).exit_code == 0
    assert cluster_credentials(ENTRY, state) == Credentials()


def test_a_person_at_a_terminal_is_asked_and_may_go_without(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def prompt(question: str, **options: Any) -> str:
        assert options["hide_input"]
        asked.append(question)
        return "typed" if "administrator" in question else ""

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("typer.prompt", prompt)
    assert cluster_credentials(ENTRY, state) == Credentials(Secret("typed"), None)
    assert len(asked) == 2
    assert cluster_credentials(ENTRY, state, ask=False) == Credentials()


def test_the_clusters_of_a_lab_come_with_ports_users_and_passwords_apart(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask_lab(folder: Path | None, title: str, **request: Any) -> Any:
        if request["do"] == "credentials":
            return {
                "os": {"user": "administrator", "password": "secret 1"},
                "application": {"user": "axluser", "password": "secret 2"},
            }
        nodes = [
            {"name": "pub", "address": "127.1.0.1", "publisher": True},
            {"name": "sub", "address": "127.1.0.2", "publisher": False},
        ]
        ports = {"ssh": 20022, "https": 28443, "tvs": 22445, "provisioning": 26970, "tftp": 20069}
        return {"clusters": [{"name": name, "nodes": nodes} for name in ("source", "destination")], "ports": ports}

    monkeypatch.setattr("trustbridge.cli.lab.ask_lab", ask_lab)
    said = run("add", "--lab")
    assert Inventory(state).get("source") == ClusterEntry(
        name="source",
        publisher="127.1.0.1",
        os_user="administrator",
        app_user="axluser",
        ssh_port=20022,
        https_port=28443,
        tvs_port=22445,
        http_port=26970,
        tftp_port=20069,
        node_addresses=(("pub", "127.1.0.1"), ("sub", "127.1.0.2")),
    )
    assert PasswordFile(state).get("source") == Credentials(Secret("secret 1"), Secret("secret 2"))
    assert stat.S_IMODE((state / "passwords.json").stat().st_mode) == 0o600
    assert "secret" not in said + (state / "clusters.toml").read_text()
    Inventory(state).add(ClusterEntry("source", "cm1", "a", "b"), replace=True)
    with pytest.raises(SettingsError, match="there already"):
        run("add", "--lab")  # another cluster of that name is not overwritten
    run("add", "--lab", "--replace")
    assert Inventory(state).get("source").publisher == "127.1.0.1"


def test_an_expiry_says_how_long_and_in_which_colour() -> None:
    now = datetime.now(UTC).replace(microsecond=0)

    def row(days: int) -> dict[str, Any]:
        identity = self_signed(
            node="pub",
            unit=Unit.TVS,
            common_name="pub",
            organisation=Organisation(ou="UC", o="x", l="K", st="M", c="PL"),
            now=now - timedelta(days=200),
            days=200 + days,
            key="p256",
        )
        (found,) = clusterview.certificate_rows(
            [NodeIdentity("pub", Unit.TVS, identity.certificate)],
            [(identity.certificate.sha256, "other", "TVS-trust"), ("ff", "other", "tomcat-trust")],
            now,
        )
        return found

    assert [row(days)["days_left"] for days in (-3, 10, 80, 400)] == [-3, 10, 80, 400]
    shown = [clusterview._expiry(row(days)) for days in (-3, 10, 80, 400)]
    assert [text.partition("[")[2].partition("]")[0] for text in shown] == ["red", "red", "yellow", "green"]
    assert "(expired)" in shown[0]
    assert "(10 days)" in shown[1]
    assert row(10)["held_by"] == {"other": ["TVS-trust"]}
    assert row(10)["key"] == "EC 256"
    assert row(-3)["problems"]
    assert clusterview.as_csv([row(10)]).splitlines()[1].endswith("other: TVS-trust")


def test_an_interface_nobody_answers_is_a_line_with_what_to_do_and_an_exit_code(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trustbridge.cucm.access.Patience", lambda: Patience(connect=0.2, attempts=1))
    Inventory(state).add(ClusterEntry("source", "127.0.0.1", "a", "b", ssh_port=1, https_port=1, http_port=1))
    PasswordFile(state).keep("source", Credentials(Secret("x"), None))
    result = CliRunner().invoke(app, ["test", "source", "--json"])
    assert result.exit_code == 4
    rows = {one["interface"]: one for one in json.loads(result.stdout)}
    assert not any(one["works"] for one in rows.values())
    assert rows["command line"]["hint"]
    assert "no password" in rows["AXL"]["words"]
    assert opened.state_folder() == state
