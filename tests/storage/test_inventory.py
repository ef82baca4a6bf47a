"""The file of clusters: what is written is read, what can't be right is named, and no secret gets in."""

from __future__ import annotations

import contextlib
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustbridge.cucm.credentials import Credentials, Secret
from trustbridge.cucm.model import ClusterEntry
from trustbridge.errors import SettingsError
from trustbridge.storage.inventory import FILE, Inventory, parse, render
from trustbridge.storage.passwordfile import PasswordFile

SOURCE = ClusterEntry(
    name="source",
    publisher="cm1.example.com",
    os_user="administrator",
    app_user="axluser",
    ssh_port=2222,
    node_addresses=(("cm2", "192.0.2.2"), ('odd"name\\', "2001:db8::1")),
    legacy_ssh=True,
    axl_schema="/opt/schéma",
)
OTHER = ClusterEntry(name="other", publisher="192.0.2.9", os_user="admin", app_user="axl")


def test_what_is_added_is_there_for_the_next_command_and_gone_after_remove(tmp_path: Path) -> None:
    Inventory(tmp_path / "state").add(SOURCE)
    Inventory(tmp_path / "state").add(OTHER)
    assert Inventory(tmp_path / "state").all() == {"source": SOURCE, "other": OTHER}
    assert stat.S_IMODE((tmp_path / "state" / FILE).stat().st_mode) == 0o600
    Inventory(tmp_path / "state").remove("source")
    assert Inventory(tmp_path / "state").all() == {"other": OTHER}
    with pytest.raises(SettingsError, match="no cluster is called source"):
        Inventory(tmp_path / "state").get("source")


def test_a_name_that_is_taken_needs_a_word_and_then_nothing_has_changed(tmp_path: Path) -> None:
    inventory = Inventory(tmp_path)
    inventory.add(OTHER)
    changed = ClusterEntry(name="other", publisher="192.0.2.10", os_user="admin", app_user="axl")
    with pytest.raises(SettingsError, match="other is there already"):
        inventory.add(SOURCE, changed)
    assert inventory.all() == {"other": OTHER}
    inventory.add(changed, replace=True)
    assert inventory.get("other") == changed


WORD = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1).filter(
    lambda word: word.isprintable() and ":" not in word
)


@given(
    st.builds(
        ClusterEntry,
        name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,20}", fullmatch=True),
        publisher=WORD,
        os_user=WORD,
        app_user=WORD,
        ssh_port=st.integers(1, 65535),
        https_port=st.integers(1, 65535),
        node_addresses=st.dictionaries(WORD, WORD, max_size=3).map(lambda pairs: tuple(pairs.items())),
        legacy_ssh=st.booleans(),
        axl_schema=st.none() | WORD,
    )
)
def test_any_entry_that_may_be_added_is_read_as_it_was(entry: ClusterEntry) -> None:
    assert parse(render({entry.name: entry})) == {entry.name: entry}


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("source = 1", "source"),
        ("[source]\npublisher = 'a'\nos_user = 'b'", "app_user is missing"),
        ("[source]\npublisher = 'a'\nos_user = 'b'\napp_user = 'c'\nssh_port = '22'", "cluster source: ssh_port"),
        ("[source]\npublisher = 'a'\nos_user = 'b'\napp_user = 'c'\nssh_port = true", "cluster source: ssh_port"),
        ("[source]\npublisher = 'a'\nos_user = 'b'\napp_user = 'c'\nssh_port = 65536", "cluster source: ssh_port"),
        ("[source]\npublisher = 'a b'\nos_user = 'b'\napp_user = 'c'", "cluster source: publisher"),
        ("[source]\npublisher = 'a'\nos_user = 'b:x'\napp_user = 'c'", "cluster source: os_user"),
        ("[source]\npublisher = 'a'\nos_user = 'b'\napp_user = 'c'\nnode_addresses = 1", "source: node_addresses"),
        ("[source]\npublisher = 'a'\nos_user = 'b'\napp_user = 'c'\nlegacy_ssh = 'yes'", "source: legacy_ssh"),
        ("['a b']\npublisher = 'a'\nos_user = 'b'\napp_user = 'c'", "'a b'"),
        ("[source", "not TOML"),
    ],
)
def test_what_can_not_be_right_is_named(content: str, named: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(content)
    assert named in caught.value.message


@given(st.text() | st.from_regex(r"(\[?[a-z]+\]?( = (1|'x'|true|\[\]))?\n){1,6}"))
def test_any_text_is_read_or_refused(content: str) -> None:
    with contextlib.suppress(SettingsError):
        assert isinstance(parse(content), dict)


def test_a_password_in_the_file_is_refused_and_not_repeated(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("[source]\npublisher='a'\nos_user='b'\napp_user='c'\nos_password='hunter2'\n")
    with pytest.raises(SettingsError, match="os_password") as caught:
        Inventory(tmp_path).all()
    assert "remove it" in caught.value.hint
    assert "hunter2" not in caught.value.message + caught.value.hint


def test_bytes_that_are_no_text_and_a_folder_in_place_of_the_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="not TOML"):
        Inventory(tmp_path).all()
    (tmp_path / FILE).unlink()
    (tmp_path / FILE).mkdir()
    with pytest.raises(SettingsError, match="can't read"):
        Inventory(tmp_path).all()


def test_passwords_are_kept_apart_for_the_owner_alone_and_forgotten(tmp_path: Path) -> None:
    file = PasswordFile(tmp_path / "state")
    assert file.get("source") == Credentials()
    file.keep("source", Credentials(Secret("s1"), Secret("s2")))
    file.keep("other", Credentials(app=Secret("s3")))
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert file.get("source") == Credentials(Secret("s1"), Secret("s2"))
    assert file.get("other") == Credentials(None, Secret("s3"))
    assert file.forget("source")
    assert not file.forget("source")
    assert file.get("source") == Credentials()


def test_a_file_of_passwords_that_others_may_read_or_that_is_garbled_is_not_used(tmp_path: Path) -> None:
    file = PasswordFile(tmp_path)
    file.keep("source", Credentials(Secret("hunter2")))
    file.path.chmod(0o640)
    with pytest.raises(SettingsError, match="other users"):
        file.get("source")
    for content in ('{"source": {"OS": 1, "x": "hunter2"}}', '["hunter2"]', '{"hunter2', '{"source": "hunter2"}'):
        file.path.write_text(content)
        file.path.chmod(0o600)
        with pytest.raises(SettingsError, match="can't be read") as caught:
            file.get("source")
        assert "hunter2" not in caught.value.message + caught.value.hint


def test_those_who_change_the_files_at_once_lose_nothing(tmp_path: Path) -> None:
    def one(number: int) -> None:
        name = f"c{number}"
        Inventory(tmp_path).add(ClusterEntry(name, "192.0.2.1", "a", "b"))
        PasswordFile(tmp_path).keep(name, Credentials(Secret(name)))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(24)))
    names = {f"c{number}" for number in range(24)}
    assert set(Inventory(tmp_path).all()) == names
    assert {name for name in names if PasswordFile(tmp_path).get(name).os == Secret(name)} == names
