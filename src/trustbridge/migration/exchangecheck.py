"""What an exchange would do harm with, seen beforehand: pure judgement over what was read.

Each rule gives findings, and the goals that can't be reached or must not be: those are left out if somebody accepts the
finding, and stop the exchange otherwise.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from trustbridge.migration.findings import Finding, Severity, finding
from trustbridge.migration.goals import Goal, Pair
from trustbridge.migration.survey import ClusterSurvey
from trustbridge.pki.certificate import MIN_RSA_BITS, Certificate, KeyKind
from trustbridge.pki.names import CertificateKey
from trustbridge.pki.units import Store, Unit

#: Units whose chain the other side has to know, and where it looks for authorities.
_CHAINED: Final[Mapping[Unit, Store]] = {
    Unit.CALLMANAGER: Store.CALLMANAGER_TRUST,
    Unit.CALLMANAGER_ECDSA: Store.CALLMANAGER_TRUST,
    Unit.TOMCAT: Store.TOMCAT_TRUST,
    Unit.TOMCAT_ECDSA: Store.TOMCAT_TRUST,
}
#: Certificates that sign what phones load.
_SIGNING: Final = (Unit.CALLMANAGER, Unit.ITLRECOVERY)
#: Longer chains are none.
_LONGEST_CHAIN: Final = 8


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of looking.

    Attributes:
        findings: what is wrong.
        unreachable: goals that come to nothing, with the id of the finding that says why.
        replaced: certificates that a goal pushes out of its store.
    """

    findings: tuple[Finding, ...]
    unreachable: Mapping[Goal, str]
    replaced: Mapping[Goal, tuple[Certificate, ...]]


def judge(surveys: Mapping[str, ClusterSurvey], pairs: Sequence[Pair], goals: Sequence[Goal], now: datetime) -> Judged:
    """Look at everything an exchange would do.

    Args:
        goals: those that are not reached yet, and those that are.
    """
    missing = [goal for goal in goals if not surveys[goal.importer].holds(goal.store, goal.certificate, goal.node)]
    unreachable: dict[Goal, str] = {}
    replaced: dict[Goal, tuple[Certificate, ...]] = {}
    findings = [
        *_not_valid(missing, now, unreachable),
        *_same_name(surveys, goals, missing, unreachable, replaced),
        *_same_key(surveys, pairs),
        *_chains(surveys, goals, missing),
        *_keys(surveys, pairs, missing, unreachable),
        *_restarts(surveys, missing),
    ]
    return Judged(tuple(findings), unreachable, replaced)


def shown(certificate: Certificate) -> str:
    """A certificate for people, so that it can be found: subject, serial number, validity, fingerprint."""
    return (
        f"{certificate.subject} (serial {certificate.serial:x}, {certificate.not_before:%Y-%m-%d} to "
        f"{certificate.not_after:%Y-%m-%d}, SHA-256 {certificate.sha256[:16]}...)"
    )


def _not_valid(goals: Iterable[Goal], now: datetime, unreachable: dict[Goal, str]) -> Iterable[Finding]:
    """TB142: a cluster's own import stops at a certificate that has expired."""
    told: set[Certificate] = set()
    for goal in goals:
        certificate = goal.certificate
        if certificate.not_before <= now <= certificate.not_after:
            continue
        if certificate.not_after < now:
            unreachable[goal] = "TB142"
        if certificate in told:
            continue
        told.add(certificate)
        expired = certificate.not_after < now
        when = (
            f"expired on {certificate.not_after:%Y-%m-%d}"
            if expired
            else (f"is not valid before {certificate.not_before:%Y-%m-%d}")
        )
        yield finding(
            "TB142",
            Severity.STOP if expired else Severity.WARN,
            f"{goal.exporter}/{goal.source}",
            f"{shown(certificate)} {when}",
            remedy=f"Renew it on {goal.exporter}, or leave it out: --accept TB142.",
        )


def _same_name(
    surveys: Mapping[str, ClusterSurvey],
    goals: Sequence[Goal],
    missing: Sequence[Goal],
    unreachable: dict[Goal, str],
    replaced: dict[Goal, tuple[Certificate, ...]],
) -> Iterable[Finding]:
    """TB140: a store keeps one certificate of a common name: its cluster's own, else the one that begins later.

    Both what is in the store and what else is on its way there count.
    """
    coming: dict[tuple[str, str, Store, str], list[Goal]] = defaultdict(list)
    for goal in goals:
        if goal.certificate.common_name:
            coming[(goal.importer, goal.node, goal.store, goal.certificate.common_name.casefold())].append(goal)
    absent = set(missing)
    own = {name: {one.certificate for one in surveyed.identities} for name, surveyed in surveys.items()}
    for goal in missing:
        name = goal.certificate.common_name.casefold()
        if not name:
            continue
        importer = surveys[goal.importer]
        rivals = [one for one in importer.named(goal.store, name, goal.node) if one != goal.certificate]
        others = [one for one in coming[(goal.importer, goal.node, goal.store, name)] if one != goal]
        others = [one for one in others if one.certificate != goal.certificate]
        where = f"{goal.store} of {goal.importer}{f'/{goal.node}' if goal.node else ''}"
        for other in others:
            # Of two that are both on their way only one is left, whatever order they come in. Told once.
            if goal.certificate.not_before <= other.certificate.not_before:
                unreachable[goal] = "TB140"
            if other in absent and other.certificate.sha256 < goal.certificate.sha256:
                continue
            yield finding(
                "TB140",
                Severity.STOP,
                goal.importer,
                f"{shown(goal.certificate)} of {goal.exporter}/{goal.source} and {shown(other.certificate)} of "
                f"{other.exporter}/{other.source} would both go to {where}",
                remedy="Reissue one of them with another common name. Accepted (--accept TB140), the later is left.",
            )
        for rival in rivals:
            if rival in own[goal.importer]:
                outcome = "which is the cluster's own and stays: the other one is not taken"
            elif rival.not_before >= goal.certificate.not_before:
                outcome = "which begins no earlier and stays: the other one is not taken"
            else:
                outcome = "which begins earlier and would be replaced"
            yield finding(
                "TB140",
                Severity.STOP,
                goal.importer,
                f"{where} holds {shown(rival)}, {outcome}, where {shown(goal.certificate)} of "
                f"{goal.exporter}/{goal.source} is to go",
                remedy="Was it renewed? Then accept that the old one goes (--accept TB140): the record keeps it, and "
                "undo brings it back. Otherwise resolve it by hand first."
                if "replaced" in outcome
                else "Remove what is there, or reissue one with another common name. Accepted (--accept TB140), the "
                "other one is left out.",
            )
            if "replaced" not in outcome:
                unreachable[goal] = "TB140"
        if rivals and goal not in unreachable:
            replaced[goal] = tuple(rivals)


def _same_key(surveys: Mapping[str, ClusterSurvey], pairs: Sequence[Pair]) -> Iterable[Finding]:
    """TB108: TVS finds certificates by issuer and serial number; two that share them are one to it."""
    for names in dict.fromkeys(frozenset(pair) for pair in pairs):
        found: dict[CertificateKey, dict[Certificate, str]] = defaultdict(dict)
        for name in sorted(names):
            for one in surveys[name].identities:
                found[one.certificate.key].setdefault(one.certificate, f"{name}/{one.node}/{one.unit}")
            for trusted in surveys[name].trusted:
                found[trusted.certificate.key].setdefault(trusted.certificate, f"{name}, {trusted.store}")
        for certificates in found.values():
            if len(certificates) > 1:
                yield finding(
                    "TB108",
                    Severity.STOP,
                    " and ".join(sorted(names)),
                    "; ".join(f"{place}: {shown(one)}" for one, place in certificates.items()),
                )


def _chains(surveys: Mapping[str, ClusterSurvey], goals: Sequence[Goal], missing: Sequence[Goal]) -> Iterable[Finding]:
    """TB141: the authorities above a CA-signed certificate have to be in the other side's store, or on their way."""
    told: set[tuple[str, str, Store]] = set()
    coming: dict[tuple[str, Store], list[Certificate]] = defaultdict(list)
    for goal in goals:
        if goal.type is None:
            coming[goal.importer, goal.store].append(goal.certificate)
    for goal in missing:
        unit = next((unit for unit in _CHAINED if goal.source.endswith(f"/{unit}")), None)
        if unit is None or goal.certificate.self_signed or goal.store is not _CHAINED[unit]:
            continue
        importer, exporter = surveys[goal.importer], surveys[goal.exporter]
        there = (*importer.store(goal.store), *coming[goal.importer, goal.store])
        lacking = absent_issuer(goal.certificate, there)
        if lacking is None or (goal.importer, lacking, goal.store) in told:
            continue
        told.add((goal.importer, lacking, goal.store))
        known = any(one.certificate.subject == lacking for one in exporter.trusted)
        yield finding(
            "TB141",
            Severity.STOP,
            goal.importer,
            f"{goal.store} of {goal.importer} has no {lacking}, which the chain of {shown(goal.certificate)} of "
            f"{goal.exporter}/{goal.source} needs",
            remedy=f"Upload it to {goal.store} of {goal.importer} first: it is in {goal.exporter}'s trust stores, and "
            "--authorities takes it along. --accept TB141 goes on without."
            if known
            else f"Have its authority give you {lacking}, and upload it to {goal.store} of {goal.importer}. "
            "--accept TB141 goes on without.",
        )


def absent_issuer(certificate: Certificate, store: Collection[Certificate]) -> str | None:
    """The first issuer on the way to a self-signed certificate that a store lacks; None when the chain is there.

    Issuers are found by name: a store that holds another key under the name is TB140's to tell.
    """
    at = certificate
    for _ in range(_LONGEST_CHAIN):
        if at.self_signed:
            return None
        above = next((one for one in store if one.subject == at.issuer), None)
        if above is None:
            return at.issuer
        at = above
    return at.issuer


def authorities_for(certificate: Certificate, known: Collection[Certificate]) -> tuple[Certificate, ...]:
    """The issuers above a certificate, nearest first, as far as they are known."""
    found: list[Certificate] = []
    at = certificate
    while not at.self_signed and len(found) < _LONGEST_CHAIN:
        above = next((one for one in known if one.subject == at.issuer and one != at), None)
        if above is None:
            break
        found.append(above)
        at = above
    return tuple(found)


def _keys(
    surveys: Mapping[str, ClusterSurvey],
    pairs: Sequence[Pair],
    missing: Sequence[Goal],
    unreachable: dict[Goal, str],
) -> Iterable[Finding]:
    """TB155, TB133, TB132: lengths of keys."""
    short: dict[Certificate, Goal] = {}
    for goal in missing:
        certificate = goal.certificate
        if certificate.key_kind is not KeyKind.RSA or certificate.key_bits >= MIN_RSA_BITS:
            continue
        refusing = surveys[goal.importer].fips
        if refusing:
            unreachable[goal] = "TB155"
        if refusing or certificate not in short:
            short[certificate] = goal
    for certificate, goal in short.items():
        fips = surveys[goal.importer].fips
        why = {True: "runs in FIPS mode", False: "does not run in FIPS mode", None: "does not tell its FIPS mode"}[fips]
        yield finding(
            "TB155",
            Severity.STOP if fips else Severity.NOTE if fips is False else Severity.WARN,
            f"{goal.exporter}/{goal.source}",
            f"{shown(certificate)} has a key of {certificate.key_bits} bits, and {goal.importer} {why}",
            consequence=None if fips else "A cluster in FIPS mode would refuse it.",
        )
    for name in dict.fromkeys(name for pair in pairs for name in pair):
        own = [one for one in surveys[name].identities if one.certificate.key_kind is KeyKind.RSA]
        signing = {unit: [one for one in own if one.unit is unit] for unit in _SIGNING}
        longest = max((one.certificate.key_bits for one in signing[Unit.CALLMANAGER]), default=0)
        for one in signing[Unit.ITLRECOVERY]:
            if one.certificate.key_bits < min(longest, MIN_RSA_BITS):
                yield finding(
                    "TB133",
                    Severity.WARN,
                    f"{name}/{one.node}/{one.unit}",
                    f"{shown(one.certificate)} has {one.certificate.key_bits} bits, CallManager {longest}",
                )
        signers = signing[surveys[name].abilities.trust_list_signer]
        for one in signers:
            if one.certificate.key_bits > MIN_RSA_BITS:
                yield finding(
                    "TB132",
                    Severity.NOTE,
                    f"{name}/{one.node}/{one.unit}",
                    f"{shown(one.certificate)} signs trust lists with {one.certificate.key_bits} bits",
                )


def _restarts(surveys: Mapping[str, ClusterSurvey], missing: Sequence[Goal]) -> Iterable[Finding]:
    """TB145: from 12.5 on, what arrives in CallManager-trust restarts the cluster's phones."""
    for name, importer in surveys.items():
        arriving = [goal for goal in missing if goal.importer == name and goal.store is Store.CALLMANAGER_TRUST]
        if arriving and importer.abilities.restarts_phones_on_import:
            yield finding(
                "TB145",
                Severity.STOP,
                name,
                f"{name} is release {importer.release}, and {len(arriving)} certificates are to arrive in "
                f"{Store.CALLMANAGER_TRUST}",
            )
