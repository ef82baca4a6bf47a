"""Whether phones accept a Trust Verification Service itself: its certificate, and whether it answers at all. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from trustbridge.migration.findings import Finding, Severity, finding
from trustbridge.migration.proofseen import Answer, ClusterSeen, Failure, NodeSeen
from trustbridge.migration.proofvalues import Verdict
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.units import Unit


@dataclass(frozen=True, slots=True)
class Service:
    """What phones make of one TVS before it says anything.

    Attributes:
        verdict: whether they let it speak.
        words: why.
        findings: what is wrong.
        presented: the certificate it shows.
    """

    verdict: Verdict
    words: tuple[str, ...]
    findings: tuple[Finding, ...]
    presented: Certificate | None


def service_of(cluster: ClusterSeen, node: NodeSeen, answers: Sequence[Answer], now: datetime) -> Service:
    """The TVS of a node, by what it showed when it was asked."""
    own = [one for one in answers if (one.cluster, one.node) == (cluster.name, node.name)]
    presented = next((one.presented for one in own if one.presented is not None), None)
    failures = [_failure(cluster, node, own, answers)] if own and all(one.failure for one in own) else []
    found = [one for one in failures if one is not None]
    if presented is None:
        return Service(Verdict.UNKNOWN, ("it showed no certificate",), tuple(found), None)
    verdict, words = Verdict.YES, []
    subject = f"{cluster.name}/{node.name}"
    evidence = f"it presents {presented.subject}, serial {presented.serial:X}, SHA-256 {presented.sha256}"
    if not presented.not_before <= now <= presented.not_after:
        span = f"valid from {presented.not_before:%Y-%m-%d %H:%M} to {presented.not_after:%Y-%m-%d %H:%M} UTC"
        found.append(finding("TB113", Severity.STOP, subject, f"{evidence}, {span}"))
        words.append(f"its TLS certificate is not valid now: {span}")
        verdict = Verdict.NO
    own_identity = node.identity(Unit.TVS)
    if own_identity is None:
        words.append("the node's own TVS certificate was not read, so it was not compared")
    elif own_identity != presented:
        found.append(
            finding(
                "TB149",
                Severity.WARN,
                subject,
                f"{evidence}; the node's TVS certificate is serial {own_identity.serial:X}, "
                f"SHA-256 {own_identity.sha256}",
                remedy="Restart Cisco Trust Verification Service on the node.",
            )
        )
        words.append("its TLS certificate is not the node's own TVS certificate any more")
    else:
        words.append("its TLS certificate is the node's own TVS certificate")
    listed, said, wrong = _in_itl(cluster, presented)
    if wrong:
        found.append(finding("TB110", Severity.STOP, subject, f"{evidence}; {said}"))
    words.append(said)
    if listed is not Verdict.YES and verdict is not Verdict.NO:
        verdict = listed
    return Service(verdict, tuple(words), tuple(found), presented)


def _in_itl(cluster: ClusterSeen, presented: Certificate) -> tuple[Verdict, str, bool]:
    """Whether phones of a cluster find a TVS certificate in the ITL they hold: verdict, words, whether it is wrong."""
    itls = [file for file in cluster.files if file.of_itl and file.header is not None]
    if not itls:
        return Verdict.UNKNOWN, f"no ITL of {cluster.name} was had to look the TLS certificate up in", False
    full = [file for file in itls if not file.blank]
    without = [file.node for file in full if presented not in file.tvs]
    if without:
        return Verdict.NO, f"the ITL of {', '.join(without)} does not list it with role TVS", True
    if full and len(full) == len(itls):
        return Verdict.YES, f"the ITL of {', '.join(file.node for file in itls)} lists it with role TVS", False
    blank = ", ".join(file.node for file in itls if file.blank)
    if cluster.mixed is False:
        return Verdict.YES, f"the ITL of {blank} is blank: phones take any ITL without asking", False
    verdict = Verdict.NO if cluster.mixed else Verdict.UNKNOWN
    return verdict, f"the ITL of {blank} is blank: secure phones find no TVS in it (TB120)", False


def _failure(cluster: ClusterSeen, node: NodeSeen, own: Sequence[Answer], answers: Sequence[Answer]) -> Finding:
    """What it means that a TVS does not answer: nothing worse than a warning where phones have another one."""
    stranded = _without_answer(cluster, node, answers)
    severity = Severity.STOP if stranded else Severity.WARN
    evidence = f"{own[0].address} port {own[0].port}: {own[0].words}"
    if stranded:
        evidence += f"; no other TVS answers phones of {stranded}"
    kind = "TB112" if own[0].failure is Failure.TLS_VERSION else "TB111"
    return finding(kind, severity, f"{cluster.name}/{node.name}", evidence)


def _without_answer(cluster: ClusterSeen, node: NodeSeen, answers: Sequence[Answer]) -> str:
    """Whose phones can ask nobody, in words; "" for none."""
    speaking = {one.node for one in answers if one.cluster == cluster.name and one.failure is None}
    if cluster.groups is None:
        return "" if speaking else cluster.name
    names = (node.name.casefold(), node.address.casefold())
    mine = [group for group in cluster.groups if any(member.casefold() in names for member in group.members)]
    heard = {name.casefold() for name in speaking}
    heard |= {one.address.casefold() for one in cluster.nodes if one.name in speaking}
    lost = [group.name for group in mine if not any(member.casefold() in heard for member in group.members)]
    return f"Unified CM group {', '.join(lost)}" if lost else ""
