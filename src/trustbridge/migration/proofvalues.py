"""What a proof of trust says, as values; nothing after it rewords them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from trustbridge.migration.findings import Finding, Severity
from trustbridge.migration.proofseen import ClusterSeen, Gap, ServedFile, Signer
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.units import BulkType, Store


class Verdict(StrEnum):
    """What is known of one thing."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


def together(verdicts: list[Verdict]) -> Verdict:
    """One verdict for several: a single no is no, and nothing at all is unknown."""
    if Verdict.NO in verdicts:
        return Verdict.NO
    return Verdict.UNKNOWN if Verdict.UNKNOWN in verdicts or not verdicts else Verdict.YES


@dataclass(frozen=True, slots=True)
class Cell:
    """Whether phones that ask one TVS will trust one signer.

    Attributes:
        node, address: who is asked.
        signer: `Signer.id`.
        words: why, a sentence each; what was not compared is said, too.
        findings: ids of what is wrong with it.
        roles, time_to_live, tls_version, seconds: of the answer; seconds from connecting to the whole answer.
        returned, presented: the certificate of the answer, and the one the service showed.
        stores: where the node holds the signer; None where stores were not read.
        listed: roles in `listTvsCertificate`; None where it does not name the signer or was not asked.
    """

    node: str
    address: str
    signer: str
    verdict: Verdict
    words: tuple[str, ...]
    findings: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    time_to_live: int | None = None
    tls_version: str = ""
    seconds: float = 0.0
    returned: Certificate | None = None
    presented: Certificate | None = None
    stores: tuple[Store, ...] | None = None
    listed: tuple[str, ...] | None = None

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "node": self.node,
            "address": self.address,
            "signer": self.signer,
            "verdict": str(self.verdict),
            "words": list(self.words),
            "findings": list(self.findings),
            "roles": list(self.roles),
            "time_to_live": self.time_to_live,
            "tls_version": self.tls_version,
            "seconds": round(self.seconds, 3),
            "returned_sha256": self.returned.sha256 if self.returned else None,
            "presented_sha256": self.presented.sha256 if self.presented else None,
            "stores": None if self.stores is None else [str(store) for store in self.stores],
            "listed_roles": None if self.listed is None else list(self.listed),
        }


@dataclass(frozen=True, slots=True)
class Direction:
    """One cluster's TVS, asked about another cluster's signers.

    Attributes:
        back: whether it is the way back, for a rollback.
        nodes: who is asked, publisher first; cells go through them signer by signer.
        left_out: nodes that no phone asks: they are in no Unified CM group.
    """

    asking: str
    vouched: str
    back: bool
    nodes: tuple[str, ...]
    left_out: tuple[str, ...]
    signers: tuple[Signer, ...]
    cells: tuple[Cell, ...]

    @property
    def verdict(self) -> Verdict:
        """Of all cells together."""
        return together([cell.verdict for cell in self.cells])

    def cell(self, node: str, signer: str) -> Cell:
        """One cell; KeyError when there is none."""
        for one in self.cells:
            if (one.node, one.signer) == (node, signer):
                return one
        raise KeyError((node, signer))

    @property
    def title(self) -> str:
        """In words."""
        way = " (the way back)" if self.back else ""
        return f"{self.asking} vouches for {self.vouched}{way}"

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "asking": self.asking,
            "vouched": self.vouched,
            "back": self.back,
            "verdict": str(self.verdict),
            "left_out": list(self.left_out),
            "signers": [_signer_json(one) for one in self.signers],
            "cells": [one.as_json() for one in self.cells],
        }


@dataclass(frozen=True, slots=True)
class Placement:
    """Whether one node holds what an import of one type puts into one store.

    Attributes:
        holder, node: whose store.
        owner: the cluster whose certificates should be there.
        missing: those that are not; empty unless the verdict is no.
        expected: how many should be there.
        words: why, where it is not yes.
    """

    holder: str
    node: str
    owner: str
    bulk_type: BulkType
    store: Store
    verdict: Verdict
    expected: int
    missing: tuple[Certificate, ...] = ()
    words: str = ""

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "holder": self.holder,
            "node": self.node,
            "owner": self.owner,
            "type": str(self.bulk_type),
            "store": str(self.store),
            "verdict": str(self.verdict),
            "expected": self.expected,
            "missing": [{"subject": one.subject, "sha256": one.sha256} for one in self.missing],
            "words": self.words,
        }


@dataclass(frozen=True, slots=True)
class Proof:
    """All that a verification found.

    Attributes:
        at: when it was judged.
        holds: True: proven. False: something is wrong. None: nothing is seen to be wrong, and not all was seen.
        clusters: those that take part.
        gaps: what could not be looked at.
        emcc, deep: what was asked for.
    """

    at: datetime
    holds: bool | None
    directions: tuple[Direction, ...]
    findings: tuple[Finding, ...]
    placements: tuple[Placement, ...]
    gaps: tuple[Gap, ...]
    clusters: tuple[ClusterSeen, ...]
    emcc: bool
    deep: bool

    @property
    def counts(self) -> dict[Verdict, int]:
        """How many cells of each verdict; all three are there."""
        counted = Counter(cell.verdict for direction in self.directions for cell in direction.cells)
        return {verdict: counted[verdict] for verdict in Verdict}

    @property
    def placement_columns(self) -> tuple[tuple[BulkType, Store], ...]:
        """Types and stores of the placements, in order."""
        return tuple(dict.fromkeys((one.bulk_type, one.store) for one in self.placements))

    @property
    def placement_rows(self) -> tuple[tuple[Placement, ...], ...]:
        """The placements of a node for another cluster together, each row in the order of `placement_columns`."""
        rows: dict[tuple[str, str, str], list[Placement]] = {}
        for one in self.placements:
            rows.setdefault((one.holder, one.node, one.owner), []).append(one)
        return tuple(map(tuple, rows.values()))

    @property
    def files(self) -> tuple[tuple[str, ServedFile], ...]:
        """(cluster, file): every trust list that was downloaded."""
        return tuple((cluster.name, file) for cluster in self.clusters for file in cluster.files)

    @property
    def title(self) -> str:
        """In a word or three."""
        return {True: "Proven", False: "Not proven", None: "Not proven: not all was seen"}[self.holds]

    @property
    def sentence(self) -> str:
        """The whole, for a person who reads one sentence."""
        counts = self.counts
        total = sum(counts.values())
        if self.holds:
            ways = "; ".join(_proven(direction) for direction in self.directions)
            emcc = " What Extension Mobility Cross Cluster needs is in place on both sides." if self.emcc else ""
            return f"Proven over TVS itself, {total} answers of {total}: {ways}.{emcc}"
        stops = [one for one in self.findings if one.severity is Severity.STOP]
        if self.holds is False:
            answers = f"{counts[Verdict.NO]} of {total} answers would leave phones without trust"
            said = answers if counts[Verdict.NO] else "an answer is not all it takes"
            first = f" Begin with {stops[0].id} ({stops[0].subject}): {stops[0].remedy}" if stops else ""
            return f"Not proven: {said}. Do not move phones on this.{first}"
        essential = sum(gap.essential for gap in self.gaps)
        unseen = f"{counts[Verdict.UNKNOWN]} of {total} answers are unknown"
        more = f", and {essential} other thing{'s' * (essential != 1)} could not be looked at" if essential else ""
        return f"Not proven: nothing was seen to be wrong, but {unseen}{more}. Make them visible and verify again."

    def as_json(self) -> dict[str, Any]:
        """For programs: everything."""
        return {
            "at": self.at.isoformat(),
            "holds": self.holds,
            "title": self.title,
            "sentence": self.sentence,
            "for": "emcc" if self.emcc else "phones",
            "deep": self.deep,
            "counts": {str(verdict): count for verdict, count in self.counts.items()},
            "directions": [one.as_json() for one in self.directions],
            "placements": [one.as_json() for one in self.placements],
            "findings": [one.as_json() for one in self.findings],
            "not_seen": [
                {"where": one.where, "what": one.what, "why": one.why, "essential": one.essential} for one in self.gaps
            ],
            "files": [_file_json(cluster, file) for cluster, file in self.files],
            "clusters": [_cluster_json(one) for one in self.clusters],
        }


def _proven(direction: Direction) -> str:
    count = len(direction.nodes)
    services = f"all {count} TVS" if count != 1 else "the one TVS"
    so = ", so that phones can go back" if direction.back else ""
    return (
        f"{services} that phones of {direction.asking} may ask vouch{'es' if count == 1 else ''}, with role SAST, for "
        f"the very certificates that sign the trust lists of {direction.vouched} now{so}"
    )


def _signer_json(signer: Signer) -> dict[str, Any]:
    return {
        "id": signer.id,
        "cluster": signer.cluster,
        "unit": str(signer.identity.unit) if signer.identity else None,
        "subject": signer.subject,
        "issuer": signer.issuer,
        "serial": f"{signer.serial:X}",
        "sha256": signer.certificate.sha256 if signer.certificate else None,
        "not_before": signer.certificate.not_before.isoformat() if signer.certificate else None,
        "not_after": signer.certificate.not_after.isoformat() if signer.certificate else None,
        "signs": [{"node": file.node, "name": file.name} for file in signer.files],
    }


def _file_json(cluster: str, file: ServedFile) -> dict[str, Any]:
    return {
        "cluster": cluster,
        "node": file.node,
        "name": file.name,
        "bytes": file.size,
        "sha256": file.sha256,
        "signer_sha256": file.signer.sha256 if file.signer else None,
        "signature_holds": file.checked,
        "problem": file.problem,
    }


def _cluster_json(cluster: ClusterSeen) -> dict[str, Any]:
    return {
        "name": cluster.name,
        "release": cluster.release,
        "mixed_mode": cluster.mixed,
        "prepare_for_rollback": cluster.rollback,
        "nodes": [{"name": one.name, "address": one.address, "publisher": one.publisher} for one in cluster.nodes],
        "groups": None
        if cluster.groups is None
        else [{"name": one.name, "members": list(one.members)} for one in cluster.groups],
        "ways": [[question, str(interface)] for question, interface in cluster.ways],
        "detours": list(cluster.detours),
    }
