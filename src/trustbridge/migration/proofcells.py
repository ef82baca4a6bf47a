"""One direction of a proof: every TVS of one cluster against every signer of another. Pure.

A cell and what is wrong with it are decided together. Causes are told a cluster at a time where all its TVS agree,
else node by node, so that whoever has not replicated is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from trustbridge.errors import InvalidInput
from trustbridge.migration.findings import KINDS, Finding, Severity, finding
from trustbridge.migration.proofcause import Cause, listed_roles, twin_in_stores, why_denied, why_no_sast
from trustbridge.migration.proofseen import Answer, ClusterSeen, Gap, NodeSeen, Observations, ServedFile, Signer
from trustbridge.migration.prooftvs import Service
from trustbridge.migration.proofvalues import Cell, Direction, Verdict
from trustbridge.pki.certificate import Certificate
from trustbridge.trust.lists import check_signature
from trustbridge.wire.trustlist import Role, role_label

#: Causes that are one node's own.
_OF_A_NODE = ("TB102", "TB103")


@dataclass(slots=True)
class _Judged:
    """What is being said about one cell."""

    verdict: Verdict = Verdict.YES
    words: list[str] = field(default_factory=list)
    causes: list[Cause] = field(default_factory=list)
    warnings: list[Cause] = field(default_factory=list)

    def wrong(self, cause: Cause, words: str) -> None:
        self.verdict = Verdict.NO
        self.causes.append(cause)
        self.words.append(words)


class Asked:
    """One direction, judged.

    Args:
        services: what phones make of each TVS, by (cluster, node).
    """

    def __init__(
        self,
        observations: Observations,
        asking: ClusterSeen,
        vouched: ClusterSeen,
        back: bool,
        services: Mapping[tuple[str, str], Service],
    ) -> None:
        self._asking = asking
        self._vouched = vouched
        self._back = back
        self._services = services
        self._answers = {
            (one.node, one.signer): one
            for one in observations.answers
            if (one.cluster, one.vouched) == (asking.name, vouched.name)
        }
        self._signers = vouched.signers()
        self._judged = {
            (node, signer.id): self._judge(asking.node(node), signer)
            for signer in self._signers
            for node in asking.asked
        }

    def direction(self) -> Direction:
        """Its cells."""
        asking = self._asking
        return Direction(
            asking.name,
            self._vouched.name,
            self._back,
            asking.asked,
            tuple(node.name for node in asking.nodes if node.name not in asking.asked),
            self._signers,
            tuple(
                self._cell(asking.node(node), signer, self._judged[node, signer.id])
                for signer in self._signers
                for node in asking.asked
            ),
        )

    def gaps(self) -> Iterator[Gap]:
        """What keeps this direction from being judged at all."""
        if not self._signers:
            why = "no node of it served a trust list that can be read: who signs them is not known"
            yield Gap(self._vouched.name, "", f"signers, for {self._asking.name} to vouch for", why, essential=True)
        if not self._asking.asked:
            why = "none of its nodes is in a Unified CM group"
            yield Gap(self._asking.name, "", "TVS that phones may ask", why, essential=True)

    # A cell.

    def _judge(self, node: NodeSeen, signer: Signer) -> _Judged:
        answer = self._answers.get((node.name, signer.key))
        judged = _Judged()
        if answer is None:
            return _Judged(Verdict.UNKNOWN, ["it was not asked"])
        if answer.failure is not None:
            return _Judged(Verdict.UNKNOWN, [f"no answer: {answer.words}"])
        if answer.valid:
            self._judge_yes(node, signer, answer, judged)
        else:
            vouchers = sum(
                other.valid for (name, key), other in self._answers.items() if key == signer.key and name != node.name
            )
            cause = why_denied(signer, node, self._asking, self._vouched, vouchers)
            judged.wrong(cause, f"it answers: not valid; {cause.words}")
        service = self._services[self._asking.name, node.name]
        judged.words += service.words
        if service.verdict is Verdict.NO:
            judged.verdict = Verdict.NO
        elif service.verdict is Verdict.UNKNOWN and judged.verdict is Verdict.YES:
            judged.verdict = Verdict.UNKNOWN
        return judged

    def _judge_yes(self, node: NodeSeen, signer: Signer, answer: Answer, judged: _Judged) -> None:
        labels = " and ".join(map(role_label, answer.roles)) or "no role"
        judged.words.append(f"it answers: valid, {labels}, to be kept for {answer.time_to_live} s")
        if Role.SAST not in answer.roles:
            cause = why_no_sast(node, signer)
            judged.wrong(cause, f"without role SAST phones take no trust list; {cause.words}")
        self._judge_returned(signer, answer, judged)
        self._compare_stores(node, signer, judged)
        roles = listed_roles(signer, self._asking)
        if self._asking.listed is None:
            judged.words.append("listTvsCertificate was not read, so it was not compared")
        elif roles is None:
            judged.words.append("listTvsCertificate does not name it")
        else:
            judged.words.append(f"listTvsCertificate names it with {', '.join(roles) or 'no role'}")

    def _judge_returned(self, signer: Signer, answer: Answer, judged: _Judged) -> None:
        """The certificate that came along: it must have made the signature of the files, as phones will check."""
        returned = answer.returned
        if returned is None:
            judged.verdict = Verdict.UNKNOWN
            judged.words.append("it answers without a certificate")
            return
        if signer.certificate is not None and returned != signer.certificate:
            words = f"it returns another certificate of that issuer and serial number, SHA-256 {returned.sha256}"
            judged.wrong(Cause("TB108", words), words)
            return
        unsigned = [file for file in signer.files if not file.checked and not _signed_by(file, returned)]
        if unsigned and signer.certificate is None:
            words = f"the certificate it returns, SHA-256 {returned.sha256}, did not sign {unsigned[0].name}"
            judged.wrong(Cause("TB108", words), words)
        elif unsigned:
            judged.verdict = Verdict.NO  # the file itself is wrong, and told as such (TB131)
            judged.words.append(
                f"{unsigned[0].name} of {unsigned[0].node} does not hold, whoever vouches for its signer"
            )
        else:
            judged.words.append(f"the certificate it returns signs {signer.signs}, SHA-256 {returned.sha256}")

    def _compare_stores(self, node: NodeSeen, signer: Signer, judged: _Judged) -> None:
        twin = twin_in_stores(signer, node)
        if twin is not None:
            words = (
                f"the stores of {node.name} hold another one with its issuer and serial number, SHA-256 {twin.sha256}"
            )
            judged.warnings.append(Cause("TB108", words))
            judged.words.append(words)
        if node.vouches_from is None or signer.certificate is None:
            judged.words.append("the node's trust stores were not compared")
            return
        stores = node.holding(signer.certificate)
        if stores:
            judged.words.append(f"the node holds it in {', '.join(stores)}")
            return
        words = (
            f"{node.name} vouches for it, and none of its stores holds it any more: its TVS goes by what it knew before"
        )
        judged.warnings.append(Cause("TB103", words))
        judged.words.append(words)

    def _cell(self, node: NodeSeen, signer: Signer, judged: _Judged) -> Cell:
        answer = self._answers.get((node.name, signer.key))
        service = self._services[self._asking.name, node.name]
        wrong = [cause.id for cause in (*judged.causes, *judged.warnings)] + [one.id for one in service.findings]
        stores = None
        if node.vouches_from is not None and signer.certificate is not None:
            stores = node.holding(signer.certificate)
        return Cell(
            node=node.name,
            address=answer.address if answer is not None else node.address,
            signer=signer.id,
            verdict=judged.verdict,
            words=tuple(judged.words),
            findings=tuple(dict.fromkeys(wrong)),
            roles=tuple(map(role_label, answer.roles)) if answer is not None else (),
            time_to_live=answer.time_to_live if answer is not None else None,
            tls_version=answer.tls_version if answer is not None else "",
            seconds=answer.seconds if answer is not None else 0.0,
            returned=answer.returned if answer is not None else None,
            presented=answer.presented if answer is not None else None,
            stores=stores,
            listed=listed_roles(signer, self._asking),
        )

    # Findings.

    def findings(self) -> Iterator[Finding]:
        """What is wrong in this direction; on the way back, with TB170 above it."""
        severity = Severity.WARN if self._back else Severity.STOP
        for signer in self._signers:
            by_id: dict[str, dict[str, str]] = {}
            warned: dict[str, dict[str, str]] = {}
            for node in self._asking.asked:
                judged = self._judged[node, signer.id]
                for cause in judged.causes:
                    by_id.setdefault(cause.id, {})[node] = cause.words
                for cause in judged.warnings:
                    warned.setdefault(cause.id, {})[node] = cause.words
            for kind, nodes in by_id.items():
                yield from self._told(kind, severity, signer, nodes)
            for kind, nodes in warned.items():
                yield from self._told(kind, Severity.WARN, signer, nodes, **_AGAINST_STORES.get(kind, {}))
        if self._back:
            yield from self._no_way_back()

    def _told(
        self, kind: str, severity: Severity, signer: Signer, nodes: Mapping[str, str], **words: str
    ) -> Iterator[Finding]:
        """A cause, for the whole cluster where it is everybody's, else for each node."""
        about = (
            f"TVS asked about {signer.label} of {self._vouched.name} (serial {signer.serial:X}"
            f"{f', SHA-256 {signer.certificate.sha256}' if signer.certificate else ''}), which signs {signer.signs}"
        )
        if self._back and "consequence" not in words:
            consequence = KINDS[kind].consequence
            words["consequence"] = f"On the way back: {consequence[0].lower()}{consequence[1:]}"
        cluster = self._asking.name
        if kind not in _OF_A_NODE and len(nodes) == len(self._asking.asked) > 1:
            evidence = f"{about}: {', '.join(nodes)}: {'; '.join(dict.fromkeys(nodes.values()))}"
            yield finding(kind, severity, cluster, evidence, **words)
            return
        for node, seen in nodes.items():
            yield finding(kind, severity, f"{cluster}/{node}", f"{about}: {seen}", **words)

    def _no_way_back(self) -> Iterator[Finding]:
        bad = {key: judged for key, judged in self._judged.items() if judged.verdict is Verdict.NO}
        if not bad:
            return
        ids = {cause.id for judged in bad.values() for cause in judged.causes}
        services = [self._services[self._asking.name, node] for node, _ in bad]
        ids |= {one.id for service in services for one in service.findings if one.severity is Severity.STOP}
        nodes = ", ".join(dict.fromkeys(node for node, _ in bad))
        why = f": {', '.join(sorted(ids))}" if ids else ""
        remedies = dict.fromkeys(KINDS[kind].remedy for kind in sorted(ids))
        yield finding(
            "TB170",
            Severity.STOP,
            self._asking.name,
            f"{len(bad)} of {len(self._judged)} answers about signers of {self._vouched.name} are no, at {nodes}{why}",
            remedy=" ".join(remedies) or "As the findings about its ITL and about the files say.",
        )


#: A TVS that vouches for what the stores say otherwise: right today, and not after its next start.
_AGAINST_STORES: dict[str, dict[str, str]] = {
    "TB103": {
        "consequence": "The answer changes with the next start of TVS: phones that ask this node then strand.",
        "remedy": "Import the signer again, then restart Cisco Trust Verification Service and verify again.",
    }
}


def _signed_by(file: ServedFile, certificate: Certificate) -> bool:
    if file.header is None:
        return False
    try:
        check_signature(file.header, file.content, certificate)
    except InvalidInput:
        return False
    return True
