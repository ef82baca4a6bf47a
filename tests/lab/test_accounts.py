"""Accounts of a lab cluster: two realms, one private file, and nobody learns more than yes or no."""

from __future__ import annotations

import hmac
import json
from pathlib import Path
from typing import Any

import pytest

from trustbridge import atomicfile
from trustbridge.errors import SettingsError
from trustbridge.lab.accounts import AXL_ACCESS, CCM_ADMIN, Accounts, Verdict


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "accounts.json"


def test_passwords_are_made_once_and_kept_private(path: Path) -> None:
    made = Accounts(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert Accounts(path).credentials("os") == made.credentials("os")
    assert made.credentials("os")[0] == made.user("os") == "administrator"
    assert made.credentials("application")[0] == "axluser"
    secrets = {made.credentials("os")[1], made.credentials("application")[1]}
    assert len(secrets) == 2
    assert all(len(secret) >= 20 for secret in secrets)


def test_two_clusters_have_different_passwords(tmp_path: Path) -> None:
    assert Accounts(tmp_path / "one").credentials("os") != Accounts(tmp_path / "two").credentials("os")


def test_a_password_opens_its_own_realm_alone(path: Path) -> None:
    accounts = Accounts(path)
    user, password = accounts.credentials("os")
    assert accounts.check("os", user, password) is Verdict.OK
    assert accounts.check("application", user, password) is Verdict.WRONG_PASSWORD


@pytest.mark.parametrize("wrong", ["", "guess", "\ud800", "x" * 10_000])
def test_a_wrong_password_and_an_unknown_user_get_the_same_answer(path: Path, wrong: str) -> None:
    accounts = Accounts(path)
    assert accounts.check("os", "administrator", wrong) is Verdict.WRONG_PASSWORD
    assert accounts.check("os", "nobody", wrong) is Verdict.WRONG_PASSWORD


def test_every_password_is_compared_in_constant_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts = Accounts(path)
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def watched(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return bool(real(one, other))

    monkeypatch.setattr(hmac, "compare_digest", watched)
    for user in ("administrator", "nobody"):
        accounts.check("os", user, "guess")
    assert [other for _, other in compared] == [b"guess", b"guess"]


def test_a_right_that_is_missing_is_told_only_to_who_knows_the_password(path: Path) -> None:
    accounts = Accounts(path)
    accounts.add("application", "reader", "secret-of-reader", frozenset({CCM_ADMIN}))
    assert accounts.check("application", "reader", "secret-of-reader", CCM_ADMIN) is Verdict.OK
    assert accounts.check("application", "reader", "secret-of-reader", AXL_ACCESS) is Verdict.NO_RIGHT
    assert accounts.check("application", "reader", "guess", AXL_ACCESS) is Verdict.WRONG_PASSWORD
    assert accounts.check("application", *accounts.credentials("application"), AXL_ACCESS) is Verdict.OK


def test_added_accounts_survive_and_the_first_of_a_realm_stays_first(path: Path) -> None:
    Accounts(path).add("os", "second", "pass-of-second")
    again = Accounts(path)
    assert again.check("os", "second", "pass-of-second") is Verdict.OK
    assert again.user("os") == "administrator"


def test_an_empty_password_is_refused(path: Path) -> None:
    with pytest.raises(SettingsError):
        Accounts(path).add("os", "anybody", "")


def test_composed_and_decomposed_letters_are_the_same_password(path: Path) -> None:
    accounts = Accounts(path)
    accounts.add("os", "zoë", "cafe\u0301-password")
    assert accounts.check("os", "zoë", "caf\u00e9-password") is Verdict.OK


def test_no_password_stands_in_a_repr(path: Path) -> None:
    accounts = Accounts(path)
    account = accounts._accounts["os", "administrator"]
    assert account.password not in repr(account) + repr(accounts) + str(accounts)


@pytest.mark.parametrize(
    "content",
    [
        "not JSON hunter2",
        "[]",
        '[{"realm": "os", "user": "administrator", "password": "hunter2"}]',
        '[{"realm": "root", "user": "a", "password": "hunter2", "rights": []}]',
        '[{"realm": "os", "user": "a", "password": "", "rights": []}]',
        '{"hunter2": 1}',
    ],
)
def test_a_file_that_can_not_be_read_is_refused_without_what_is_in_it(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(SettingsError) as caught:
        Accounts(path)
    assert str(path) in caught.value.message
    assert "hunter2" not in caught.value.message + caught.value.hint
    assert caught.value.__suppress_context__


def test_a_full_disk_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts = Accounts(path)
    before = path.read_text()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomicfile, "write", full)
    with pytest.raises(OSError, match="No space"):
        accounts.add("os", "second", "pass-of-second")
    assert accounts.check("os", "second", "pass-of-second") is Verdict.WRONG_PASSWORD
    assert json.loads(path.read_text()) == json.loads(before)
