"""Clusters, for pages and API: long work begun, what it read kept, what was kept shown. No page waits for a node.

Kept in the state folder: the last reading of each cluster, and the last answers of who vouches for whom.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from trustbridge.console.desk import Desk
from trustbridge.console.faults import NotThere
from trustbridge.console.jobs import Told
from trustbridge.console.words import N_
from trustbridge.cucm import identities
from trustbridge.cucm.model import ClusterEntry
from trustbridge.cucm.trials import TRIALS, try_interfaces
from trustbridge.errors import InvalidCertificate, SettingsError, TrustbridgeError
from trustbridge.exchange.bulk import BUNDLE_PASSWORD
from trustbridge.migration import proofreport
from trustbridge.migration.clusterreading import FORMAT, read_cluster
from trustbridge.migration.exchangerecord import exchanges
from trustbridge.migration.goals import pairs_of
from trustbridge.migration.proof import prove
from trustbridge.migration.proofcollect import collect
from trustbridge.pki.certificate import Certificate
from trustbridge.storage.campaignrecords import ClusterRecord
from trustbridge.storage.jobs import JobRecord
from trustbridge.storage.readings import Readings
from trustbridge.trust.inspection import Inspection, KnownSigner, inspect

#: Kinds of jobs here.
READ: Final = "cluster-read"
TEST: Final = "cluster-test"
LOOK: Final = "cluster-identities"
TRUST: Final = "trust"


def key_of(kind: str, cluster: str) -> str:
    """A job's key: no two of one kind for one cluster, or for the same clusters."""
    # Names of ten clusters are longer than a key may be; and what an address has in a name's place may be anything.
    plain = len(cluster) < 100 and cluster.isascii() and cluster.isprintable()
    return f"{kind}:{cluster if plain else hashlib.sha256(cluster.encode('utf-8', 'surrogatepass')).hexdigest()}"


def last_job(desk: Desk, kind: str, cluster: str) -> JobRecord | None:
    """The newest of a kind."""
    return desk.jobs.table.of_key(key_of(kind, cluster))


@dataclass(frozen=True, slots=True)
class Kept:
    """A cluster of the inventory, with what is known of it. `seen` is what campaigns have seen of it."""

    entry: ClusterEntry
    reading: Mapping[str, Any] | None
    seen: ClusterRecord | None


def readings(desk: Desk) -> Readings:
    """Of clusters."""
    return Readings(desk.state, "cluster")


def reading_of(desk: Desk, name: str) -> dict[str, Any] | None:
    """The last reading of one cluster; None before the first."""
    found = readings(desk).get(name)
    return found if found is not None and found.get("format") == FORMAT else None


def all_readings(desk: Desk) -> dict[str, dict[str, Any]]:
    """The last reading of each cluster of the inventory that was read."""
    found = {name: reading_of(desk, name) for name in desk.inventory.all()}
    return {name: reading for name, reading in found.items() if reading is not None}


def known(desk: Desk) -> list[Kept]:
    """The inventory."""
    seen = {one.name: one for one in desk.campaigns.clusters()}
    return [Kept(entry, reading_of(desk, name), seen.get(name)) for name, entry in desk.inventory.all().items()]


def entry_of(desk: Desk, name: str) -> ClusterEntry:
    """One of them.

    Raises:
        NotThere: there is none of that name.
    """
    found = desk.inventory.all().get(name)
    if found is None:
        raise NotThere(f"no cluster is called {name}")
    return found


def read_at(reading: Mapping[str, Any]) -> datetime:
    """When it was read."""
    return datetime.fromisoformat(reading["read_at"])


# Reading.


def start_reading(desk: Desk, who: str, name: str, *, every_store: bool = True) -> JobRecord:
    """Read a cluster anew.

    Raises:
        NotThere: there is none of that name.
        NotNow: it is being read.
    """
    entry_of(desk, name)

    async def work(told: Told) -> dict[str, Any]:
        async with desk.opened([name]) as clusters:
            found = await read_cluster(clusters[name], desk.now(), every_store=every_store, progress=told)
        await asyncio.to_thread(_complete, desk, found)
        await asyncio.to_thread(_keep_reading, desk, found)
        return {
            "nodes": len(found["nodes"]),
            "certificates": len(found["certificates"]),
            "gaps": [f"{one['where']}: {one['what']}: {one['why']}" for one in found["gaps"]],
        }

    return desk.jobs.start(
        READ, N_("Read the cluster %(cluster)s"), who, work, values={"cluster": name}, key=key_of(READ, name)
    )


def _complete(desk: Desk, found: dict[str, Any]) -> None:
    """Add what takes the processor, or comes from our own records: what the files hold, who brought which entry."""
    signers = signers_of(found)
    for file in found["files"]:
        content = base64.b64decode(file["content"])
        file |= _summary(inspect(content, now=desk.now(), password=BUNDLE_PASSWORD, signers=signers))
    found["added"] = _added(desk, found["name"])


def _summary(found: Inspection) -> dict[str, Any]:
    facts = {fact.key: fact.text for fact in found.facts}
    return {
        "bytes": found.size,
        "sha256": facts.get("sha256", ""),
        "signer": facts.get("signer", ""),
        "signature": facts.get("signature", ""),
        "records": len(found.rows),
        "verdict": str(found.verdict),
        "problems": len(found.problems),
    }


def signers_of(reading: Mapping[str, Any]) -> list[KnownSigner]:
    """The cluster's own certificates, which its files may be signed with."""
    found = []
    for sha256 in dict.fromkeys(one["sha256"] for one in reading["identities"]):
        try:
            certificate = Certificate.from_pem(reading["certificates"][sha256]["pem"].encode())
        except InvalidCertificate:
            continue
        found.append(KnownSigner(certificate, reading["name"]))
    return found


def _added(desk: Desk, name: str) -> list[dict[str, Any]]:
    """What exchanges from here have put into this cluster's stores; nothing where their records can't be read."""
    try:
        return [
            {"store": str(one.store), "sha256": one.certificate.sha256, "exchange": record.name}
            for record in exchanges(desk.state / "exchanges")
            for one in record.additions()
            if one.cluster == name and not one.gone
        ]
    except (TrustbridgeError, OSError):
        return []


def _keep_reading(desk: Desk, found: dict[str, Any]) -> None:
    readings(desk).keep(found["name"], found)
    _record(desk, found["name"], found["release"] or "", [one["name"] for one in found["nodes"]], read_at(found))


def _record(desk: Desk, name: str, release: str, nodes: Sequence[str], at: datetime) -> None:
    """For reports of campaigns; what was not seen pushes out nothing that was."""
    if release:
        desk.campaigns.record_clusters([ClusterRecord(name, release[:64], tuple(nodes), at)])


def start_test(desk: Desk, who: str, name: str) -> JobRecord:
    """Try each interface. Raises as `start_reading`."""
    entry_of(desk, name)

    async def work(told: Told) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []

        def known_now(row: dict[str, Any]) -> None:
            rows.append(row)
            told(row["interface"], len(rows), len(TRIALS))

        async with desk.opened([name]) as clusters:
            found, _code = await try_interfaces(clusters[name], known_now)
        return found

    return desk.jobs.start(
        TEST, N_("Try the interfaces of %(cluster)s"), who, work, values={"cluster": name}, key=key_of(TEST, name)
    )


# Identities of nodes.


def hosts_of(desk: Desk, entry: ClusterEntry) -> tuple[str, ...]:
    """Where its nodes are reached, as far as that is known."""
    reading = reading_of(desk, entry.name)
    return identities.hosts_of(entry, [one["address"] for one in reading["nodes"]] if reading is not None else ())


def start_look(desk: Desk, who: str, name: str) -> JobRecord:
    """See what its nodes show now. Raises as `start_reading`."""
    entry = entry_of(desk, name)
    hosts = hosts_of(desk, entry)

    async def work(told: Told) -> list[dict[str, Any]]:
        told(name, 0, 0)
        return await identities.shown(entry, hosts, desk.state)

    return desk.jobs.start(
        LOOK, N_("See what nodes of %(cluster)s show"), who, work, values={"cluster": name}, key=key_of(LOOK, name)
    )


def pin_shown(desk: Desk, name: str, kind: str, host: str, fingerprint: str) -> str:
    """Pin what a node has shown, since a person confirms just that; what was pinned, in words.

    Raises:
        SettingsError: nobody has seen that node show this.
    """
    entry = entry_of(desk, name)
    job = last_job(desk, LOOK, name)
    for row in (job.result if job is not None else None) or ():
        if (row["kind"], row["host"], row["shown"]) == (kind, host, fingerprint) and fingerprint:
            if row["port"] != (entry.ssh_port if kind == identities.PinKind.SSH else entry.https_port):
                break
            identities.pin(row, desk.state)
            return f"{row['host']}:{row['port']} {row['shown']}"
    raise SettingsError(
        f"{host} was not seen to show {fingerprint or 'anything'}", "See what its nodes show now, and compare again."
    )


# Who vouches for whom.


def trust_key(desk: Desk, chosen: Sequence[str]) -> str:
    """What the answers about these clusters are kept under: their names, joined by "+".

    Raises:
        SettingsError: fewer than two, or one that is not known.
    """
    names = list(dict.fromkeys(chosen))
    for name in names:
        desk.inventory.get(name)
    pairs_of(names)
    return "+".join(names)


def proofs(desk: Desk) -> Readings:
    """What is kept of who vouches for whom."""
    return Readings(desk.state, "trust")


def start_trust(desk: Desk, who: str, chosen: Sequence[str], *, emcc: bool = False, deep: bool = True) -> JobRecord:
    """Ask every TVS of these clusters about every signer of the others.

    Raises:
        SettingsError: as `trust_key`.
        NotNow: they are being asked.
    """
    key = trust_key(desk, chosen)
    names = key.split("+")
    pairs = pairs_of(names)

    async def work(told: Told) -> dict[str, Any]:
        async with desk.opened(names) as clusters:
            ports = {name: cluster.entry.tvs_port for name, cluster in clusters.items()}
            seen = await collect(clusters, pairs, emcc=emcc, deep=deep, progress=told)
        told("", 1, 1)
        proof = await asyncio.to_thread(prove, seen, desk.now())
        value = proofreport.as_json(proof) | {"tvs_ports": ports}
        page = await asyncio.to_thread(proofreport.as_html, proof)
        await asyncio.to_thread(proofs(desk).keep, key, value, html=page)
        for one in proof.clusters:
            await asyncio.to_thread(_record, desk, one.name, one.release, [node.name for node in one.nodes], proof.at)
        return {"holds": proof.holds, "sentence": proof.sentence, "counts": value["counts"]}

    return desk.jobs.start(
        TRUST,
        N_("Ask who vouches for whom: %(clusters)s"),
        who,
        work,
        values={"clusters": ", ".join(names)},
        key=key_of(TRUST, key),
    )
