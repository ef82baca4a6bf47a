"""What stands around an exchange, whoever asks for it: what is wanted, reading and deciding, one to go on with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from trustbridge.cucm.cluster import Cluster
from trustbridge.cucm.model import Write
from trustbridge.errors import SettingsError, Unreachable
from trustbridge.eventloop import together
from trustbridge.exchange.directory import SftpSettings, open_sftp
from trustbridge.exchange.hostkeys import HostKeyPins
from trustbridge.migration.exchangeplan import ExchangePlan, Method, plan_exchange
from trustbridge.migration.exchangerecord import (
    PLAN,
    Clock,
    ExchangeRecord,
    SftpAddress,
    check_name,
    exchanges,
    free_name,
)
from trustbridge.migration.goals import pairs_of
from trustbridge.migration.survey import ClusterSurvey, survey
from trustbridge.pki.units import BulkType, bulk_types

#: Records of exchanges, in the state folder.
FOLDER: Final = "exchanges"


class Wanted:
    """What somebody asks for, read and checked.

    Args:
        clusters: by name, two or more.
        pairs: `A:B` for each pair that is meant; none for all.
        into: each other cluster with this one, no other pair.
        types: names of bulk types; none for all.
        by: the name of a method; None lets the plan decide.
        accept: ids of findings that do not stop it.

    Raises:
        SettingsError: names that are none, or too few.
    """

    def __init__(
        self,
        clusters: Sequence[str],
        pairs: Sequence[str] | None,
        into: str | None,
        types: Sequence[str] | None,
        by: str | None,
        accept: Sequence[str] | None,
        *,
        capf_trust: bool,
        authorities: bool,
        restart_tvs: bool,
    ) -> None:
        self.pairs = pairs_of(clusters, chosen=pairs or (), into=into)
        self.clusters = tuple(dict.fromkeys((*clusters, *([into] if into else ()))))
        named = [kind for name in types or ("all",) for kind in bulk_types(name)]
        self.types = tuple(kind for kind in BulkType if kind in named)
        if by is not None and by not in set(Method):
            raise SettingsError(f"--by {by}: {' or '.join(Method)} is expected")
        self.method = None if by is None else Method(by)
        self.accepted = frozenset(one.upper() for one in accept or ())
        self.capf_trust = capf_trust
        self.authorities = authorities
        self.restart_tvs = restart_tvs


class Recorder:
    """Writes each change into the exchange's record before it is made, once there is one."""

    def __init__(self, clock: Clock, record: ExchangeRecord | None = None) -> None:
        self._clock = clock
        self.record = record

    def __call__(self, write: Write) -> None:
        if self.record is not None:
            self.record.wrote(write, self._clock())


async def planned(
    wanted: Wanted,
    clusters: Mapping[str, Cluster],
    server: SftpSettings | None,
    pins: HostKeyPins,
    *,
    now: datetime,
    progress: Callable[[str], None] = lambda node: None,
) -> tuple[ExchangePlan, Mapping[str, ClusterSurvey]]:
    """Read the clusters and decide. Nothing is changed.

    Args:
        server: for the clusters' bulk commands; None for none.
        pins: host keys of SFTP servers.
        progress: told each node that has been read.

    Raises:
        TrustbridgeError: a cluster or the server does not tell what is needed.
    """
    found = await together(
        *(survey(clusters[name], capf_trust=wanted.capf_trust, progress=progress) for name in wanted.clusters)
    )
    surveys = {one.name: one for one in found}
    lying = await _lying(server, pins) if server is not None and wanted.method is not Method.CERTIFICATES else ()
    made = plan_exchange(
        surveys,
        wanted.pairs,
        wanted.types,
        now=now,
        method=wanted.method,
        capf_trust=wanted.capf_trust,
        authorities=wanted.authorities,
        accepted=wanted.accepted,
        sftp="" if server is None else server.describe(),
        lying=lying,
        restart_tvs=wanted.restart_tvs,
    )
    return made, surveys


async def _lying(server: SftpSettings, pins: HostKeyPins) -> tuple[str, ...] | None:
    """The files in the SFTP server's directory; None where nobody can look from here."""
    try:
        async with open_sftp(server, pins) as directory:
            return tuple(file.name for file in await directory.list())
    except Unreachable:
        return None


def begin(
    folder: Path, name: str | None, wanted: Wanted, made: ExchangePlan, server: SftpSettings | None, now: datetime
) -> ExchangeRecord:
    """Write the plan down, under that name, or one that is free.

    Args:
        folder: that of all records.

    Raises:
        SettingsError, NotNow, TrustbridgeError: see `ExchangeRecord.begin` and `check_name`.
    """
    chosen = check_name(name) if name is not None else free_name(folder, wanted.clusters)
    address = None if server is None or not made.sftp else address_of(server)
    return ExchangeRecord.begin(folder / chosen, made, address, now)


def address_of(settings: SftpSettings) -> SftpAddress:
    """The same without the password."""
    return SftpAddress(settings.host, settings.port, settings.username, settings.directory)


def interrupted(folder: Path, wanted: Wanted, name: str | None) -> ExchangeRecord | None:
    """The exchange that is to go on: the one of that name, else one of the same clusters that was cut off.

    Args:
        folder: that of all records.
    """
    if name is not None:
        place = folder / check_name(name)
        return ExchangeRecord.read(place) if (place / PLAN).exists() else None
    pairs = sorted(sorted(pair) for pair in wanted.pairs)
    for record in exchanges(folder):
        same = (
            pairs == sorted(sorted(pair) for pair in record.plan.shown["pairs"]) and record.plan.types == wanted.types
        )
        if same and not record.finished and not record.undoing:
            return record
    return None


def record_json(record: ExchangeRecord, *, whole: bool = True) -> dict[str, Any]:
    """A record for programs; `whole` with its plan and every event."""
    found: dict[str, Any] = {
        "name": record.name,
        "state": record.state,
        "begun": record.plan.begun.isoformat(),
        "clusters": list(record.plan.clusters),
        "method": str(record.plan.method),
        "added": sum(not one.gone for one in record.additions()),
        "steps": [
            {
                "step": str(step.kind),
                "cluster": step.cluster,
                "what": step.words,
                "done": record.has("step done", step),
            }
            for step in record.plan.steps
        ],
    }
    if whole:
        found["plan"] = record.plan.shown
        found["additions"] = [
            {
                "cluster": one.cluster,
                "node": one.node or None,
                "store": str(one.store),
                "subject": one.certificate.subject,
                "sha256": one.certificate.sha256,
                "made_way": one.gone,
            }
            for one in record.additions()
        ]
        found["events"] = [
            {key: value for key, value in event.items() if key not in ("held", "certificate")}
            for event in record.events
        ]
    return found
