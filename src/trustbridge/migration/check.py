"""What stands in the way of a move, before a phone is touched: findings with their evidence, and what is unknown.

    checked = check(await observe(source, destination), now)
    checked.findings    # worst first
    checked.unknowns    # what could not be looked at, and why
    checked.ready       # nothing that was seen stops it, and nothing essential is unknown

Pure: what was observed goes in. The proof of trust and the judgement of an exchange are reused, not repeated; what they
find is told with the phones that it leaves behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from trustbridge.migration.checkphones import phone_findings, phone_gaps
from trustbridge.migration.checkreach import Reach
from trustbridge.migration.checkseen import Observed, release_of
from trustbridge.migration.checktrust import trust_findings, with_models
from trustbridge.migration.exchangeplan import Method, plan_exchange
from trustbridge.migration.findings import Finding, Severity, finding, worst_first
from trustbridge.migration.proof import prove
from trustbridge.migration.proofseen import Gap
from trustbridge.migration.proofvalues import Proof, Verdict
from trustbridge.pki.units import BulkType

#: From here on one deletion of a certificate acts on all nodes (TB148).
_ONE_DELETION: Final = (11, 0)
#: What the way to exchange stops at, or asks for consent to, is no hindrance to the move itself once it is done.
_OF_THE_EXCHANGE: Final = {"TB143": Severity.WARN, "TB145": Severity.NOTE}


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of a check.

    Attributes:
        at: when it was judged.
        findings: worst first.
        unknowns: what could not be looked at; essential ones first.
        phones: how many the source has; None where they could not be read.
        emcc: whether Extension Mobility Cross Cluster was looked at as well.
    """

    source: str
    destination: str
    at: datetime
    findings: tuple[Finding, ...]
    unknowns: tuple[Gap, ...]
    phones: int | None
    emcc: bool = False

    def of(self, severity: Severity) -> tuple[Finding, ...]:
        """Findings of one severity."""
        return tuple(one for one in self.findings if one.severity is severity)

    @property
    def essential(self) -> tuple[Gap, ...]:
        """What is unknown, and decides."""
        return tuple(gap for gap in self.unknowns if gap.essential)

    @property
    def ready(self) -> bool:
        """Whether nothing that was seen stops the move, and nothing essential is unknown."""
        return not self.of(Severity.STOP) and not self.essential

    @property
    def sentence(self) -> str:
        """The whole, for a person who reads one sentence."""
        stops, warnings = self.of(Severity.STOP), len(self.of(Severity.WARN))
        phones = "" if self.phones is None else f" of {self.phones} phone{'s' * (self.phones != 1)}"
        move = f"the move{phones} from {self.source} to {self.destination}"
        if stops:
            first = stops[0]
            count = f"{len(stops)} findings stop" if len(stops) > 1 else "one finding stops"
            return f"Do not move phones yet: {count} {move}. Begin with {first.id} ({first.subject}): {first.remedy}"
        rest = len(self.unknowns) - len(self.essential)
        others = f" {_things(rest)} could not be looked at, and decide{'s' * (rest == 1)} nothing." if rest else ""
        if self.essential:
            return (
                f"Not known: nothing was seen that stops {move}, but {_things(len(self.essential))} that decide"
                f"{'s' * (len(self.essential) == 1)} it could not be looked at. Make it visible and check again."
            )
        about = f", {warnings} finding{'s' * (warnings != 1)} to be read first" if warnings else ""
        return f"Nothing that was seen stops {move}{about}.{others}"

    def as_json(self) -> dict[str, Any]:
        """For programs: everything."""
        return {
            "source": self.source,
            "destination": self.destination,
            "at": self.at.isoformat(),
            "ready": self.ready,
            "sentence": self.sentence,
            "for": "emcc" if self.emcc else "phones",
            "phones": self.phones,
            "counts": {str(severity): len(self.of(severity)) for severity in Severity},
            "findings": [one.as_json() for one in self.findings],
            "unknowns": [
                {"where": gap.where, "what": gap.what, "why": gap.why, "essential": gap.essential}
                for gap in self.unknowns
            ],
        }


def _things(count: int) -> str:
    return f"{count} thing{'s' * (count != 1)}"


def check(seen: Observed, now: datetime) -> Checked:
    """The judgement of what was observed.

    Args:
        now: time of the judgement, with a time zone.
    """
    proof = prove(seen.trust, now)
    proven = Reach(seen, proof).counted(proof.findings)
    findings = [
        *proven,
        *_of_exchange(seen, proof, now),
        *trust_findings(seen, now),
        *phone_findings(seen),
        *_of_releases(seen),
    ]
    unknowns = dict.fromkeys([*proof.gaps, *_unasked(seen, proof), *seen.gaps, *phone_gaps(seen)])
    return Checked(
        seen.source,
        seen.destination,
        now,
        worst_first(with_models(seen, one) for one in findings),
        tuple(sorted(unknowns, key=lambda gap: not gap.essential)),
        None if seen.phones is None else len(seen.phones),
        seen.trust.emcc,
    )


def _of_exchange(seen: Observed, proof: Proof, now: datetime) -> Iterator[Finding]:
    """What an exchange would do harm with, and what keeps the bulk pages from working together."""
    if seen.surveys is None:
        return
    surveys = {name: seen.surveys[name] for name in (seen.source, seen.destination)}
    pairs = [(seen.source, seen.destination)]
    # As if by bulk: that way everything is judged which may keep either way from working. No server is named.
    plan = plan_exchange(surveys, pairs, tuple(BulkType), now=now, method=Method.BULK, sftp="bulk")
    yield from _sftp(seen, bool(plan.missing))
    told = {one.subject.partition("/")[0] for one in proof.findings if one.id == "TB132"}
    for one in plan.findings:
        if one.id == "TB143" and not plan.missing:
            continue  # nothing is to be consolidated any more
        if one.id == "TB132" and one.subject.partition("/")[0] in told:
            continue  # seen on the file itself
        yield replace(one, severity=_OF_THE_EXCHANGE.get(one.id, one.severity))


def _sftp(seen: Observed, missing: bool) -> Iterator[Finding]:
    """TB144: servers that exchanges of ours have set; what somebody set since, no publisher tells."""
    here, there = seen.sftp.get(seen.source), seen.sftp.get(seen.destination)
    if not missing or here is None or there is None or here.server == there.server:
        return
    told = "; ".join(
        f"{name}: {one.server}, by exchange {one.exchange} at {one.at:%Y-%m-%d %H:%M} UTC"
        for name, one in ((seen.source, here), (seen.destination, there))
    )
    yield finding("TB144", Severity.WARN, f"{seen.source} and {seen.destination}", told)


def _of_releases(seen: Observed) -> Iterator[Finding]:
    """TB148: what becomes of a certificate that is removed."""
    for cluster in seen.both:
        release = release_of(cluster)
        if release is None:
            continue
        if release.at_least(*_ONE_DELETION):
            outcome = "one deletion acts on all nodes, with no undo"
        else:
            outcome = "nodes copy back what is removed from one of them"
        yield finding(
            "TB148", Severity.NOTE, cluster.name, f"{cluster.name} is release {release}", consequence=f"Here {outcome}."
        )


def _unasked(seen: Observed, proof: Proof) -> Iterator[Gap]:
    """Answers that were not had, on the way out: what nobody heard is no yes."""
    for direction in proof.directions:
        silent = [cell.node for cell in direction.cells if cell.verdict is Verdict.UNKNOWN]
        if silent and direction.asking == seen.source and not direction.back:
            names = ", ".join(dict.fromkeys(silent))
            yield Gap(
                seen.source,
                "",
                f"whether the TVS of {names} vouch{'es' * (len(set(silent)) == 1)} for {direction.vouched}",
                "no answer was had that counts; see the findings about it",
                essential=True,
            )
