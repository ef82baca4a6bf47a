"""`trustbridge option150` against a real Kea, files, and a lab whose cluster is its own DHCP server."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.test_exchange import known
from tests.interop.test_kea_provider import (
    AGENT,
    IN_FIRST,
    KEA,
    NEW,
    OLD,
    PASSWORD,
    SERVER,
    USER,
    Site,
    kea,
    whole,
)
from tests.lab.prepared import LiveLab, Prepared, lab_definition, phones
from typer.testing import CliRunner, Result

from trustbridge.cli import app
from trustbridge.dhcp.record import Records
from trustbridge.errors import (
    AuthenticationRefused,
    InvalidInput,
    NotNow,
    PortTaken,
    Refused,
    SettingsError,
    TrustbridgeError,
    Unreachable,
)
from trustbridge.settings import load

needs_kea = pytest.mark.skipif(
    KEA is None or AGENT is None, reason="needs Debian packages kea-dhcp4-server and kea-ctrl-agent"
)


def command(*arguments: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(app, ["option150", *arguments], input=typed)


def did(*arguments: str) -> Any:
    """What a command says as JSON, which came to a good end."""
    done = command(*arguments, "--json")
    assert done.exit_code == 0, (done.stdout, done.stderr, done.exception)
    return json.loads(done.stdout)


def refused(kind: type[TrustbridgeError], words: str, *arguments: str) -> TrustbridgeError:
    """What a command ends with."""
    done = command(*arguments)
    assert isinstance(done.exception, kind), (done.stdout, done.stderr, done.exception)
    assert words in done.exception.message
    return done.exception


def records() -> list[tuple[str, str]]:
    return [(str(kept.state), kept.change.before.name) for kept in Records(load().state_folder).all()]


@contextmanager
def running(folder: Path) -> Iterator[tuple[Site, Callable[[Any], Any]]]:
    """A Kea and its agent in a loop of their own; and what runs something there."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def do(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(30)

    context = kea(folder, agent=True)
    try:
        site = do(context.__aenter__())
        try:
            yield site, do
        finally:
            do(context.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()


@needs_kea
def test_kea_is_changed_shown_asked_and_taken_back(tmp_path: Path) -> None:
    with running(tmp_path) as (site, do):
        before = do(whole(site.socket))
        unix = ("--kea", f"unix:{site.socket.path}")
        secret = tmp_path / "password"
        secret.write_text(f"{PASSWORD}\n")
        secret.chmod(0o600)
        password = ("--kea-password-file", str(secret))
        http = ("--kea", f"http://{SERVER}:{site.agent_port}", "--kea-user", USER, *password)
        offer = ("offer", SERVER, *NEW, "--address", IN_FIRST, "--port", str(site.port))

        shown = did("show", *unix)
        assert shown == did("show", *http)
        assert [one["option150"] for one in shown if one["name"] == "subnet 1"] == [list(OLD)]
        table = command("show", *unix)
        assert "127.30.0.0/16" in table.stdout
        assert "127.10.1.1, 127.10.1.2" in table.stdout

        said = did("set", *NEW, "--scope", "127.30.0.0/16", *unix, "--dry-run")
        assert said["state"] == "dry run"
        assert '+    "data": "127.20.1.1, 127.20.1.2, 127.20.1.3",' in said["diff"].splitlines()
        assert do(whole(site.socket)) == before
        done = command(*offer)
        assert isinstance(done.exception, TrustbridgeError)
        assert done.exception.exit_code == 1
        assert "127.10.1.1, 127.10.1.2, not 127.20.1.1" in done.exception.message

        said = did("set", *NEW, "--scope", "subnet 1", *http, "--yes")
        assert said["state"] == "applied"
        assert did(*offer)["agrees"] is True
        assert did("set", *NEW, "--scope", "subnet 1", *unix)["state"] == "unchanged"
        assert records() == [("applied", "subnet 1")]
        kept = next((load().state_folder / "option150").iterdir())
        assert kept.stat().st_mode & 0o777 == 0o600
        assert kept.stem == said["record"]
        assert PASSWORD not in kept.read_text()

        # A record in its turn knows where to go, and not the password.
        refused(SettingsError, "no password for keeper", "revert", "--yes")
        refused(AuthenticationRefused, "other than those given", "revert", "--yes", "--kea-password-file", __file__)
        assert did("revert", "--yes", *password)["state"] == "reverted"
        assert do(whole(site.socket)) == before
        assert records() == [("reverted", "subnet 1")]
        refused(NotNow, "no change of option 150 is left", "revert", "--yes", *password)
        refused(NotNow, "reverted", "revert", said["record"], "--yes", *password)
        assert did(*offer[:2], *OLD, *offer[5:])["lease"]["option150"] == list(OLD)


@needs_kea
def test_what_somebody_changed_since_is_left_alone(tmp_path: Path) -> None:
    with running(tmp_path) as (site, do):
        unix = ("--kea", f"unix:{site.socket.path}")
        first = did("set", *NEW, "--scope", "subnet 1", *unix, "--yes")["record"]
        second = did("set", "127.9.9.9", "--scope", "subnet 1", *unix, "--yes")["record"]
        error = refused(Refused, "is 127.9.9.9, not 127.20.1.1", "revert", first, "--yes")
        assert error.exit_code == 5
        assert records() == [("applied", "subnet 1")] * 2
        # The other way round it goes.
        assert did("revert", "--yes")["name"] == second
        assert did("revert", "--yes")["name"] == first
        do(site.offered(IN_FIRST, *OLD))


def test_a_file_is_changed_after_a_question_and_the_command_to_reload_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "dnsmasq.conf"
    file.write_text("dhcp-option=150,10.2.0.1\n")
    arguments = ("set", "10.9.0.1", "--scope", "all", "--dnsmasq", str(file))
    refused(SettingsError, "no terminal to ask at", *arguments)
    refused(SettingsError, "nobody can be asked here", *arguments, "--json")
    # Everybody who types is at a terminal.
    monkeypatch.setattr("typer.testing._NamedTextIOWrapper.isatty", lambda stream: True, raising=False)
    assert command(*arguments, typed="n\n").exit_code == 1
    assert file.read_text() == "dhcp-option=150,10.2.0.1\n"
    assert records() == []
    done = command(*arguments, typed="y\n")
    assert done.exit_code == 0, done.exception
    assert "-dhcp-option=150,10.2.0.1\n+dhcp-option=150,10.9.0.1\n" in done.stdout
    assert f"dnsmasq --test -C {file} && systemctl restart dnsmasq" in done.stdout
    assert file.read_text() == "dhcp-option=150,10.9.0.1\n"
    assert "applied" in command("changes").stdout
    assert [one["state"] for one in did("changes")] == ["applied"]
    assert "taken back" in command("revert", typed="y\n").stdout
    assert file.read_text() == "dhcp-option=150,10.2.0.1\n"


def test_isc_from_another_folder_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "dhcpd.conf"
    content = "subnet 10.1.0.0 netmask 255.255.0.0 {\n}\n"
    file.write_text(content)
    monkeypatch.chdir(tmp_path)
    did("set", "10.9.0.1", "--scope", "10.1.0.0", "--isc", "dhcpd.conf", "--yes")
    assert "option tftp-servers 10.9.0.1;" in file.read_text()
    monkeypatch.chdir("/")
    did("revert", "--yes")
    assert file.read_text() == content


def test_a_change_that_is_refused_or_does_not_take_effect_is_kept_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "dnsmasq.conf"
    file.write_text("dhcp-option=150,10.2.0.1\n")
    arguments = ("set", "10.9.0.1", "--scope", "all", "--dnsmasq", str(file), "--yes")

    async def refuses(self: object, change: object) -> None:
        raise Refused("no")

    async def nothing(self: object, change: object) -> None:
        return None

    with monkeypatch.context() as patch:
        patch.setattr("trustbridge.dhcp.files.ConfigFile.apply", refuses)
        refused(Refused, "no", *arguments)
        patch.setattr("trustbridge.dhcp.files.ConfigFile.apply", nothing)
        error = refused(TrustbridgeError, "is 10.2.0.1, not 10.9.0.1", *arguments)
        assert error.exit_code == 1
    assert records() == [("refused", "all"), ("applied", "all")]
    refused(Refused, "as it was applied", "revert", "--yes")
    file.write_text('dhcp-option=150,"')
    assert refused(InvalidInput, "line 1", "show", "--dnsmasq", str(file)).exit_code == 3


def test_a_cluster_that_is_its_phones_dhcp_server(prepared: Prepared, tmp_path: Path) -> None:
    with LiveLab(prepared.lab(tmp_path / "lab", lab_definition(phones(1)))) as live:
        known(live)
        network = live.lab.definition.network
        before = list(live.lab.option150)
        target = list(live.destination.definition.tftp_addresses())
        [shown] = did("show", "--cluster", "source")
        assert (shown["subnet"], shown["option150"]) == (network.phones, before)
        offer = ("offer", network.dhcp, *target, "--port", str(live.lab.ports.dhcp), "--mac", live.phones[0].name)
        where = ("--address", next(iter(live.lab.fleet.by_address)))
        assert refused(TrustbridgeError, f"not {target[0]}", *offer, *where).exit_code == 1
        said = did("set", *target, "--scope", network.phones, "--cluster", "source", "--yes")
        assert (said["state"], said["before"]["option150"]) == ("applied", before)
        assert list(live.lab.option150) == target
        assert did(*offer, *where)["agrees"] is True
        did("revert", "--yes")
        assert list(live.lab.option150) == before
        three = ("10.0.0.1", "10.0.0.2", "10.0.0.3")
        refused(SettingsError, "1 to 2", "set", *three, "--scope", network.phones, "--cluster", "source")


def test_what_to_paste_changes_nothing_and_is_not_kept() -> None:
    done = command("set", "10.9.0.1", "--scope", "PHONES", "--manual", "ios", "--before", "10.2.0.1")
    assert done.exit_code == 0
    assert " option 150 ip 10.9.0.1\n" in done.stdout
    assert " option 150 ip 10.2.0.1\n" in done.stdout
    assert did("set", "10.9.0.1", "--scope", "server", "--manual", "windows")["change"][1].endswith("'10.9.0.1'")
    assert records() == []
    assert "was not changed yet" in command("changes").stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show",), "one DHCP server is expected"),
        (("show", "--kea", "unix:/x", "--isc", "/y"), "one DHCP server is expected"),
        (("show", "--isc", "/nonexistent"), "can't read /nonexistent"),
        (("show", "--isc", "/x", "--kea-user", "u"), "--kea-user goes with --kea"),
        (("show", "--kea", "/run/kea"), "no URL"),
        (("show", "--kea", "http://u:p@kea"), "password has no place"),
        (("show", "--kea", "http://kea", "--kea-user", "u"), "no password for u at http://kea"),
        (("show", "--cluster", "none"), "no cluster is called none"),
        (("set", "10.0.0.1", "--scope", "x", "--manual", "cobol"), "windows, ios, infoblox"),
        (("set", "10.0.0.1", "--scope", "x", "--manual", "ios", "--isc", "/x"), "--manual goes without a server"),
        (("set", "10.0.0.1", "--scope", "x", "--isc", "/x", "--before", "10.0.0.1"), "--before goes with --manual"),
        (("revert", "x", "--yes"), "there is no record x"),
        (("offer", "127.0.0.1"), "--address is needed"),
        (("offer", "kea", "--address", "127.0.0.1"), "'kea' is no IPv4 address"),
        (("offer", "127.0.0.1", "--address", "127.0.0.1", "--mac", "x"), "not a MAC address"),
        (("offer", "127.0.0.1", "x", "--address", "127.0.0.1"), "'x' is no IPv4 address"),
    ],
)
def test_options_that_make_no_sense(arguments: tuple[str, ...], words: str) -> None:
    assert refused(SettingsError, words, *arguments).exit_code == 2


def test_who_is_not_there_is_unreachable(tmp_path: Path) -> None:
    assert refused(Unreachable, "No such file", "show", "--kea", f"unix:{tmp_path}/none").exit_code == 4
    refused(PortTaken, "192.0.2.1", "offer", "127.0.0.1", "--address", "192.0.2.1", "--port", "6767")
