"""Certificates of readings as lists: filtered, sorted and cut into pages on the server. Pure.

A reading is what `migration.clusterreading` gives; by the cluster's name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

from trustbridge.migration.clusterreading import LATER, SOON, days_left, held_by, owners
from trustbridge.pki.units import Store

Reading = Mapping[str, Any]
Readings = Mapping[str, Reading]

#: Rows of a page.
EACH: Final = 200
#: What "expiry" may be filtered by: days at the most; or what has ended.
WITHIN: Final = ("expired", "30", "90", "365")
SORTS: Final = ("cluster", "node", "unit", "store", "subject", "issuer", "serial", "key", "signature", "from", "until")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be seen, as it stands in an address; what it does not know, filters nothing.

    Attributes:
        within: of `WITHIN`. sort: of `SORTS`; with a "-" before it, the other way round.
        page: 1 for the first.
    """

    cluster: str = ""
    node: str = ""
    unit: str = ""
    store: str = ""
    text: str = ""
    within: str = ""
    sort: str = "until"
    page: int = 1

    def query(self, **changes: Any) -> str:
        """The address's query for this with changes; the first page, unless that is what changes."""
        values = asdict(replace(self, **({"page": 1} | changes)))
        return urlencode({name: value for name, value in values.items() if value not in ("", 1)})

    def sorted_by(self, column: str) -> str:
        """ "ascending", "descending" or "none", as aria-sort says it."""
        return {column: "ascending", f"-{column}": "descending"}.get(self.sort, "none")

    def turned(self, column: str) -> str:
        """The sort that a click on a column's name is for."""
        return f"-{column}" if self.sort == column else column


@dataclass(frozen=True, slots=True)
class Expiry:
    """How long a certificate is valid yet. `kind` is good, warn or bad; `days` is None where it can't be read."""

    at: datetime | None
    days: int | None
    kind: str

    @classmethod
    def of(cls, not_after: str | None, now: datetime) -> Expiry:
        """From the JSON's time."""
        days = days_left(not_after, now)
        at = datetime.fromisoformat(not_after) if not_after else None
        kind = "idle" if days is None else "bad" if days < SOON else "warn" if days < LATER else "good"
        return cls(at, days, kind)


@dataclass(frozen=True, slots=True)
class Row:
    """One identity, or one certificate of a store with the nodes that hold it.

    Attributes:
        certificate: the reading's.
        nodes, missing: of a store's: who holds it, and who should and does not.
        origin: (kind, words, ...) of a store's: `own`, `cluster`, `exchange`; empty where it is not known.
        holders: of an identity: other clusters whose stores hold it.
    """

    cluster: str
    place: str
    certificate: Reading
    expiry: Expiry
    nodes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    name: str = ""
    origin: tuple[str, ...] = ()
    holders: tuple[str, ...] = ()

    @property
    def starts(self) -> datetime | None:
        """Start of validity."""
        at = self.certificate["not_before"]
        return datetime.fromisoformat(at) if at else None


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of a list; `total` is of all pages, `everything` without a filter."""

    rows: Sequence[Row]
    total: int
    everything: int
    page: int
    pages: int


def identities(readings: Readings, wanted: Wanted, now: datetime, *, holding: Readings | None = None) -> Listed:
    """Certificates of nodes.

    Args:
        holding: clusters whose stores are looked through; all of `readings`, unless they are others.
    """
    holders = {
        sha256: {cluster: set(stores) for cluster, stores in places.items()}
        for sha256, places in held_by(holding if holding is not None else readings).items()
    }
    rows = [
        Row(
            name,
            one["unit"],
            certificate,
            Expiry.of(certificate["not_after"], now),
            (one["node"],),
            holders=tuple(
                f"{other}: {', '.join(sorted(stores))}"
                for other, stores in holders.get(one["sha256"], {}).items()
                if other != name
            ),
        )
        for name, reading in readings.items()
        for one in reading["identities"]
        for certificate in [reading["certificates"][one["sha256"]]]
    ]
    return _listed(rows, wanted, lambda row: not wanted.unit or row.place == wanted.unit)


def trusted(readings: Readings, name: str, wanted: Wanted, now: datetime) -> Listed:
    """What the stores of one cluster hold: a line a store and certificate, with the nodes that hold it."""
    reading = readings[name]
    known = owners(readings)
    added = {(one["store"], one["sha256"]): one["exchange"] for one in reading.get("added", ())}
    read = tuple(node["name"] for node in reading["nodes"] if node["stores"])
    nodes: dict[tuple[str, str], list[str]] = {}
    files: dict[tuple[str, str], str] = {}
    for one in reading["trusted"]:
        key = (one["store"], one["sha256"])
        nodes.setdefault(key, []).append(one["node"])
        files.setdefault(key, one["name"])
    rows = []
    for (store, sha256), there in nodes.items():
        certificate = reading["certificates"][sha256]
        # CAPF-trust is each node's own: nothing is missing where it is not.
        missing = () if store == Store.CAPF_TRUST else tuple(one for one in read if one not in there)
        rows.append(
            Row(
                name,
                store,
                certificate,
                Expiry.of(certificate["not_after"], now),
                tuple(there),
                missing,
                files[store, sha256],
                _origin(name, known.get(sha256, ()), added.get((store, sha256), "")),
            )
        )
    return _listed(rows, wanted, lambda row: not wanted.store or row.place == wanted.store)


def _origin(cluster: str, known: Iterable[tuple[str, str, str]], exchange: str) -> tuple[str, ...]:
    """Its own certificate, another cluster's, or what an exchange brought; as far as anything that was read tells."""
    whose = sorted(known, key=lambda one: one[0] != cluster)
    if whose:
        owner, node, unit = whose[0]
        return ("own", node, unit, exchange) if owner == cluster else ("cluster", f"{owner}/{node}", unit, exchange)
    return ("exchange", exchange) if exchange else ()


def _listed(rows: list[Row], wanted: Wanted, fits: Callable[[Row], bool]) -> Listed:
    text = wanted.text.strip().casefold()
    found = [
        row
        for row in rows
        if fits(row)
        and (not wanted.cluster or row.cluster == wanted.cluster)
        and (not wanted.node or wanted.node in row.nodes)
        and _expires(row.expiry, wanted.within)
        and (not text or text in _words(row))
    ]
    column = wanted.sort.removeprefix("-")
    key = _KEYS.get(column, _KEYS["until"])
    # First by what makes an order of its own, so that like ones come in the same order every time.
    found.sort(key=lambda row: (row.cluster, row.nodes, row.place, row.certificate["sha256"]))
    found.sort(key=key, reverse=wanted.sort.startswith("-"))
    pages = max(1, -(-len(found) // EACH))
    page = min(max(1, wanted.page), pages)
    return Listed(found[(page - 1) * EACH : page * EACH], len(found), len(rows), page, pages)


def _expires(expiry: Expiry, within: str) -> bool:
    if within == "expired":
        return expiry.days is not None and expiry.days < 0
    return within not in WITHIN or (expiry.days is not None and expiry.days < int(within))


def _words(row: Row) -> str:
    one = row.certificate
    parts = (one["subject"], one["issuer"], one["serial"], one["sha256"], one["signature"], one["key"], row.name)
    return " ".join((*parts, row.place, *row.nodes)).casefold()


def _key_size(row: Row) -> tuple[str, int]:
    kind, _, bits = row.certificate["key"].partition(" ")
    return kind, int(bits) if bits.isdecimal() else 0


_KEYS: Final[Mapping[str, Callable[[Row], Any]]] = {
    "cluster": lambda row: row.cluster.casefold(),
    "node": lambda row: row.nodes,
    "unit": lambda row: row.place.casefold(),
    "store": lambda row: row.place.casefold(),
    "subject": lambda row: row.certificate["subject"].casefold(),
    "issuer": lambda row: row.certificate["issuer"].casefold(),
    "serial": lambda row: (len(row.certificate["serial"]), row.certificate["serial"]),
    "key": _key_size,
    "signature": lambda row: row.certificate["signature"],
    "from": lambda row: row.certificate["not_before"] or "",
    "until": lambda row: row.certificate["not_after"] or "",
}


def next_to_expire(reading: Reading, now: datetime) -> Row | None:
    """The identity that expires first, of those that are valid, or that have expired: those come first of all."""
    found = identities({reading["name"]: reading}, Wanted(), now, holding={}).rows
    return found[0] if found else None
