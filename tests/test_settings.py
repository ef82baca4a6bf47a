"""Settings: where they come from, which wins, and what is said of wrong ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trustbridge import settings
from trustbridge.errors import SettingsError


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    return {"HOME": str(tmp_path), **more}


def configured(tmp_path: Path, text: str) -> Path:
    path = tmp_path / ".config" / "trustbridge" / "trustbridge.toml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def test_without_anything_state_is_kept_where_the_system_keeps_state(tmp_path: Path) -> None:
    found = settings.load(environment(tmp_path))
    assert found.state_folder == tmp_path / ".local" / "state" / "trustbridge"
    assert found.lab_folder == found.state_folder / "lab"
    assert found.known_hosts == found.state_folder / "known_hosts"
    assert (found.log_level, found.debug) == ("warning", False)


def test_xdg_folders_count(tmp_path: Path) -> None:
    found = settings.load(environment(tmp_path, XDG_STATE_HOME="/xdg/state"))
    assert found.state_folder == Path("/xdg/state/trustbridge")
    (tmp_path / "c" / "trustbridge").mkdir(parents=True)
    (tmp_path / "c" / "trustbridge" / "trustbridge.toml").write_text('log_level = "info"')
    assert settings.load(environment(tmp_path, XDG_CONFIG_HOME=str(tmp_path / "c"))).log_level == "info"


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    configured(tmp_path, 'state_folder = "/from/file"\nlog_level = "info"\n')
    found = settings.load(environment(tmp_path, TRUSTBRIDGE_STATE_FOLDER="/from/environment"))
    assert found.state_folder == Path("/from/environment")
    assert found.log_level == "info"


def test_another_file_may_be_named(tmp_path: Path) -> None:
    configured(tmp_path, 'log_level = "info"\n')
    other = tmp_path / "other.toml"
    other.write_text("debug = true\n")
    found = settings.load(environment(tmp_path, TRUSTBRIDGE_CONFIG=str(other)))
    assert (found.log_level, found.debug) == ("warning", True)


def test_folders_are_absolute_and_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert settings.load(environment(tmp_path, TRUSTBRIDGE_STATE_FOLDER="here")).state_folder == tmp_path / "here"
    configured(tmp_path, 'state_folder = "~/labs"\n')
    assert settings.load(environment(tmp_path)).state_folder == Path("/home/somebody/labs")


def test_without_a_home_each_user_has_a_folder_of_his_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    found = settings.load({}).state_folder
    assert found.parts[:3] == ("/", "tmp", f"trustbridge-{os.geteuid()}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("colour = 1", "colour: Extra inputs are not permitted"),
        ('log_level = "loud"', "log_level: Input should be 'debug'"),
        ('debug = "perhaps"', "debug: Input should be a valid boolean"),
        ("[[", "is not TOML"),
    ],
)
def test_a_wrong_setting_is_named_with_the_file(tmp_path: Path, text: str, words: str) -> None:
    path = configured(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        settings.load(environment(tmp_path))
    assert words in caught.value.message
    assert str(path) in caught.value.message + caught.value.hint


def test_a_wrong_variable_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="log_level") as caught:
        settings.load(environment(tmp_path, TRUSTBRIDGE_LOG_LEVEL="loud"))
    assert "TRUSTBRIDGE_" in caught.value.hint


def test_a_named_file_that_is_missing_or_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="which does not exist"):
        settings.load(environment(tmp_path, TRUSTBRIDGE_CONFIG="/no/such/file"))
    with pytest.raises(SettingsError, match=r"can't read .*Is a directory"):
        settings.load(environment(tmp_path, TRUSTBRIDGE_CONFIG=str(tmp_path)))
