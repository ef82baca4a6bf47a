"""Whether phones will be told to trust: every TVS that phones may ask, against every signer of the other cluster.

    proof = prove(await collect(clusters, pairs), now)
    proof.holds        # True, False, or None: not seen enough of it
    proof.findings     # worst first, each with what to do

Pure: what was observed goes in, one `Proof` comes out; whoever shows it does not reword it. A cell is *yes* only if a
phone that asks this TVS would take the answer: the service's certificate is in the ITL that the phone holds and valid,
the answer is valid with role SAST, and its certificate is the one that signs the files as they are served now.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from trustbridge.migration.findings import Finding, Severity, worst_first
from trustbridge.migration.proofcells import Asked
from trustbridge.migration.prooffiles import file_findings
from trustbridge.migration.proofplaces import capf_findings, emcc_placements, placement_findings
from trustbridge.migration.proofseen import Gap, Observations
from trustbridge.migration.prooftvs import service_of
from trustbridge.migration.proofvalues import Direction, Placement, Proof, Verdict

__all__ = ["Proof", "Verdict", "prove"]


def prove(observations: Observations, now: datetime) -> Proof:
    """The judgement of what was observed.

    Args:
        now: time of the judgement, with a time zone: certificates must be valid then.
    """
    clusters = observations.clusters
    ways = observations.directions()
    involved = list(dict.fromkeys(name for asking, vouched, _ in ways for name in (asking, vouched)))
    services = {
        (name, node): service_of(clusters[name], clusters[name].node(node), observations.answers, now)
        for name in dict.fromkeys(asking for asking, _, _ in ways)
        for node in clusters[name].asked
    }
    findings = [one for name in involved for one in file_findings(clusters[name])]
    findings += [one for service in services.values() for one in service.findings]
    directions: list[Direction] = []
    gaps = list(observations.gaps)
    for asking, vouched, back in ways:
        asked = Asked(observations, clusters[asking], clusters[vouched], back, services)
        directions.append(asked.direction())
        findings += asked.findings()
        gaps += asked.gaps()
    placements = emcc_placements(observations) if observations.emcc else ()
    findings += placement_findings(placements)
    capf, unseen = capf_findings(observations)
    findings += capf
    gaps += unseen
    return Proof(
        at=now,
        holds=_holds(directions, placements, findings, gaps),
        directions=tuple(directions),
        findings=worst_first(findings),
        placements=placements,
        gaps=tuple(dict.fromkeys(gaps)),
        clusters=tuple(clusters[name] for name in involved),
        emcc=observations.emcc,
        deep=observations.deep,
    )


def _holds(
    directions: Iterable[Direction], placements: Iterable[Placement], findings: Iterable[Finding], gaps: Iterable[Gap]
) -> bool | None:
    """A single no is no; whatever is unknown, or was never asked, is no yes."""
    verdicts = {one.verdict for one in directions} | {one.verdict for one in placements}
    if Verdict.NO in verdicts or any(one.severity is Severity.STOP for one in findings):
        return False
    return None if Verdict.UNKNOWN in verdicts or any(gap.essential for gap in gaps) else True
