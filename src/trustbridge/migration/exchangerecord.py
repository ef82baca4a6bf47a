"""The record of an exchange on disk: what was planned, and what has been done, so that it can go on and be undone.

    <state>/exchanges/<name>/plan.json      the plan, with every certificate it moves; written once, before anything
    <state>/exchanges/<name>/journal.jsonl  a line an event, appended and flushed to disk before the next thing is done

No secret is in either. A line that a kill cut off is no event: what it would have told is looked at again.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from trustbridge import atomicfile
from trustbridge.cucm.model import Write
from trustbridge.errors import InvalidCertificate, NotNow, SettingsError
from trustbridge.migration.exchangeplan import ExchangePlan, Method, Step, StepKind
from trustbridge.migration.goals import Goal
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.units import BulkType, Store

PLAN: Final = "plan.json"
JOURNAL: Final = "journal.jsonl"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

#: Events that tell of a certificate in a store.
_ADDITIONS: Final = ("added", "replaced", "removed", "restored")

#: What a store holds, as the journal keeps it: store and SHA-256.
Held = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class SftpAddress:
    """The SFTP server of an exchange, without its password."""

    host: str
    port: int
    username: str
    directory: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"sftp://{self.username}@{host}:{self.port}{self.directory}"


@dataclass(frozen=True, slots=True)
class Addition:
    """A certificate that this exchange put into a store, or pushed out of it (`gone`)."""

    cluster: str
    node: str
    store: Store
    certificate: Certificate
    gone: bool = False


@dataclass(frozen=True, slots=True)
class RecordedPlan:
    """What of a plan is kept: enough to go on, to show, and to undo.

    Attributes:
        begun: when.
        sftp: the server; None where none is used.
        shown: the plan as `--json` has it.
        replaced: what will make way, by goal.
    """

    clusters: tuple[str, ...]
    types: tuple[BulkType, ...]
    method: Method
    begun: datetime
    sftp: SftpAddress | None
    goals: tuple[Goal, ...]
    steps: tuple[Step, ...]
    replaced: tuple[tuple[Goal, tuple[Certificate, ...]], ...]
    shown: dict[str, Any]

    def goals_of(self, step: Step) -> tuple[Goal, ...]:
        """What a step brings about."""
        return tuple(self.goals[place] for place in step.goals)


class ExchangeRecord:
    """One exchange. Made by `begin` or `read`.

    Attributes:
        name: as people call it.
        plan: what was planned.
        events: what has happened, oldest first.
    """

    def __init__(self, folder: Path, plan: RecordedPlan, events: Sequence[dict[str, Any]]) -> None:
        self.folder = folder
        self.name = folder.name
        self.plan = plan
        self.events: list[dict[str, Any]] = []
        self._additions: dict[Addition, None] = {}
        self._take(events)
        #: Called after events were written down.
        self.listeners: list[Callable[[], None]] = []

    @classmethod
    def begin(cls, folder: Path, plan: ExchangePlan, sftp: SftpAddress | None, now: datetime) -> ExchangeRecord:
        """Write a plan down, in a folder of its own.

        Raises:
            NotNow: an exchange of that name is there.
            TrustbridgeError: the folder can't be written.
        """
        with atomicfile.in_words(f"the exchange can't be recorded in {folder}"):
            atomicfile.private_folder(folder)
            if (folder / PLAN).exists():
                raise NotNow(f"there is an exchange {folder.name} already", "Name this one otherwise: --name.")
            atomicfile.write(folder / PLAN, json.dumps(_write_plan(plan, sftp, now), indent=1).encode())
        return cls.read(folder)

    @classmethod
    def read(cls, folder: Path) -> ExchangeRecord:
        """What is recorded.

        Raises:
            SettingsError: there is no such exchange, or its record can't be read.
        """
        try:
            plan = _read_plan(json.loads((folder / PLAN).read_bytes()))
        except FileNotFoundError:
            raise SettingsError(
                f"there is no exchange {folder.name}", "See them: trustbridge exchange status"
            ) from None
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, InvalidCertificate) as error:
            raise SettingsError(f"{folder / PLAN} can't be read ({type(error).__name__}: {error})") from None
        except OSError as error:
            raise SettingsError(f"can't read {folder / PLAN}: {error.strerror or error}") from None
        return cls(folder, plan, _read_journal(folder / JOURNAL))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time works on an exchange; what another one did meanwhile is read.

        Raises:
            TrustbridgeError: the folder can't be entered.
        """
        with atomicfile.in_words(f"the exchange {self.name} can't be continued"), atomicfile.locked_folder(self.folder):
            self.events, self._additions = [], {}
            self._take(_read_journal(self.folder / JOURNAL))
            yield

    def append(self, event: str, now: datetime, **details: Any) -> None:
        """Write an event down; it is on disk when this returns.

        Raises:
            TrustbridgeError: the disk is full, or not ours.
        """
        self._append([{"at": now.isoformat(timespec="milliseconds"), "event": event, **details}])

    def wrote(self, write: Write, now: datetime) -> None:
        """A change that is about to be made, as the driver announces it."""
        self.append(
            "write", now, target=write.target, what=write.what, effect=write.effect, interface=str(write.interface)
        )

    def added(self, additions: Iterable[Addition], now: datetime) -> None:
        """Certificates are in stores now, or gone from them, because of this exchange."""
        self._append_additions(additions, now, "added", "replaced")

    def taken_back(self, additions: Iterable[Addition], now: datetime) -> None:
        """Additions were undone."""
        self._append_additions(additions, now, "removed", "restored")

    def _append_additions(self, additions: Iterable[Addition], now: datetime, came: str, went: str) -> None:
        at = now.isoformat(timespec="milliseconds")
        self._append([{"at": at, "event": went if one.gone else came, **_write_addition(one)} for one in additions])

    def _append(self, entries: Sequence[dict[str, Any]]) -> None:
        if not entries:
            return
        lines = b"".join(json.dumps(entry, ensure_ascii=False).encode() + b"\n" for entry in entries)
        with atomicfile.in_words(f"the exchange {self.name} can't be recorded"):
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            descriptor = os.open(self.folder / JOURNAL, flags, atomicfile.PRIVATE_FILE)
            try:
                size = os.fstat(descriptor).st_size
                if size and os.pread(descriptor, 1, size - 1) != b"\n":
                    lines = b"\n" + lines  # a kill cut the last line off: it stays alone
                while lines:
                    lines = lines[os.write(descriptor, lines) :]
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        self._take(entries)
        for listener in self.listeners:
            listener()

    def _take(self, entries: Iterable[dict[str, Any]]) -> None:
        for entry in entries:
            self.events.append(entry)
            if entry["event"] in ("added", "replaced"):
                self._additions[_read_addition(entry)] = None
            elif entry["event"] in ("removed", "restored"):
                self._additions.pop(_read_addition(entry), None)

    # What the events amount to.

    def has(self, event: str, step: Step | None = None) -> bool:
        """Whether something has happened, of a step if one is named, since the exchange began."""
        return any(one["event"] == event and (step is None or one.get("step") == step.key) for one in self.events)

    def before(self, step: Step, place: str) -> Held | None:
        """What a node's stores held when a step first began to change them; None if it has not begun there."""
        return dict(self.befores(step)).get(place)

    def befores(self, step: Step) -> tuple[tuple[str, Held], ...]:
        """The same for each node the step has begun with: its name, or "" for what replicates from the publisher."""
        found: dict[str, Held] = {}
        for one in self.events:
            if one["event"] == "before" and one.get("step") == step.key:
                found.setdefault(one["node"], frozenset((str(store), str(digest)) for store, digest in one["held"]))
        return tuple(found.items())

    def additions(self) -> tuple[Addition, ...]:
        """What this exchange has changed and not taken back, in order."""
        return tuple(self._additions)

    def tells_of(self, addition: Addition) -> bool:
        """Whether an addition is recorded, and not taken back."""
        return addition in self._additions

    @property
    def finished(self) -> bool:
        """Whether every step was done."""
        return self.has("finished")

    @property
    def undone(self) -> bool:
        """Whether everything was taken back."""
        return self.has("undone")

    @property
    def undoing(self) -> bool:
        """Whether taking back has begun."""
        return self.has("undo began")

    @property
    def state(self) -> str:
        """In a word or two."""
        if self.undone:
            return "undone"
        if self.undoing:
            return "being undone"
        return "finished" if self.finished else "under way or interrupted"


def exchanges(folder: Path) -> Iterator[ExchangeRecord]:
    """Every record in a folder, by name; folders that hold none are passed over."""
    if folder.is_dir():
        for place in sorted(folder.iterdir()):
            if (place / PLAN).exists():
                yield ExchangeRecord.read(place)


def check_name(name: str) -> str:
    """A name for an exchange, if it can be one.

    Raises:
        SettingsError: it can't be a folder's.
    """
    if not _NAME.fullmatch(name):
        raise SettingsError(f"{name!r} can't be an exchange's name", "Use letters, digits, '.', '_' and '-'.")
    return name


def free_name(folder: Path, clusters: Sequence[str]) -> str:
    """A name nobody has: the clusters', with a number from the second on."""
    plain = "-".join(clusters) if len(clusters) <= 3 else f"{clusters[0]}-and-{len(clusters) - 1}-more"
    plain = plain[:80]
    number = 1
    while (folder / (name := plain if number == 1 else f"{plain}-{number}") / PLAN).exists():
        number += 1
    return name


# On disk.


def _write_plan(plan: ExchangePlan, sftp: SftpAddress | None, now: datetime) -> dict[str, Any]:
    certificates = {goal.certificate.sha256: goal.certificate for goal in plan.goals}
    certificates |= {one.sha256: one for _, held in plan.replaced for one in held}
    places = {goal: place for place, goal in enumerate(plan.goals)}
    return {
        "begun": now.isoformat(),
        "clusters": plan.clusters,
        "types": plan.types,
        "method": plan.method,
        "sftp": None if sftp is None else [sftp.host, sftp.port, sftp.username, sftp.directory],
        "goals": [
            [goal.importer, goal.node, goal.store, goal.certificate.sha256, goal.exporter, goal.source, goal.type]
            for goal in plan.goals
        ],
        "steps": [[step.kind, step.cluster, step.words, step.effect, step.goals] for step in plan.steps],
        "replaced": [[places[goal], [one.sha256 for one in held]] for goal, held in plan.replaced if goal in places],
        "certificates": {digest: one.pem() for digest, one in certificates.items()},
        "shown": plan.as_json(),
    }


def _read_plan(content: dict[str, Any]) -> RecordedPlan:
    certificates = {digest: Certificate.from_pem(pem) for digest, pem in content["certificates"].items()}
    goals = tuple(
        Goal(
            importer,
            node,
            Store(store),
            certificates[digest],
            exporter,
            source,
            None if kind is None else BulkType(kind),
        )
        for importer, node, store, digest, exporter, source, kind in content["goals"]
    )
    return RecordedPlan(
        clusters=tuple(content["clusters"]),
        types=tuple(BulkType(kind) for kind in content["types"]),
        method=Method(content["method"]),
        begun=datetime.fromisoformat(content["begun"]),
        sftp=None if content["sftp"] is None else SftpAddress(*content["sftp"]),
        goals=goals,
        steps=tuple(
            Step(StepKind(kind), cluster, words, effect, tuple(places))
            for kind, cluster, words, effect, places in content["steps"]
        ),
        replaced=tuple(
            (goals[place], tuple(certificates[digest] for digest in held)) for place, held in content["replaced"]
        ),
        shown=dict(content["shown"]),
    )


def _read_journal(path: Path) -> list[dict[str, Any]]:
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SettingsError(f"can't read {path}: {error.strerror or error}") from None
    events = []
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # cut off by a kill, or nothing behind the last line
        if isinstance(entry, dict) and isinstance(entry.get("event"), str):
            try:
                if entry["event"] in _ADDITIONS:
                    _read_addition(entry)
            except (KeyError, TypeError, ValueError, InvalidCertificate):
                raise SettingsError(
                    f"{path}, line {number}: a certificate in a store should stand there, and does not",
                    "What this exchange has added can't be told from a damaged record.",
                ) from None
            events.append(entry)
    return events


def _write_addition(addition: Addition) -> dict[str, Any]:
    return {
        "cluster": addition.cluster,
        "node": addition.node,
        "store": str(addition.store),
        "subject": addition.certificate.subject,
        "sha256": addition.certificate.sha256,
        "certificate": addition.certificate.pem(),
    }


def _read_addition(entry: dict[str, Any]) -> Addition:
    return Addition(
        entry["cluster"],
        entry["node"],
        Store(entry["store"]),
        Certificate.from_pem(entry["certificate"]),
        entry["event"] in ("replaced", "restored"),
    )


Clock = Callable[[], datetime]
