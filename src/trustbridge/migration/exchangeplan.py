"""What an exchange will do, decided beforehand: by which method, in which steps, and what keeps it from beginning.

Pure: surveys in, a plan out. The plan says why it decided so, and goes into the exchange's record as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from trustbridge.errors import SettingsError
from trustbridge.migration.exchangecheck import authorities_for, judge
from trustbridge.migration.findings import KINDS, Finding, Severity, finding, worst_first
from trustbridge.migration.goals import Goal, Pair, complete, goals_of
from trustbridge.migration.survey import ClusterSurvey
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.units import BulkType, Store

#: From this build on, and up to the other release, bulk pages do not work together (CSCuy43181).
_NEW_BUNDLES: Final = (10, 5, 2, 13900)
_OLD_BUNDLES: Final = (10,)


class Method(StrEnum):
    """How certificates travel."""

    BULK = "bulk"
    CERTIFICATES = "certificates"


class StepKind(StrEnum):
    """What a step does."""

    AUTHORITIES = "authorities"
    SFTP = "sftp"
    EXPORT = "export"
    CONSOLIDATE = "consolidate"
    IMPORT = "import"
    UPLOAD = "upload"
    RESTART_TVS = "restart TVS"


@dataclass(frozen=True, slots=True)
class Step:
    """One step; steps of one kind run at the same time on all clusters.

    Attributes:
        kind: what.
        cluster: where.
        words: the same for people.
        effect: what else it causes; "" for nothing.
        goals: what it brings about, as places in the plan's goals.
    """

    kind: StepKind
    cluster: str
    words: str
    effect: str = ""
    goals: tuple[int, ...] = ()

    @property
    def key(self) -> str:
        """What the record calls it."""
        return f"{self.kind} {self.cluster}"


@dataclass(frozen=True, slots=True)
class ExchangePlan:
    """An exchange, decided.

    Attributes:
        clusters: in the order they were named.
        pairs: which exchange with which.
        types: bulk types that are meant.
        method, why: how, and why so.
        goals: what is to be reached, without what can't be.
        held: those of the goals that are reached already.
        left_out: what was meant and can't be reached, with the id of the finding that says why.
        replaced: certificates that will make way, by goal.
        findings: worst first.
        accepted: ids of findings that do not stop it.
        sftp: the server as people write it, without its password; "" where the method needs none.
        steps: in order.
    """

    clusters: tuple[str, ...]
    pairs: tuple[Pair, ...]
    types: tuple[BulkType, ...]
    method: Method
    why: str
    goals: tuple[Goal, ...]
    held: frozenset[Goal]
    left_out: tuple[tuple[Goal, str], ...]
    replaced: tuple[tuple[Goal, tuple[Certificate, ...]], ...]
    findings: tuple[Finding, ...]
    accepted: frozenset[str]
    sftp: str
    steps: tuple[Step, ...]

    @property
    def blocking(self) -> tuple[Finding, ...]:
        """What has to be resolved, or accepted, first."""
        return tuple(one for one in self.findings if one.severity is Severity.STOP and one.id not in self.accepted)

    @property
    def missing(self) -> tuple[Goal, ...]:
        """The goals that are not reached yet."""
        return tuple(goal for goal in self.goals if goal not in self.held)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "clusters": list(self.clusters),
            "pairs": [list(pair) for pair in self.pairs],
            "types": [str(kind) for kind in self.types],
            "method": str(self.method),
            "why": self.why,
            "sftp": self.sftp or None,
            "may_begin": not self.blocking,
            "findings": [one.as_json() for one in self.findings],
            "accepted": sorted(self.accepted),
            "goals": [_goal_json(goal) | {"held": goal in self.held} for goal in self.goals],
            "left_out": [_goal_json(goal) | {"finding": why} for goal, why in self.left_out],
            "steps": [
                {"step": str(step.kind), "cluster": step.cluster, "what": step.words, "effect": step.effect}
                for step in self.steps
            ],
        }


def _goal_json(goal: Goal) -> dict[str, Any]:
    return {
        "cluster": goal.importer,
        "node": goal.node or None,
        "store": str(goal.store),
        "of": f"{goal.exporter}/{goal.source}",
        "subject": goal.certificate.subject,
        "sha256": goal.certificate.sha256,
    }


def plan_exchange(
    surveys: Mapping[str, ClusterSurvey],
    pairs: Sequence[Pair],
    types: Sequence[BulkType],
    *,
    now: datetime,
    method: Method | None = None,
    capf_trust: bool = True,
    authorities: bool = False,
    accepted: Collection[str] = (),
    sftp: str = "",
    lying: Sequence[str] | None = (),
    restart_tvs: bool = False,
) -> ExchangePlan:
    """Decide.

    Args:
        surveys: of every cluster, in the order they were named.
        method: None lets the plan decide.
        capf_trust: see `goals_of`.
        authorities: also take along the issuers of CA-signed certificates that the other side lacks.
        accepted: ids of findings that are not to stop it.
        sftp: the server for bulk, as people write it; "" for none.
        lying: bundles that lie in its directory now; None where nobody could look.
        restart_tvs: restart TVS on every node afterwards.

    Raises:
        SettingsError: an id that is none, or bulk where it can't do what is asked.
    """
    unknown = sorted(set(accepted) - KINDS.keys())
    if unknown:
        raise SettingsError(f"--accept {', '.join(unknown)}: there is no such finding", "Ids look like TB145.")
    goals = goals_of(surveys, pairs, types, capf_trust=capf_trust)
    if authorities:
        goals = (*_authorities(surveys, goals), *goals)
    judged = judge(surveys, pairs, goals, now)
    findings = list(judged.findings)
    chosen, why, hindrance = _method(surveys, pairs, judged.unreachable.values(), method, sftp)
    if hindrance is not None:
        findings.append(hindrance)
    if chosen is Method.BULK:
        findings += _leftovers(sftp, lying)
    left_out = {goal: why for goal, why in judged.unreachable.items() if why in accepted}
    kept = tuple(goal for goal in goals if goal not in left_out)
    held = frozenset(goal for goal in kept if surveys[goal.importer].holds(goal.store, goal.certificate, goal.node))
    plan = ExchangePlan(
        clusters=tuple(surveys),
        pairs=tuple(pairs),
        types=tuple(types),
        method=chosen,
        why=why,
        goals=kept,
        held=held,
        left_out=tuple(left_out.items()),
        replaced=tuple(judged.replaced.items()),
        findings=worst_first(findings),
        accepted=frozenset(accepted),
        sftp=sftp if chosen is Method.BULK else "",
        steps=(),
    )
    return replace(plan, steps=_steps(surveys, plan, restart_tvs))


def _authorities(surveys: Mapping[str, ClusterSurvey], goals: Sequence[Goal]) -> tuple[Goal, ...]:
    """Goals for the issuers that the chains of these goals need, found in the exporter's own stores."""
    found: dict[Goal, None] = {}
    for goal in goals:
        if goal.certificate.self_signed or goal.store not in (Store.CALLMANAGER_TRUST, Store.TOMCAT_TRUST):
            continue
        exporter = surveys[goal.exporter]
        held = {one.certificate for one in surveys[goal.importer].trusted if one.store is goal.store}
        for authority in authorities_for(goal.certificate, [one.certificate for one in exporter.trusted]):
            if authority not in held:
                found[Goal(goal.importer, "", goal.store, authority, goal.exporter, "trust stores", None)] = None
    return tuple(found)


def _method(
    surveys: Mapping[str, ClusterSurvey],
    pairs: Sequence[Pair],
    unreachable: Collection[str],
    wanted: Method | None,
    sftp: str,
) -> tuple[Method, str, Finding | None]:
    """The method, why, and what is wrong with it if it was asked for all the same."""
    hindrance = _bulk_hindrance(surveys)
    if wanted is Method.CERTIFICATES:
        return Method.CERTIFICATES, "certificate by certificate, as asked for", None
    if not complete(pairs):
        few = f"{len(pairs)} of {len(surveys) * (len(surveys) - 1) // 2} pairs are meant, and one consolidated bundle "
        few += "makes every cluster trust every other"
        if wanted is Method.BULK:
            raise SettingsError(f"bulk can't do this: {few}", "Leave --by out, or exchange a pair at a time.")
        return Method.CERTIFICATES, f"certificate by certificate: {few}", None
    if wanted is Method.BULK:
        if not sftp:
            raise SettingsError(
                "bulk needs an SFTP server that all publishers reach", "Name one: --sftp USER@HOST/DIR."
            )
        return Method.BULK, "by the clusters' own bulk commands, as asked for", hindrance
    if hindrance is not None:
        return Method.CERTIFICATES, f"certificate by certificate: {hindrance.evidence}", None
    if "TB142" in unreachable:
        return (
            Method.CERTIFICATES,
            "certificate by certificate: a bulk import stops at a certificate that has expired",
            None,
        )
    if not sftp:
        return (
            Method.CERTIFICATES,
            "certificate by certificate: no SFTP server was named that the clusters' bulk commands could use",
            None,
        )
    return Method.BULK, "by the clusters' own bulk commands: all releases support it and every pair is meant", None


def _leftovers(sftp: str, lying: Sequence[str] | None) -> Iterator[Finding]:
    """TB146: bundles of an earlier try would be consolidated with the others."""
    if lying is None:
        yield finding("TB146", Severity.WARN, sftp, "nobody here could look into the directory: see that it is empty")
    elif lying:
        names = ", ".join(lying[:5]) + (f" and {len(lying) - 5} more" if len(lying) > 5 else "")
        yield finding("TB146", Severity.STOP, sftp, f"{len(lying)} files lie there: {names}")


def _bulk_hindrance(surveys: Mapping[str, ClusterSurvey]) -> Finding | None:
    """TB143: what keeps the bulk pages of these clusters from working together."""
    names = " and ".join(surveys)
    old = [one for one in surveys.values() if one.release.numbers < _OLD_BUNDLES]
    new = [one for one in surveys.values() if one.release.numbers >= _NEW_BUNDLES]
    if old and new:
        return finding(
            "TB143",
            Severity.STOP,
            names,
            f"{old[0].name} is release {old[0].release}, {new[0].name} {new[0].release}: consolidating 8.x or 9.x with "
            "10.5.2.13900 or later fails (CSCuy43181)",
        )
    fips = [one for one in surveys.values() if one.fips]
    if fips:
        return finding(
            "TB143",
            Severity.STOP,
            names,
            f"{fips[0].name} runs in FIPS mode, which may refuse the encryption of others' bundles (inferred)",
        )
    return None


def _steps(surveys: Mapping[str, ClusterSurvey], plan: ExchangePlan, restart_tvs: bool) -> tuple[Step, ...]:
    """The steps to what is missing, in order; a step without a goal to reach is none."""

    def towards(kind: StepKind, verb: str, wanted: Callable[[Goal], bool]) -> Iterator[Step]:
        for name in plan.clusters:
            places = tuple(
                place
                for place, goal in enumerate(plan.goals)
                if goal.importer == name and goal not in plan.held and wanted(goal)
            )
            here = [plan.goals[place] for place in places]
            if here:
                effect = _import_effect(surveys[name], here)
                yield Step(kind, name, f"{verb}: {_counted(here)}", effect, places)

    # One cluster consolidates for all: a type that a release does not know in bulk is no bulk's (TB104).
    bulk_types = [kind for kind in plan.types if all(kind in one.abilities.bulk_types for one in surveys.values())]

    def by_bulk(goal: Goal) -> bool:
        return plan.method is Method.BULK and goal.type in bulk_types

    # Authorities first: what they signed may be refused without them.
    steps = list(towards(StepKind.AUTHORITIES, "upload authorities", _is_authority))
    imports = list(towards(StepKind.IMPORT, "import", by_bulk))
    if imports:
        for name in plan.clusters:
            what = f"set the SFTP server of bulk certificate management: {plan.sftp}"
            steps.append(Step(StepKind.SFTP, name, what, "replaces the one that is set, which can't be read back"))
        for name in plan.clusters:
            what = f"export {', '.join(bulk_types)} of {len(surveys[name].nodes)} nodes"
            steps.append(Step(StepKind.EXPORT, name, what, "writes bundles"))
        what = "consolidate what all have exported"
        steps += [Step(StepKind.CONSOLIDATE, plan.clusters[0], what, "writes bundles"), *imports]
    steps += towards(StepKind.UPLOAD, "upload", lambda goal: not by_bulk(goal) and not _is_authority(goal))
    if restart_tvs:
        for name in plan.clusters:
            what = f"restart Cisco Trust Verification Service on {len(surveys[name].nodes)} nodes, one after the other"
            steps.append(Step(StepKind.RESTART_TVS, name, what, "each is down meanwhile"))
    return tuple(steps)


def _is_authority(goal: Goal) -> bool:
    return goal.type is None and goal.store is not Store.CAPF_TRUST


def _counted(goals: Sequence[Goal]) -> str:
    counts = Counter(f"{goal.store}{' of single nodes' if goal.node else ''}" for goal in goals)
    return ", ".join(f"{count} to {where}" for where, count in sorted(counts.items()))


def _import_effect(importer: ClusterSurvey, goals: Sequence[Goal]) -> str:
    if importer.abilities.restarts_phones_on_import and any(goal.store is Store.CALLMANAGER_TRUST for goal in goals):
        return "restarts the cluster's phones (TB145)"
    return "services may go on with what they knew until they are restarted (TB149)"
