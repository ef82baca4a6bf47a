"""Signing in: set-up, passwords, too many wrong ones, sessions that end, and tokens of scripts."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from argon2 import extract_parameters
from argon2.low_level import Type
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, inspect, text
from tests.console.desks import CHEAP, HERE, PASSWORD, Browser, Clock, SignIn, token_of

from trustbridge.console.accounts import HASHING, OF_ADDRESS, OF_NAME, Accounts, NotLetIn
from trustbridge.console.desk import Desk
from trustbridge.console.guard import csrf_of, safe_path
from trustbridge.errors import AuthenticationRefused, NotNow, SettingsError, Throttled, TrustbridgeError
from trustbridge.storage.audit import AuditFilter, Outcome
from trustbridge.storage.people import Role

COOKIE = "__Host-trustbridge"


def test_passwords_are_hashed_as_rfc_9106_recommends_at_the_least(desk: Desk) -> None:
    # Section 4, second recommended option: t=3, p=4, m=2^16 KiB, salt of 128 and tag of 256 bits.
    assert HASHING.type is Type.ID
    assert (HASHING.time_cost >= 3, HASHING.memory_cost >= 65536, HASHING.parallelism >= 4) == (True, True, True)
    assert (HASHING.salt_len >= 16, HASHING.hash_len >= 32) == (True, True)
    real = Accounts(desk.engine, desk.now)
    real.add("anna", Role.VIEWER, PASSWORD)
    found = desk.accounts.people.hash_of("anna")
    assert found is not None
    assert extract_parameters(found[1]) == HASHING


def test_a_hash_with_cheaper_parameters_is_renewed_at_the_next_sign_in(desk: Desk) -> None:
    desk.accounts.add("anna", Role.VIEWER, PASSWORD)
    Accounts(desk.engine, desk.now).sign_in("anna", PASSWORD, "::1")
    found = desk.accounts.people.hash_of("anna")
    assert found is not None
    assert extract_parameters(found[1]) == HASHING


# Set-up.


def test_the_first_administrator_is_made_with_the_token_and_once(client: Browser, desk: Desk) -> None:
    assert "Set-up token" in client.sees("/login")
    form = {"name": "anna", "password": PASSWORD, "again": PASSWORD}
    client.sees(f"/setup?token={desk.setup.token}")
    assert client.send_form("/setup", form | {"token": "guessed"}).status_code == 403
    assert client.send_form("/setup", form | {"token": desk.setup.token, "again": "other"}).status_code == 422
    assert client.send_form("/setup", form | {"token": desk.setup.token, "password": "short"}).status_code == 422
    assert desk.accounts.people.none_yet()
    answer = client.send_form("/setup", form | {"token": desk.setup.token})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert client.get("/users").status_code == 200
    other = Browser(client.app, HERE)
    other.sees("/login")
    assert other.get(f"/setup?token={desk.setup.token}", follow_redirects=False).headers["location"] == "/login"
    again = other.send_form("/setup", form | {"token": desk.setup.token, "name": "eve"})
    assert again.status_code == 409
    assert [one.name for one in desk.accounts.people.all()] == ["anna"]


def test_only_one_of_two_is_the_first(desk: Desk) -> None:
    ready, made, refused = threading.Barrier(2), [], []

    def first(name: str) -> None:
        ready.wait()
        try:
            made.append(desk.setup.first(desk.setup.token, name, PASSWORD))
        except NotNow as error:
            refused.append(error)

    threads = [threading.Thread(target=first, args=(name,)) for name in ("anna", "eve")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), len(refused)) == (1, 1)


# Passwords.


def test_name_and_password_let_in_and_nothing_else_does(client: Browser, desk: Desk) -> None:
    desk.accounts.add("anna", Role.VIEWER, PASSWORD)
    for name, password in (("anna", "wrong words to sign in"), ("Anna", PASSWORD), ("nobody", PASSWORD), ("", "")):
        answer = client.sign_in(name, password)
        assert answer.status_code == 401
        assert "name or password is wrong" in answer.text
        assert COOKIE not in client.cookies
    assert client.sign_in("anna").status_code == 303
    assert client.get("/").status_code == 200


def test_the_cookie_is_for_this_host_over_https_and_not_for_scripts(client: Browser, desk: Desk) -> None:
    desk.accounts.add("anna", Role.VIEWER, PASSWORD)
    set_cookie = client.sign_in("anna").headers["set-cookie"]
    for word in (f"{COOKIE}=", "HttpOnly", "SameSite=lax", "Secure", "Path=/"):
        assert word in set_cookie
    assert "domain" not in set_cookie.lower()


def test_the_session_is_another_after_signing_in_and_the_database_has_no_token(client: Browser, desk: Desk) -> None:
    desk.accounts.add("anna", Role.VIEWER, PASSWORD)
    client.cookies.set(COOKIE, "planted", domain="console.test")
    client.sign_in("anna")
    first = client.cookies[COOKIE]
    assert first != "planted"
    client.sign_in("anna")
    assert client.cookies[COOKIE] != first
    assert desk.accounts.session(first) is None, "the one before has ended"
    with desk.engine.connect() as connection:
        kept = str(connection.execute(text("SELECT * FROM signed_in")).all())
    assert client.cookies[COOKIE] not in kept


def test_signing_out_ends_the_session_itself(signed_in: SignIn, desk: Desk) -> None:
    browser = signed_in(Role.VIEWER)
    token = browser.cookies[COOKIE]
    assert browser.send_form("/logout").status_code == 303
    assert desk.accounts.session(token) is None


def test_after_signing_in_one_is_where_one_wanted_to_be(client: Browser, desk: Desk) -> None:
    desk.accounts.add("anna", Role.VIEWER, PASSWORD)
    where = client.get("/audit?by=anna", follow_redirects=False).headers["location"]
    assert where == "/login?next=/audit%3Fby%3Danna"
    assert 'name="next" value="/audit?by=anna"' in client.sees(where)
    assert client.sign_in("anna", next="/audit?by=anna").headers["location"] == "/audit?by=anna"
    assert client.sign_in("anna", next="https://evil.test/").headers["location"] == "/"
    assert client.sign_in("anna", next="//evil.test/").headers["location"] == "/"


@given(st.text(max_size=30) | st.from_regex(r"[/\\]{1,3}[a-z.:/\\@]*", fullmatch=True))
def test_nobody_is_sent_elsewhere(path: str) -> None:
    found = safe_path(path)
    assert found.startswith("/")
    assert not found.startswith(("//", "/\\"))
    assert "\r" not in found
    assert "\n" not in found


@pytest.mark.parametrize("password", ["short", "aaaaaaaaaaaaaaaa", "anna-is-my-name", "x" * 300])
def test_easy_passwords_are_not_taken(desk: Desk, password: str) -> None:
    with pytest.raises(SettingsError):
        desk.accounts.add("anna", Role.VIEWER, password)


# Too many.


def test_too_many_wrong_passwords_wait_also_for_the_right_one_and_after_a_restart(desk: Desk, clock: Clock) -> None:
    desk.accounts.add("anna", Role.VIEWER, PASSWORD)
    for _ in range(OF_NAME):
        with pytest.raises(AuthenticationRefused):
            desk.accounts.sign_in("anna", "wrong words", "192.0.2.1")
    again = Accounts(desk.engine, clock, CHEAP)
    with pytest.raises(Throttled, match="too many") as told:
        again.sign_in("anna", PASSWORD, "192.0.2.99")
    assert "15 min" in told.value.hint
    clock.forward(minutes=15, seconds=1)
    assert again.sign_in("anna", PASSWORD, "192.0.2.1").person.name == "anna"


def test_an_address_that_tries_many_names_waits(desk: Desk) -> None:
    desk.accounts.add("anna", Role.VIEWER, PASSWORD)
    for number in range(OF_ADDRESS):
        with pytest.raises(AuthenticationRefused):
            desk.accounts.sign_in(f"name{number}", "wrong words", "192.0.2.1")
    with pytest.raises(Throttled):
        desk.accounts.sign_in("anna", PASSWORD, "192.0.2.1")
    assert desk.accounts.sign_in("anna", PASSWORD, "192.0.2.2")


def test_many_at_once_count_as_many(desk: Desk) -> None:
    desk.accounts.add("anna", Role.VIEWER, PASSWORD)
    outcomes: list[type[TrustbridgeError]] = []

    def attempt() -> None:
        try:
            desk.accounts.sign_in("anna", "wrong words", "192.0.2.1")
        except TrustbridgeError as error:
            outcomes.append(type(error))

    threads = [threading.Thread(target=attempt) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count(NotLetIn) == OF_NAME
    assert outcomes.count(Throttled) == 12 - OF_NAME


def test_a_page_says_that_it_was_too_often(client: Browser, desk: Desk) -> None:
    for _ in range(OF_NAME):
        client.sign_in("anna", "wrong words")
    answer = client.sign_in("anna", "wrong words")
    assert answer.status_code == 429
    assert "too many attempts" in answer.text
    assert {entry.outcome for entry in desk.audit.entries(AuditFilter(action="sign in"))} == {Outcome.REFUSED}


# Sessions end.


def test_a_session_that_is_not_used_ends(signed_in: SignIn, clock: Clock) -> None:
    browser = signed_in(Role.VIEWER)
    clock.forward(minutes=29)
    assert browser.get("/", follow_redirects=False).status_code == 200
    clock.forward(minutes=29)
    assert browser.get("/", follow_redirects=False).status_code == 200
    clock.forward(minutes=30)
    assert browser.get("/", follow_redirects=False).headers["location"] == "/login"


def test_a_session_ends_after_twelve_hours_whatever_is_done(signed_in: SignIn, clock: Clock) -> None:
    browser = signed_in(Role.VIEWER)
    for _ in range(12 * 60 // 20 - 1):
        clock.forward(minutes=20)
        assert browser.get("/jobs", follow_redirects=False).status_code == 200
    clock.forward(minutes=20)
    assert browser.get("/jobs", follow_redirects=False).status_code == 303


def test_htmx_is_sent_to_sign_in_and_back(client: Browser, desk: Desk) -> None:
    headers = {"HX-Request": "true", "HX-Current-URL": f"{HERE}/campaigns?state=running"}
    answer = client.get("/audit", headers=headers, follow_redirects=False)
    assert answer.status_code == 401
    assert answer.headers["hx-redirect"] == "/login?next=/campaigns%3Fstate%3Drunning"


def test_a_new_password_ends_other_sessions(signed_in: SignIn, client: Browser, desk: Desk) -> None:
    browser = signed_in(Role.VIEWER)
    other = Browser(client.app, HERE)
    other.sign_in("viewer0")
    wrong = {"old": "not the old words", "new": "other words to sign in", "again": "other words to sign in"}
    assert browser.send_form("/account/password", wrong).status_code == 403
    assert other.get("/", follow_redirects=False).status_code == 200
    assert browser.send_form("/account/password", wrong | {"old": PASSWORD}).status_code == 303
    assert browser.get("/", follow_redirects=False).status_code == 200
    assert other.get("/", follow_redirects=False).status_code == 303
    assert other.sign_in("viewer0").status_code == 401
    assert other.sign_in("viewer0", "other words to sign in").status_code == 303


def test_forms_of_before_are_of_no_use_in_a_new_session(client: Browser, desk: Desk) -> None:
    desk.accounts.add("anna", Role.VIEWER, PASSWORD)
    client.sign_in("anna")
    old = client.csrf
    client.sign_in("anna")
    assert client.csrf != old
    client.csrf = old
    assert client.send_form("/account/preferences", {"language": "fr"}).status_code == 403


def test_a_login_form_of_elsewhere_signs_nobody_in(client: Browser, desk: Desk) -> None:
    desk.accounts.add("eve", Role.VIEWER, PASSWORD)
    form = {"name": "eve", "password": PASSWORD}
    assert client.send_form("/login", form).status_code == 403, "no cookie of a visit"
    client.sees("/login")
    assert client.post("/login", data=form | {"csrf": client.csrf}).status_code == 403, "not from here"
    assert client.send_form("/login", form | {"csrf": csrf_of("guessed")}).status_code == 403


# Tokens.


def test_a_token_may_what_its_role_may_until_it_ends(client: Browser, desk: Desk, clock: Clock) -> None:
    person = desk.accounts.add("anna", Role.ADMINISTRATOR, PASSWORD)
    number, viewer = desk.accounts.make_token(person, "looks", Role.VIEWER, clock() + timedelta(days=1))
    administrator = desk.accounts.make_token(person, "acts", Role.ADMINISTRATOR, None)[1]

    def status(token: str, path: str = "/api/v1/users") -> int:
        return int(client.get(path, headers={"Authorization": f"Bearer {token}"}).status_code)

    assert status(viewer, "/api/v1/me") == 200
    assert status(viewer) == 403
    assert status(administrator) == 200
    assert status(viewer + "x") == status("") == 401
    clock.forward(days=1)
    assert status(viewer, "/api/v1/me") == 401
    desk.accounts.people.revoke_token(number + 1, owner=person.id, now=clock())
    assert status(administrator) == 401


def test_a_token_may_no_more_than_its_owner(client: Browser, desk: Desk, clock: Clock) -> None:
    desk.accounts.add("boss", Role.ADMINISTRATOR, PASSWORD)
    person = desk.accounts.add("anna", Role.OPERATOR, PASSWORD)
    with pytest.raises(SettingsError):
        desk.accounts.make_token(person, "more", Role.ADMINISTRATOR, None)
    token = desk.accounts.make_token(person, "script", Role.OPERATOR, None)[1]
    headers = {"Authorization": f"Bearer {token}"}
    assert client.get("/api/v1/me", headers=headers).json()["role"] == "operator"
    desk.accounts.people.change(person.id, role=Role.VIEWER, disabled=False, now=clock())
    assert client.get("/api/v1/me", headers=headers).json()["role"] == "viewer"
    desk.accounts.people.change(person.id, role=Role.VIEWER, disabled=True, now=clock())
    assert client.get("/api/v1/me", headers=headers).status_code == 401


def test_a_token_is_shown_once_and_kept_nowhere(signed_in: SignIn, desk: Desk) -> None:
    browser = signed_in(Role.OPERATOR)
    shown = browser.send_form("/account/tokens", {"name": "script", "role": "operator", "days": "30"}).text
    token = shown[shown.index("tbt_") :].partition("<")[0]
    assert desk.accounts.token(token) is not None
    assert token not in browser.sees("/account")
    assert token not in _all(desk.engine)


def test_a_token_makes_no_token_and_changes_no_password(client: Browser, desk: Desk) -> None:
    headers = {"Authorization": f"Bearer {token_of(desk, Role.ADMINISTRATOR)}"}
    assert client.post("/account/tokens", data={"name": "x"}, headers=headers).status_code == 422
    form = {"old": PASSWORD, "new": "other words to sign in", "again": "other words to sign in"}
    assert client.post("/account/password", data=form, headers=headers).status_code == 422


# Users.


def test_a_user_who_was_added_changes_the_password_before_anything(signed_in: SignIn, client: Browser) -> None:
    shown = signed_in(Role.ADMINISTRATOR).send_form("/users", {"name": "vera", "role": "viewer"}).text
    given_one = shown[shown.index('<code tabindex="0">') :].partition(">")[2].partition("<")[0]
    client.sign_in("vera", given_one)
    assert client.get("/audit", follow_redirects=False).headers["location"] == "/account"
    form = {"old": given_one, "new": PASSWORD, "again": PASSWORD}
    assert client.send_form("/account/password", form).status_code == 303
    assert client.get("/audit", follow_redirects=False).status_code == 200


def test_the_last_administrator_stays(signed_in: SignIn, desk: Desk) -> None:
    browser = signed_in(Role.ADMINISTRATOR)
    number = desk.accounts.people.all()[0].id
    for form in ({"role": "viewer"}, {"role": "administrator", "state": "disabled"}):
        answer = browser.send_form(f"/users/{number}", form)
        assert answer.status_code == 409
        assert "only administrator" in answer.text
    desk.accounts.add("other", Role.ADMINISTRATOR, PASSWORD)
    assert browser.send_form(f"/users/{number}", {"role": "viewer"}).status_code == 303
    assert browser.get("/users").status_code == 403, "at once, and not at the next sign-in"


def test_one_who_is_disabled_is_out_at_once(signed_in: SignIn, desk: Desk) -> None:
    administrator, viewer = signed_in(Role.ADMINISTRATOR), signed_in(Role.VIEWER)
    number = next(one.id for one in desk.accounts.people.all() if one.role is Role.VIEWER)
    administrator.send_form(f"/users/{number}", {"role": "viewer", "state": "disabled"})
    assert viewer.get("/", follow_redirects=False).status_code == 303
    assert viewer.sign_in("viewer1").status_code == 401


def test_language_and_zone_of_a_user_come_before_the_browsers(signed_in: SignIn) -> None:
    browser = signed_in(Role.VIEWER)
    browser.cookies.set("tb_zone", "America/New_York", domain="console.test")
    assert "America/New_York" in browser.sees("/audit")
    browser.send_form("/account/preferences", {"language": "fr", "zone": "Europe/Paris"})
    page = browser.get("/audit", headers={"Accept-Language": "en"}).text
    assert '<html lang="fr">' in page
    assert "Europe/Paris" in page


# Secrets.


def test_no_secret_is_in_the_audit_the_database_or_the_log(
    client: Browser, desk: Desk, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with caplog.at_level(logging.DEBUG):
        client.sees(f"/setup?token={desk.setup.token}")
        form = {"name": "anna", "password": PASSWORD, "again": PASSWORD, "token": desk.setup.token}
        client.send_form("/setup", form)
        client.sees("/account")
        client.send_form(
            "/account/password", {"old": PASSWORD, "new": "quite other words", "again": "quite other words"}
        )
        shown = client.send_form("/account/tokens", {"name": "script", "role": "viewer", "days": ""}).text
        token = shown[shown.index("tbt_") :].partition("<")[0]
        client.get("/api/v1/me", headers={"Authorization": f"Bearer {token}"})
        added = client.send_form("/users", {"name": "vera", "role": "viewer"}).text
        first = added[added.index('<code tabindex="0">') :].partition(">")[2].partition("<")[0]
        client.sign_in("vera", "wrong words of vera")
    assert len(desk.audit.entries(AuditFilter())) >= 5
    # The browser of the test logs too.
    kept = _all(desk.engine) + " ".join(one.getMessage() for one in caplog.records if one.name != "httpx")
    for secret in (PASSWORD, "quite other words", "wrong words of vera", token, first, desk.setup.token):
        assert secret not in kept
    assert client.csrf not in kept


def _all(engine: Engine) -> str:
    """Every table, as text."""
    with engine.connect() as connection:
        names = inspect(connection).get_table_names()
        return str([connection.execute(text(f'SELECT * FROM "{name}"')).all() for name in names])
