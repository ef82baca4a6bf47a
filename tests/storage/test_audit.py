"""The audit only grows, and is found again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Engine, exc, text
from tests.storage.databases import NOW

from trustbridge.storage.audit import Audit, AuditFilter, NewAudit, Outcome


def _entry(number: int = 0, **changes: object) -> NewAudit:
    values: dict[str, object] = {
        "at": NOW + timedelta(minutes=number),
        "who": "anna",
        "token": "",
        "address": "192.0.2.1",
        "action": "campaign.pause",
        "object": f"night-{number}",
        "outcome": Outcome.DONE,
    }
    return NewAudit(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("statement", ["UPDATE audit SET who = 'eve'", "DELETE FROM audit", "the whole table"])
def test_the_audit_only_grows(engine: Engine, statement: str) -> None:
    audit = Audit(engine)
    audit.add(_entry())
    if statement == "the whole table":
        # SQLite has no TRUNCATE; there, this is how one empties a table.
        statement = "TRUNCATE audit" if engine.dialect.name == "postgresql" else "DELETE FROM audit WHERE true"
    with pytest.raises(exc.DBAPIError, match="only grows"), engine.begin() as connection:
        connection.execute(text(statement))
    assert [one.who for one in audit.entries(AuditFilter())] == ["anna"]


def test_entries_are_found_and_turned_over_page_by_page(engine: Engine) -> None:
    audit = Audit(engine)
    for number in range(7):
        audit.add(_entry(number, who="olivier" if number % 2 else "anna"))
    audit.add(_entry(7, action="user.add", object="100%_sure", outcome=Outcome.REFUSED, details={"role": "viewer"}))

    def found(wanted: AuditFilter, before: int | None = None) -> list[str]:
        return [one.object for one in audit.entries(wanted, before=before, limit=3)]

    assert found(AuditFilter()) == ["100%_sure", "night-6", "night-5"]
    last = audit.entries(AuditFilter(), limit=3)[-1].id
    assert found(AuditFilter(), last) == ["night-4", "night-3", "night-2"]
    assert found(AuditFilter(who="olivier")) == ["night-5", "night-3", "night-1"]
    assert found(AuditFilter(outcome="refused", action="user.add")) == ["100%_sure"]
    assert found(AuditFilter(text="0%_S")) == ["100%_sure"]
    assert found(AuditFilter(text="_")) == ["100%_sure"], "no pattern of SQL"
    since, until = NOW + timedelta(minutes=2), NOW + timedelta(minutes=4)
    assert found(AuditFilter(since=since, until=until)) == ["night-3", "night-2"]
    assert audit.names() == (["anna", "olivier"], ["campaign.pause", "user.add"])


def test_what_is_too_long_or_odd_is_written_all_the_same(engine: Engine) -> None:
    audit = Audit(engine)
    audit.add(_entry(who="x" * 500, action="y" * 500, object="a\0b" + "z" * 5000, address="1" * 500))
    found = audit.entries(AuditFilter())[0]
    assert (len(found.who), len(found.action), len(found.object)) == (63, 64, 255)
