"""What the database keeps of people, on both kinds."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from sqlalchemy import Engine
from tests.storage.databases import NOW

from trustbridge.errors import NotNow, SettingsError, TrustbridgeError
from trustbridge.storage.people import People, Role


def test_names_are_given_once(engine: Engine) -> None:
    people = People(engine)
    assert people.none_yet()
    people.add("anna", Role.VIEWER, "hash", now=NOW)
    assert not people.none_yet()
    with pytest.raises(SettingsError, match="already"):
        people.add("anna", Role.OPERATOR, "hash", now=NOW)
    with pytest.raises(NotNow):
        people.add("eve", Role.ADMINISTRATOR, "hash", now=NOW, first=True)


def test_one_of_many_is_the_first(engine: Engine) -> None:
    people, ready, made = People(engine), threading.Barrier(4), []

    def add(number: int) -> None:
        ready.wait()
        try:
            made.append(people.add(f"user{number}", Role.ADMINISTRATOR, "hash", now=NOW, first=True))
        except NotNow:
            return

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1


def test_the_last_administrator_stays_also_when_two_leave_at_once(engine: Engine) -> None:
    people = People(engine)
    both = [people.add(name, Role.ADMINISTRATOR, "hash", now=NOW) for name in ("anna", "boris")]
    ready, refused = threading.Barrier(2), []

    def leave(number: int) -> None:
        ready.wait()
        try:
            people.change(number, role=Role.VIEWER, disabled=False, now=NOW)
        except TrustbridgeError as error:
            refused.append(error)

    threads = [threading.Thread(target=leave, args=(one.id,)) for one in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1
    assert [one.role for one in people.all()].count(Role.ADMINISTRATOR) == 1


def test_attempts_at_once_are_counted_one_after_the_other(engine: Engine) -> None:
    people, ready, let = People(engine), threading.Barrier(6), []

    def attempt() -> None:
        ready.wait()
        let.append(
            people.attempt("anna", "::1", now=NOW, since=NOW - timedelta(minutes=1), of_name=3, of_address=99) is None
        )

    threads = [threading.Thread(target=attempt) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert let.count(True) == 3
    people.succeeded("anna", "::1")
    assert people.attempt("anna", "::1", now=NOW, since=NOW - timedelta(minutes=1), of_name=3, of_address=99) is None


def test_sessions_are_found_by_their_token_and_swept(engine: Engine) -> None:
    people = People(engine)
    anna = people.add("anna", Role.VIEWER, "hash", now=NOW)
    for token, age in (("old", 60), ("new", 0)):
        people.begin_session(anna.id, token, "::1", now=NOW - timedelta(minutes=age))
    found = people.session("new")
    assert found is not None
    assert found.person == anna
    assert people.session("other") is None
    people.sweep(created=NOW - timedelta(hours=12), seen=NOW - timedelta(minutes=30), attempts=NOW)
    assert people.session("old") is None
    assert [one.id for one in people.sessions_of(anna.id)] == [found.id]
    people.set_password(anna.id, "another hash", now=NOW, must_change=False)
    assert people.session("new") is None


def test_tokens_are_somebodys(engine: Engine) -> None:
    people = People(engine)
    anna, boris = (people.add(name, Role.OPERATOR, "hash", now=NOW) for name in ("anna", "boris"))
    number = people.add_token(anna.id, "script", "text", Role.VIEWER, NOW + timedelta(days=1), now=NOW)
    found = people.token("text")
    assert found is not None
    assert (found.id, found.person.name, found.holds(NOW)) == (number, "anna", True)
    assert not found.holds(NOW + timedelta(days=1))
    assert people.revoke_token(number, owner=boris.id, now=NOW) is None
    assert people.revoke_token(number, owner=anna.id, now=NOW) is not None
    assert [one.holds(NOW) for one in people.tokens_of()] == [False]
