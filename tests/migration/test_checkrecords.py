"""Which SFTP server was set on a cluster, as records of exchanges tell: of steps that were done, the last."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from tests.migration.surveyed import NOW
from tests.migration.worlds import two

from trustbridge.migration.checkrecords import servers_set
from trustbridge.migration.exchangeplan import Method, StepKind, plan_exchange
from trustbridge.migration.exchangerecord import ExchangeRecord, SftpAddress
from trustbridge.pki.units import BulkType

FIRST, SECOND = (SftpAddress("192.0.2.9", 22, "bulk", f"/{name}") for name in ("first", "second"))


def record(folder: Path, address: SftpAddress | None) -> ExchangeRecord:
    method = Method.CERTIFICATES if address is None else Method.BULK
    sftp = "" if address is None else str(address)
    plan = plan_exchange(two(), [("a", "b")], tuple(BulkType), now=NOW, method=method, sftp=sftp)
    return ExchangeRecord.begin(folder, plan, address, NOW)


def did(one: ExchangeRecord, cluster: str, hours: int, event: str = "step done") -> None:
    one.append(event, NOW + timedelta(hours=hours), step=f"{StepKind.SFTP} {cluster}")


def test_the_last_that_was_done_counts(tmp_path: Path) -> None:
    first, second, by_hand = (
        record(tmp_path / name, address) for name, address in (("1", FIRST), ("2", SECOND), ("3", None))
    )
    assert servers_set([first, second, by_hand]) == {}
    did(first, "a", 1)
    did(first, "b", 1)
    did(second, "b", 2)
    did(second, "a", 2, "step failed")
    found = servers_set([second, first, by_hand])
    assert {name: (one.server, one.exchange) for name, one in found.items()} == {
        "a": (str(FIRST), "1"),
        "b": (str(SECOND), "2"),
    }
    assert found["b"].at == NOW + timedelta(hours=2)
