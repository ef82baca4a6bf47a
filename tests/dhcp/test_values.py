"""Scopes and changes as values, how changes are kept, commands to paste, and Unified CM's own DHCP."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustbridge.clients.lease import Lease
from trustbridge.cucm.cluster import Cluster
from trustbridge.cucm.model import DhcpSubnet
from trustbridge.dhcp.manual import System, commands
from trustbridge.dhcp.offer import Offer
from trustbridge.dhcp.record import Kind, Records, Server, State
from trustbridge.dhcp.scope import Change, Edit, Scope, check_in_force, check_servers, file_name, find_scope, unified
from trustbridge.dhcp.unifiedcm import UnifiedCmDhcp
from trustbridge.errors import NotNow, Refused, SettingsError, TrustbridgeError

OLD, NEW = ("10.2.0.1", "10.2.0.2"), ("10.9.0.1", "10.9.0.2")
BEFORE = Scope("subnet 1", "10.1.0.0/16", OLD, False, "cm1")
CHANGE = Change("Kea", BEFORE, Scope("subnet 1", "10.1.0.0/16", NEW), (Edit("x", "a\n", "b\n"),), "diff")
NOW = datetime(2026, 11, 24, 16, 0, tzinfo=UTC)
TEXT = st.text(st.characters(exclude_categories=[]), max_size=20)
SCOPES = st.builds(Scope, TEXT, TEXT, st.lists(TEXT, max_size=3).map(tuple), st.booleans(), TEXT)


# Values.


@pytest.mark.parametrize(
    ("servers", "words"),
    [
        ([], "takes 1 to 63"),
        (["10.0.0.1"] * 2, "named twice"),
        (["cm1.example"], "no IPv4 address"),
        (["::1"], "no IPv4 address"),
        (["10.0.0.1 "], "no IPv4 address"),
        (["010.0.0.1"], "no IPv4 address"),
        ([f"10.0.0.{number}" for number in range(64)], "not 64"),
    ],
)
def test_servers_that_option_150_can_not_name(servers: list[str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        check_servers(servers)


def test_a_scope_is_found_by_its_name_or_by_a_subnet_that_it_has_alone() -> None:
    pool = Scope("subnet 1 pool 1", "10.1.0.0/16", ())
    twin, other = Scope("voice", "10.2.0.0/16", ()), Scope("data", "10.2.0.0/16", ())
    scopes = [pool, BEFORE, twin, other, Scope("10.1.0.0", "", ())]
    assert find_scope(scopes, "subnet 1") is BEFORE
    assert find_scope(scopes, "10.1.0.0/16") is BEFORE
    assert find_scope(scopes[:-1], "10.1.0.0") is BEFORE
    assert find_scope(scopes, "10.1.0.0") is scopes[-1]
    for wanted, words in (("10.2.0.0", "several scopes"), ("", "no scope ''"), ("subnet", "no scope 'subnet'")):
        with pytest.raises(SettingsError, match=words):
            find_scope(scopes, wanted)
    with pytest.raises(SettingsError, match="no scope"):
        find_scope([], "x")


def test_what_is_inherited_is_not_what_a_scope_says_itself() -> None:
    inherited, own = Scope("x", "", OLD, True), Scope("x", "", OLD)
    assert own.says(Scope("x", "other", OLD, option66="cm1"))
    assert not own.says(inherited)
    with pytest.raises(TrustbridgeError, match="inherited"):
        check_in_force("Kea", inherited, Change("Kea", inherited, own, ()))
    # Taken back, it is inherited again, whatever that is by now.
    check_in_force("Kea", Scope("x", "", NEW, True), Change("Kea", inherited, own, ()).backwards)
    with pytest.raises(TrustbridgeError):
        check_in_force("Kea", own, Change("Kea", inherited, own, ()).backwards)


@given(
    st.builds(Change, TEXT, SCOPES, SCOPES, st.lists(st.builds(Edit, TEXT, TEXT, TEXT), max_size=3).map(tuple), TEXT)
)
def test_a_change_is_read_as_it_was_kept(change: Change) -> None:
    assert Change.of_record(json.loads(json.dumps(change.record()))) == change


RECORD = CHANGE.record()


@pytest.mark.parametrize(
    "found",
    [
        None,
        [],
        {},
        RECORD | {"place": 3},
        RECORD | {"before": None},
        RECORD | {"before": RECORD["before"] | {"option150": "10.0.0.1"}},
        RECORD | {"before": RECORD["before"] | {"inherited": 0}},
        RECORD | {"before": RECORD["before"] | {"option150": [3]}},
        RECORD | {"edits": [{}]},
        RECORD | {"edits": 3},
    ],
)
def test_what_is_no_change_is_one_error(found: object) -> None:
    with pytest.raises(SettingsError, match="not a change of option 150"):
        Change.of_record(found)


def test_a_diff_has_every_line_of_every_edit() -> None:
    text = unified("Kea", [Edit("one", "", "a\nb\n"), Edit("two", "a\nb\n", "a\nc\n")])
    assert text.splitlines() == [
        *("--- Kea: one", "+++ Kea: one", "@@ -0,0 +1,2 @@", "+a", "+b"),
        *("--- Kea: two", "+++ Kea: two", "@@ -1,2 +1,2 @@", " a", "-b", "+c"),
    ]


def test_an_offer_is_told_from_what_it_should_be() -> None:
    lease = Lease("10.1.0.7", OLD, "", "10.1.0.1", 600)
    Offer("10.1.0.2", OLD, lease).check()
    with pytest.raises(TrustbridgeError, match=r"10\.1\.0\.1 offers .* 10\.2\.0\.1, 10\.2\.0\.2, not 10\.9") as raised:
        Offer("10.1.0.2", NEW, lease).check()
    assert raised.value.exit_code == 1
    assert not Offer("10.1.0.2", OLD[::-1], lease).agrees
    with pytest.raises(TrustbridgeError, match="not no option 150"):
        Offer("10.1.0.2", (), lease).check()


# Kept.


def test_changes_are_kept_and_the_last_that_can_be_is_taken_back(tmp_path: Path) -> None:
    records = Records(tmp_path)
    assert list(records.all()) == []
    with pytest.raises(NotNow, match="no change"):
        records.get()
    server = Server(Kind.KEA, "http://kea:8000", "keeper")
    kept = [records.begin(server, CHANGE, NOW + timedelta(seconds=number)) for number in range(4)]
    assert kept[0].name == "20261124T160000000000Z-subnet-1"
    assert kept[0].path.stat().st_mode & 0o777 == 0o600
    assert list(records.all()) == kept
    records.mark(kept[3], State.REFUSED)
    records.mark(kept[2], State.REVERTED)
    applied = records.mark(kept[1], State.APPLIED)
    assert records.get() == applied
    assert records.get(kept[0].name) == kept[0]
    for name, words in ((kept[2].name, "reverted"), (kept[3].name, "refused")):
        with pytest.raises(NotNow, match=words):
            records.get(name)
    for name in ("", "x", "../x", ".x"):
        with pytest.raises(SettingsError):
            records.get(name)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"\xff", b"{", b'{"format": 2}', b"[" * 100_000, b'{"format": 1, "server": {}, "at": "x"}']
)
def test_a_record_that_somebody_wrote_into_is_named(tmp_path: Path, content: bytes) -> None:
    records = Records(tmp_path)
    kept = records.begin(Server(Kind.ISC, "/etc/dhcpd.conf"), CHANGE, NOW)
    kept.path.write_bytes(content)
    with pytest.raises(SettingsError, match="subnet-1"):
        records.get()


@pytest.mark.parametrize("change", [{"state": "x"}, {"server": {"kind": "x", "where": "", "user": ""}}, {"change": {}}])
def test_a_record_of_something_else_is_named(tmp_path: Path, change: dict[str, Any]) -> None:
    records = Records(tmp_path)
    kept = records.begin(Server(Kind.ISC, "/etc/dhcpd.conf"), CHANGE, NOW)
    kept.path.write_text(json.dumps(kept.as_json() | change))
    with pytest.raises(SettingsError, match="subnet-1"):
        records.get(kept.name)


@given(TEXT)
def test_any_scope_has_a_file_name(name: str) -> None:
    found = file_name(Scope(name, "", ()))
    assert found
    assert "/" not in found
    assert not found.startswith(".")


# Pasted.


def test_windows() -> None:
    made = commands(System.WINDOWS, "10.1.0.0", NEW, OLD)
    assert made.change == (
        (
            "if (-not (Get-DhcpServerv4OptionDefinition -OptionId 150 -ErrorAction SilentlyContinue)) "
            "{ Add-DhcpServerv4OptionDefinition -Name 'TFTP servers' -OptionId 150 -Type IPv4Address -MultiValued }"
        ),
        "Set-DhcpServerv4OptionValue -ScopeId 10.1.0.0 -OptionId 150 -Value '10.9.0.1','10.9.0.2'",
    )
    assert made.back == ("Set-DhcpServerv4OptionValue -ScopeId 10.1.0.0 -OptionId 150 -Value '10.2.0.1','10.2.0.2'",)
    assert commands(System.WINDOWS, "server", NEW).back == ("Remove-DhcpServerv4OptionValue -OptionId 150",)
    assert all(line in made.text for line in (*made.look, *made.change, *made.back, *made.verify))


def test_ios() -> None:
    made = commands(System.IOS, "PHONES", NEW, OLD)
    assert made.change == (
        *("configure terminal", "ip dhcp pool PHONES", " option 150 ip 10.9.0.1 10.9.0.2", "end", "write memory"),
    )
    assert made.back[2] == " option 150 ip 10.2.0.1 10.2.0.2"
    assert commands(System.IOS, "PHONES", NEW).back[2] == " no option 150"
    with pytest.raises(SettingsError, match="1 to 8"):
        commands(System.IOS, "PHONES", [f"10.0.0.{number}" for number in range(9)])


@pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq (Debian package jq)")
def test_infoblox_keeps_the_other_options_and_goes_back_to_all_of_them(tmp_path: Path) -> None:
    others = [{"num": 3, "value": "10.1.0.1"}, {"num": 51, "value": "600", "use_option": False}]
    former = {"num": 150, "value": ",".join(OLD), "vendor_class": "DHCP"}
    answer = [{"_ref": "network/x:10.1.0.0/16", "options": [others[0], former, others[1]], "use_options": True}]
    # In the place of curl: what is sent is told, and so is where to.
    fake = tmp_path / "curl"
    fake.write_text(
        '#!/bin/sh\ncase "$*" in *PUT*) cat; for last; do :; done; echo "$last" >&2;;'
        f" *_return_fields*) echo '{json.dumps(answer)}';; *grid) echo '[{{\"_ref\": \"grid/1\"}}]';;"
        ' *POST*) for last; do :; done; echo "$last" >&2;; esac\n'
    )
    fake.chmod(0o755)
    made = commands(System.INFOBLOX, "10.1.0.0/16", NEW, OLD)

    def pasted(lines: Sequence[str]) -> tuple[Any, str]:
        script = "\n".join(("WAPI=https://grid/wapi/v2.7 WAPI_USER=me", *lines))
        done = subprocess.run(
            ["bash", "-eu", "-c", script],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout), done.stderr

    assert pasted(made.look) == (True, "")
    sent, where = pasted(made.change)
    assert sent == {"use_options": True, "options": [*others, former | {"value": ",".join(NEW)}]}
    assert where.splitlines() == [
        "https://grid/wapi/v2.7/network/x:10.1.0.0/16",
        "https://grid/wapi/v2.7/grid/1?_function=restartservices",
    ]
    sent, _ = pasted(made.back)
    assert sent == {"use_options": True, "options": answer[0]["options"]}
    assert pasted(made.verify) == (former, "")


@pytest.mark.parametrize(
    ("system", "scope"),
    [
        *((System.WINDOWS, scope) for scope in ("", "10.1.0.0/16", "10.1.0.0; Stop-Computer", "voice")),
        *((System.IOS, scope) for scope in ("", "A B", "A\nreload", "!x", "a?", "é")),
        *((System.INFOBLOX, scope) for scope in ("", "voice", "10.1.0.1/16", "10.1.0.0/16'", "::/0")),
    ],
)
def test_what_could_do_something_else_is_not_pasted(system: System, scope: str) -> None:
    with pytest.raises(SettingsError):
        commands(system, scope, NEW)
    with pytest.raises(SettingsError, match="no IPv4 address"):
        commands(system, {"windows": "10.1.0.0", "ios": "A", "infoblox": "10.1.0.0/16"}[system], ["10.0.0.1'"])


# Unified CM.


class FakeCluster:
    """A cluster's subnets."""

    name = "source"

    def __init__(self, *subnets: DhcpSubnet) -> None:
        self.subnets = {subnet.identifier: subnet for subnet in subnets}

    async def dhcp_subnets(self) -> tuple[DhcpSubnet, ...]:
        return tuple(self.subnets.values())

    async def set_tftp_servers(self, subnet: DhcpSubnet, servers: Sequence[str]) -> None:
        kept = self.subnets[subnet.identifier]
        self.subnets[subnet.identifier] = DhcpSubnet(kept.identifier, kept.server, kept.address, tuple(servers))


def test_unified_cm_changes_the_one_subnet_and_back() -> None:
    fake = FakeCluster(
        DhcpSubnet("1", "cm1", "10.1.0.0", OLD),
        DhcpSubnet("2", "cm1", "10.2.0.0", ()),
        DhcpSubnet("3", "cm2", "10.2.0.0", OLD[:1]),
    )

    async def scenario() -> None:
        provider = UnifiedCmDhcp(cast(Cluster, fake))
        scopes = {one.name: one for one in await provider.read()}
        assert scopes == {
            "10.1.0.0": Scope("10.1.0.0", "10.1.0.0", OLD),
            "cm1 10.2.0.0": Scope("cm1 10.2.0.0", "10.2.0.0", (), True),
            "cm2 10.2.0.0": Scope("cm2 10.2.0.0", "10.2.0.0", OLD[:1]),
        }
        with pytest.raises(SettingsError, match="1 to 2 servers"):
            provider.preview(scopes["10.1.0.0"], (*NEW, "10.9.0.3"))
        change = provider.preview(scopes["cm2 10.2.0.0"], NEW)
        assert "+secondaryTftpServerIpAddress: 10.9.0.2" in change.diff
        await provider.apply(change)
        await provider.verify(change)
        assert [one.tftp_servers for one in fake.subnets.values()] == [OLD, (), NEW]
        with pytest.raises(Refused, match="by now"):
            await provider.apply(change)
        await UnifiedCmDhcp(cast(Cluster, fake)).revert(Change.of_record(change.record()))
        assert fake.subnets["3"].tftp_servers == OLD[:1]
        with pytest.raises(Refused, match="as it was applied"):
            await provider.revert(change)
        with pytest.raises(TrustbridgeError, match="not 10"):
            await provider.verify(change)
        first = provider.preview(scopes["cm1 10.2.0.0"], NEW)
        await provider.apply(first)
        with pytest.raises(Refused, match="had no TFTP server"):
            await provider.revert(first)
        same = provider.preview(scopes["10.1.0.0"], OLD)
        assert same.edits == ()
        fake.subnets.clear()
        with pytest.raises(Refused, match="has no DHCP subnet cm2 10"):
            await provider.apply(change)

    asyncio.run(scenario())
