"""Option 150 in files of dnsmasq and of ISC's dhcpd, with the servers' own checks of what was written."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trustbridge.dhcp.dnsmasq import Dnsmasq
from trustbridge.dhcp.files import ConfigFile
from trustbridge.dhcp.isc import DEEPEST, Isc
from trustbridge.dhcp.scope import Change, Scope, find_scope
from trustbridge.errors import DecodeError, InvalidInput, Refused, SettingsError, TrustbridgeError

Syntax = Literal["dnsmasq", "isc"]


def found(name: str) -> str | None:
    """Where a program is that stands in sbin, which is not on everybody's path."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


DNSMASQ, DHCPD = found("dnsmasq"), found("dhcpd")
needs_dnsmasq = pytest.mark.skipif(DNSMASQ is None, reason="needs dnsmasq (Debian package dnsmasq-base)")
needs_dhcpd = pytest.mark.skipif(DHCPD is None, reason="needs dhcpd (Debian package isc-dhcp-server)")

OLD, NEW = ("10.2.0.1", "10.2.0.2"), ("10.9.0.1", "10.9.0.2", "10.9.0.3")

LINES = """\
# Voice
interface=lo
dhcp-range=set:phones,10.1.0.10,10.1.255.250,255.255.0.0,12h
dhcp-range=set:lab,10.3.0.10,10.3.0.250
dhcp-vendorclass=set:cisco,Cisco Systems
  dhcp-option = tag:phones , 150 , 10.2.0.1, 10.2.0.2   # old cluster, 150,10.0.0.1
#dhcp-option=150,10.5.5.5
dhcp-option=option:tftp-server-address,10.4.0.1
dhcp-option-force=tag:phones,tag:cisco,option:TFTP-server-address,10.4.0.2
dhcp-option=vendor:Cisco,150,10.6.6.6
dhcp-option=66,"cm1.example"
dhcp-option=tag:phones,3,10.1.0.1
"""

BLOCKS = """\
# Voice
option space voice;
option domain-name "a; { b # c";
option voice.x code 150 = text;
option tftp-servers code 150 = array of ip-address; # as CUCM wants it
option odd code 9 = { integer 8, text };
option tftp-servers 10.4.0.1;
option tftp-server-name "cm1.example";
key omapi { algorithm hmac-md5; secret "c2VjcmV0"; };
class "phones" { match if substring(option vendor-class-identifier, 0, 5) = "Cisco"; }
subnet 10.1.0.0 netmask 255.255.0.0 { # phones
\trange 10.1.0.10 10.1.255.250;
\toption TFTP-Servers   10.2.0.1 /* */, 10.2.0.2
\t\t; # option tftp-servers 10.0.0.1;
\tpool { range 10.1.0.2 10.1.0.3; option tftp-servers 10.2.0.3; }
\tpool { range 10.1.0.4 10.1.0.5; }
}
shared-network lab {
    subnet 10.3.0.0 netmask 255.255.255.0 { range 10.3.0.10 10.3.0.20; }
    subnet 10.3.1.0 netmask 255.255.255.0 {
        # nothing
        range 10.3.1.10 10.3.1.20;
    }
}
group { host one { hardware ethernet 00:11:22:33:44:55; option tftp-servers 10.2.0.9; } }
""".replace(" /* */", "")


@pytest.fixture(autouse=True)
def _no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def read(file: ConfigFile) -> dict[str, Scope]:
    return {scope.name: scope for scope in asyncio.run(file.read())}


def changed(file: ConfigFile, name: str, servers: tuple[str, ...] = NEW) -> Change:
    async def change() -> Change:
        made = file.preview(find_scope(await file.read(), name), servers)
        await file.apply(made)
        await file.verify(made)
        return made

    return asyncio.run(change())


def revert(file: ConfigFile, change: Change) -> None:
    asyncio.run(file.revert(Change.of_record(change.record())))


def written(folder: Path, syntax: Syntax, text: str) -> ConfigFile:
    path = folder / f"{syntax}.conf"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return ConfigFile(path, syntax)


def accepted(file: ConfigFile, syntax: Syntax) -> None:
    """The server itself finds no fault with the file."""
    if syntax == "dnsmasq":
        command = [str(DNSMASQ), "--test", "-C", str(file.path)]
    else:
        leases = file.path.with_name("leases")
        leases.touch()
        command = [str(DHCPD), "-t", "-cf", str(file.path), "-lf", str(leases)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_dnsmasq_scopes_are_sets_of_tags(tmp_path: Path) -> None:
    assert read(written(tmp_path, "dnsmasq", LINES)) == {
        "all": Scope("all", "", ("10.4.0.1",), False, "cm1.example"),
        "tag:phones": Scope("tag:phones", "10.1.0.0/16", OLD, False, "cm1.example"),
        "tag:lab": Scope("tag:lab", "10.3.0.10", ("10.4.0.1",), True, "cm1.example"),
        "tag:cisco,tag:phones": Scope("tag:cisco,tag:phones", "", ("10.4.0.2",), False, "cm1.example"),
    }


def test_isc_scopes_are_blocks(tmp_path: Path) -> None:
    inherited = ("10.4.0.1",)
    scopes = [
        Scope("global", "", inherited, False, "cm1.example"),
        Scope("subnet 10.1.0.0", "10.1.0.0/16", OLD, False, "cm1.example"),
        Scope("subnet 10.1.0.0 pool 1", "10.1.0.0/16", ("10.2.0.3",), False, "cm1.example"),
        Scope("shared-network lab", "", inherited, True, "cm1.example"),
        Scope("subnet 10.3.0.0", "10.3.0.0/24", inherited, True, "cm1.example"),
        Scope("subnet 10.3.1.0", "10.3.1.0/24", inherited, True, "cm1.example"),
        Scope("group 1 host one", "", ("10.2.0.9",), False, "cm1.example"),
    ]
    assert read(written(tmp_path, "isc", BLOCKS)) == {scope.name: scope for scope in scopes}


SCOPES: list[tuple[Syntax, str, str]] = [
    ("dnsmasq", "all", "dhcp-option=option:tftp-server-address,10.9.0.1,10.9.0.2,10.9.0.3\n"),
    (
        "dnsmasq",
        "tag:phones",
        "  dhcp-option = tag:phones , 150 ,10.9.0.1,10.9.0.2,10.9.0.3   # old cluster, 150,10.0.0.1\n",
    ),
    ("dnsmasq", "tag:lab", "dhcp-option=tag:lab,150,10.9.0.1,10.9.0.2,10.9.0.3\n"),
    ("dnsmasq", "tag:cisco,tag:phones", "tag:phones,tag:cisco,option:TFTP-server-address,10.9.0.1,10.9.0.2,10.9.0.3\n"),
    ("isc", "global", "\noption tftp-servers 10.9.0.1, 10.9.0.2, 10.9.0.3;\n"),
    (
        "isc",
        "10.1.0.0/16",
        "\toption TFTP-Servers 10.9.0.1, 10.9.0.2, 10.9.0.3; # option tftp-servers 10.0.0.1;\n",
    ),
    ("isc", "subnet 10.1.0.0 pool 1", "range 10.1.0.2 10.1.0.3; option tftp-servers 10.9.0.1, 10.9.0.2, 10.9.0.3; }\n"),
    ("isc", "shared-network lab", "lab {\n    option tftp-servers 10.9.0.1, 10.9.0.2, 10.9.0.3;\n    subnet"),
    ("isc", "subnet 10.3.0.0", "255.255.255.0 { option tftp-servers 10.9.0.1, 10.9.0.2, 10.9.0.3; range"),
    ("isc", "subnet 10.3.1.0", "{\n        option tftp-servers 10.9.0.1, 10.9.0.2, 10.9.0.3;\n        # nothing\n"),
    ("isc", "group 1 host one", "option tftp-servers 10.9.0.1, 10.9.0.2, 10.9.0.3; } }\n"),
]


@needs_dnsmasq
@needs_dhcpd
@pytest.mark.parametrize(("syntax", "name", "expected"), SCOPES, ids=[f"{s}-{n}" for s, n, _ in SCOPES])
def test_one_statement_changes_and_comes_back_and_the_server_reads_it(
    tmp_path: Path, syntax: Syntax, name: str, expected: str
) -> None:
    content = {"dnsmasq": LINES, "isc": BLOCKS}[syntax]
    file = written(tmp_path, syntax, content)
    accepted(file, syntax)
    before = read(file)
    chosen = find_scope(list(before.values()), name)
    asyncio.run(file.read())
    previewed = file.preview(chosen, NEW)
    assert file.path.read_text() == content  # a preview changes nothing
    change = changed(file, name)
    assert change == previewed
    after = file.path.read_text()
    assert expected in after
    accepted(file, syntax)
    assert read(file)[chosen.name].option150 == NEW
    assert [one for one in read(file).values() if not one.inherited and one.name != chosen.name] == [
        one for one in before.values() if not one.inherited and one.name != chosen.name
    ]
    shown = [line for line in change.diff.splitlines() if line[0] in "+-" and line[:3] not in ("+++", "---")]
    assert all(line[1:] in after.splitlines() for line in shown if line[0] == "+")
    assert all(line[1:] in content.splitlines() for line in shown if line[0] == "-")
    assert "c2VjcmV0" not in f"{change.diff}{change.record()}"
    revert(file, change)
    assert file.path.read_text() == content


@needs_dhcpd
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            "",
            "option tftp-servers code 150 = array of ip-address;\noption tftp-servers 10.9.0.1, 10.9.0.2, 10.9.0.3;\n",
        ),
        ("default-lease-time 9;", "option tftp-servers code 150 = array of ip-address;\noption tftp-servers 10.9"),
        ("option tftp-server-address 10.1.1.1;", "option tftp-server-address 10.9.0.1, 10.9.0.2, 10.9.0.3;"),
        ("option dhcp.tftp-server-address 10.1.1.1 ;", "option dhcp.tftp-server-address 10.9.0.1, 10.9.0.2, 10.9.0.3;"),
        ("option v code 150 = string; option v 0a:01:01:01;", "option v 0a:09:00:01:0a:09:00:02:0a:09:00:03;"),
        ("option v code 150 = string;", "option v code 150 = string; option v 0a:09:00:01:0a:09:00:02:0a:09:00:03;"),
        ("option v code 150 = array of { ip-address };\n", "};\noption v 10.9.0.1, 10.9.0.2, 10.9.0.3;\n"),
        ("option v code 150 = ip-address;", "option tftp-servers code 150 = array of ip-address;\n"),
        ('option tftp-servers code 151 = text;\noption tftp-servers "x";', "option tftp-servers-150 code 150 = array"),
        (
            "option v code 150 = array of ip-address;\noption v tftp.invalid;\noption v 10.1.1.1;",
            "option v 10.9.0.1, 10",
        ),
    ],
)
def test_isc_the_option_is_defined_where_it_has_to_be(tmp_path: Path, content: str, expected: str) -> None:
    file = written(tmp_path, "isc", content)
    accepted(file, "isc")
    change = changed(file, "global")
    assert expected in file.path.read_text()
    accepted(file, "isc")
    revert(file, change)
    assert file.path.read_text() == content


def test_isc_a_single_address_can_be_changed_for_a_single_one_only(tmp_path: Path) -> None:
    content = "option v code 150 = ip-address;\noption v 10.1.1.1;\n"
    file = written(tmp_path, "isc", content)
    with pytest.raises(Refused, match="defines option v as 'ip-address', which can't hold 3"):
        changed(file, "global")
    assert file.path.read_text() == content
    changed(file, "global", NEW[:1])
    assert read(file)["global"].option150 == NEW[:1]


def test_isc_a_definition_stays_while_another_scope_needs_it(tmp_path: Path) -> None:
    file = written(tmp_path, "isc", "subnet 10.1.0.0 netmask 255.255.0.0 {}\nsubnet 10.2.0.0 netmask 255.255.0.0 {}\n")
    content = file.path.read_text()
    first, second = changed(file, "10.1.0.0"), changed(file, "10.2.0.0", OLD)
    assert [len(first.edits), len(second.edits)] == [2, 1]
    revert(file, first)
    assert read(file)["subnet 10.2.0.0"].option150 == OLD
    assert file.path.read_text().startswith("option tftp-servers code 150 = array of ip-address;\nsubnet 10.1.0.0")
    revert(file, second)
    assert file.path.read_text() == f"option tftp-servers code 150 = array of ip-address;\n{content}"


@needs_dhcpd
def test_isc_a_name_that_an_included_file_defines_is_known(tmp_path: Path) -> None:
    (tmp_path / "names.conf").write_text("option voice code 150 = array of ip-address;\n")
    content = f'include "{tmp_path}/names.conf";\noption voice 10.2.0.1;\nsubnet 10.1.0.0 netmask 255.255.0.0 {{\n}}\n'
    file = written(tmp_path, "isc", content)
    accepted(file, "isc")
    assert read(file)["subnet 10.1.0.0"].option150 == ("10.2.0.1",)
    change = changed(file, "10.1.0.0")
    assert "{\n  option voice 10.9.0.1" in file.path.read_text()
    accepted(file, "isc")
    revert(file, change)
    assert file.path.read_text() == content


def test_every_one_of_several_statements_changes_and_each_comes_back(tmp_path: Path) -> None:
    for syntax, content in (
        ("dnsmasq", "dhcp-option=150,10.9.0.1,10.9.0.2,10.9.0.3\ndhcp-option=150,10.1.1.1\n"),
        ("isc", "option tftp-server-address 10.9.0.1, 10.9.0.2, 10.9.0.3;\noption tftp-server-address 10.1.1.1;\n"),
    ):
        file = written(tmp_path, syntax, content)  # type: ignore[arg-type]  # they are syntaxes
        name = "all" if syntax == "dnsmasq" else "global"
        change = changed(file, name)
        assert "10.1.1.1" not in file.path.read_text()
        revert(file, change)
        assert file.path.read_text() == content


@pytest.mark.parametrize(("syntax", "name"), [("dnsmasq", "tag:phones"), ("isc", "subnet 10.1.0.0")])
def test_somebody_elses_change_is_neither_overwritten_nor_taken_back(tmp_path: Path, syntax: Syntax, name: str) -> None:
    file = written(tmp_path, syntax, {"dnsmasq": LINES, "isc": BLOCKS}[syntax])
    stale = file.preview(read(file)[name], NEW)
    theirs = changed(file, name, ("10.7.7.7",))
    with pytest.raises(Refused, match=r"is 10\.7\.7\.7 by now, not 10\.2\.0\.1, 10\.2\.0\.2"):
        asyncio.run(file.apply(stale))
    changed(file, name, NEW)
    with pytest.raises(Refused, match=r"is 10\.9\.0\.1, .*, not 10\.7\.7\.7 as it was applied"):
        revert(file, theirs)
    with pytest.raises(TrustbridgeError, match=r"is 10\.9\.0\.1") as raised:
        asyncio.run(file.verify(theirs))
    assert raised.value.exit_code == 1
    # Elsewhere in the file others may change what they like, and it stays.
    ours = changed(file, name, OLD)
    file.path.write_text(f"# theirs\n{file.path.read_text()}")
    revert(file, ours)
    assert file.path.read_text().startswith("# theirs\n")
    assert read(file)[name].option150 == NEW
    # The same servers, written otherwise.
    ours = changed(file, name, OLD)
    file.path.write_text(file.path.read_text().replace("10.2.0.2", " 10.2.0.2"))
    with pytest.raises(Refused, match="written otherwise than it was applied"):
        revert(file, ours)
    # The scope is gone.
    file.path.write_text("")
    with pytest.raises(Refused, match=f"has no scope {name}"):
        revert(file, ours)


def test_a_change_at_the_same_moment_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(tmp_path, "dnsmasq", LINES)
    change = file.preview(read(file)["tag:lab"], NEW)

    def busy(descriptor: int) -> None:
        file.path.write_text("# theirs\n")

    monkeypatch.setattr(os, "fsync", busy)
    with pytest.raises(Refused, match="at this very moment"):
        asyncio.run(file.apply(change))
    assert file.path.read_text() == "# theirs\n"
    assert list(tmp_path.iterdir()) == [file.path]


def test_mode_owner_and_link_of_the_file_stay(tmp_path: Path) -> None:
    file = written(tmp_path, "dnsmasq", LINES)
    file.path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(file.path, 1234, 4321)
    before = file.path.stat()
    link = tmp_path / "link.conf"
    link.symlink_to(file.path.name)
    changed(ConfigFile(link, "dnsmasq"), "tag:lab")
    assert link.is_symlink()
    assert "tag:lab,150" in file.path.read_text()
    after = file.path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert sorted(tmp_path.iterdir()) == [file.path, link]


def test_what_was_the_same_before_is_no_change(tmp_path: Path) -> None:
    for syntax, name in (("dnsmasq", "tag:phones"), ("isc", "subnet 10.1.0.0")):
        file = written(tmp_path, syntax, {"dnsmasq": LINES, "isc": BLOCKS}[syntax])  # type: ignore[arg-type]  # as above
        inode = file.path.stat().st_ino
        change = changed(file, name, OLD)
        assert (change.edits, change.diff) == ((), "")
        revert(file, change)
        assert file.path.stat().st_ino == inode


@pytest.mark.parametrize(
    ("syntax", "text", "words"),
    [
        ("isc", "subnet 10.1.0.0 netmask 255.255.0.0 {\n", "line 2: .*a closing brace is missing"),
        ("isc", "\n}", "line 2: .*an opening brace is missing"),
        ("isc", "group { option x 3 }", "line 1: .*a semicolon is missing"),
        ("isc", "option x 3", "a semicolon is missing"),
        ("isc", '\n\noption x "3;', "line 3: .*a quote without its end"),
        ("isc", "a{" * (DEEPEST + 1) + "}" * (DEEPEST + 1), "blocks in blocks"),
        ("dnsmasq", "\ndhcp-option=150,tftp.example", "line 2: .*no addresses: tftp.example"),
        ("dnsmasq", 'dhcp-option=150,"10.1.1.1"', "line 1: .*no addresses"),
        ("dnsmasq", "dhcp-option=tag:,150,10.1.1.1", "line 1: .*tag"),
    ],
)
def test_a_file_that_the_server_would_not_take_is_one_error_with_its_line(
    tmp_path: Path, syntax: Syntax, text: str, words: str
) -> None:
    with pytest.raises(InvalidInput, match=words):
        read(written(tmp_path, syntax, text))


def test_a_file_that_is_not_there_is_a_wrong_option(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"can't read .*No such file"):
        read(ConfigFile(tmp_path / "nothing.conf", "isc"))


def test_the_command_that_reloads_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a b.conf"
    assert ConfigFile(path, "dnsmasq").reload == f"dnsmasq --test -C '{path}' && systemctl restart dnsmasq"
    assert ConfigFile(path, "isc").reload == f"dhcpd -t -cf '{path}' && systemctl restart isc-dhcp-server"


# Any text.

PIECES = {
    "dnsmasq": [
        *("dhcp-option=", "dhcp-option-force = ", "dhcp-range=", "set:a,", "tag:a,", "tag:b,", "net:b,", "!c,", "150,"),
        *("150", "option:tftp-server-address,", "10.0.0.1", ",10.0.0.2", ",", " ", "\n", "\r\n", "#", " #", '"', "\t"),
        *("vendor:x,", "66,", "255.0.0.0", "domain=x\n", "\udc80", "é", "\x0b", "\\"),
    ],
    "isc": [
        *("option ", "tftp-servers ", "tftp-server-address ", "code 150 = ", "code 9 = ", "array of ip-address", ";"),
        *("; ", ";\n", "{", "}", "{\n", "\n}\n", "subnet 10.0.0.0 netmask 255.0.0.0 ", "group ", "pool ", "host x "),
        *("shared-network n ", "10.0.0.1", ", ", "0a:00:00:01", '"', '"x"', "\\", "#", "# x\n", "\n", "\r\n", "string"),
        *("if option x = 1 ", "ip-address", "\udc80", "é", "tftp-server-name ", 'include "/nonexistent"', "dhcp."),
    ],
}
PARSERS: dict[Syntax, Callable[[str], Dnsmasq | Isc]] = {"dnsmasq": Dnsmasq, "isc": Isc}
SERVERS = st.lists(st.ip_addresses(v=4).map(str), min_size=1, max_size=4, unique=True).map(tuple)


def texts(syntax: Syntax) -> st.SearchStrategy[str]:
    real = {"dnsmasq": LINES, "isc": BLOCKS}[syntax]
    lines = st.lists(st.sampled_from(real.splitlines(keepends=True)), max_size=30).map("".join)
    pieces = st.lists(st.sampled_from(PIECES[syntax]), max_size=40).map("".join)
    cut = st.tuples(st.integers(0, len(real)), pieces, st.integers(0, 5)).map(
        lambda at: real[: at[0]] + at[1] + real[at[0] + at[2] :]
    )
    return st.one_of(pieces, lines, cut, st.text(max_size=60).filter(lambda text: not any(map(_surrogate, text))))


def _surrogate(letter: str) -> bool:
    return "\ud800" <= letter <= "\udfff"


@pytest.mark.parametrize("syntax", ["dnsmasq", "isc"])
def test_any_text_is_one_error_or_what_is_set_is_read_and_what_is_taken_back_is_as_it_was(
    tmp_path: Path, syntax: Syntax
) -> None:
    outcomes: set[str] = set()

    @settings(max_examples=250)
    @given(texts(syntax), SERVERS, st.integers(0, 50))
    @example("dhcp-range=set:a,10.0.0.1\ndhcp-option=150", ("10.0.0.9",), 1)
    @example("", ("10.0.0.9",), 0)
    @example("option tftp-servers code 150 = array of ip-address", ("10.0.0.9",), 0)
    def any_text(text: str, servers: tuple[str, ...], chosen: int) -> None:
        try:
            scopes = PARSERS[syntax](text).places
        except DecodeError:
            outcomes.add("refused")
            return
        names = [place.scope.name for place in scopes]
        assert len(names) == len(set(names))
        if not names:
            return
        file = written(tmp_path, syntax, text)
        content = file.path.read_bytes()
        name = names[chosen % len(names)]
        try:
            change = changed(file, name, servers)
        except Refused:  # a definition that can't hold them
            outcomes.add("not said")
            assert file.path.read_bytes() == content
            return
        after = read(file)
        assert (after[name].option150, after[name].inherited) == (servers, not change.edits and after[name].inherited)
        assert list(after) == names
        if change.edits:
            outcomes.add("changed")
        revert(file, change)
        assert file.path.read_bytes() == content

    any_text()
    assert {"refused", "changed"} <= outcomes <= {"refused", "changed", "not said"}
