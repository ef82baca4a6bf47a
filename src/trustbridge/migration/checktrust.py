"""What certificates, services and TLS of the clusters tell besides the proof of trust. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from trustbridge.cucm.releases import for_release
from trustbridge.migration.checkseen import Observed, asks, counted, hashes_of, model_of, release_of, these
from trustbridge.migration.findings import Finding, Severity, finding
from trustbridge.migration.phonefacts import PhoneFacts
from trustbridge.migration.prooffiles import OLD_MODELS_BITS
from trustbridge.migration.proofseen import ClusterSeen
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.units import Unit
from trustbridge.wire.signedheader import MODULUS_BYTES, Digest

#: What each service shows or signs with, until it starts again.
_USED_BY: Final[Mapping[str, tuple[Unit, ...]]] = {
    "Cisco Trust Verification Service": (Unit.TVS,),
    "Cisco Tftp": (Unit.CALLMANAGER, Unit.ITLRECOVERY),
    "Cisco CallManager": (Unit.CALLMANAGER,),
}
#: The certificates by which a phone still knows its cluster when one of them is renewed.
_ANCHORS: Final = (Unit.CALLMANAGER, Unit.TVS, Unit.ITLRECOVERY)
#: How close start dates are "together", and how long ago is "recent": phones that were off meanwhile come back.
_TOGETHER, _RECENT = timedelta(days=1), timedelta(days=14)


def trust_findings(seen: Observed, now: datetime) -> Iterator[Finding]:
    """All of these rules."""
    yield from _old_tls(seen)
    yield from _renewed_together(seen, now)
    yield from _time_to_live(seen)
    for cluster in seen.both:
        yield from _ctl(cluster)
        yield from _services(seen, cluster, now)


def _shown(certificate: Certificate) -> str:
    return f"{certificate.subject} from {certificate.not_before:%Y-%m-%d %H:%M} UTC, SHA-256 {certificate.sha256}"


def _old_tls(seen: Observed) -> Iterator[Finding]:
    """TB112: phones that know TLS 1.0 alone, and no TVS of their group that takes it."""
    old = [phone for phone in seen.phones or () if model_of(phone).legacy_tls and asks(phone)]
    if not old:
        return
    refusing = {node: one.words for node, one in seen.old_tls.items() if one.accepted is False}
    stranded = [phone for phone in old if _refused(phone, seen, refusing)]
    if stranded:
        said = "; ".join(f"{node}: {words}" for node, words in refusing.items())
        models = ", ".join(sorted({phone.model for phone in stranded}))
        yield finding(
            "TB112",
            Severity.STOP,
            seen.source,
            f"TLS 1.0 offered to its TVS, as {models} do: {said}",
            consequence=f"Models that know nothing newer can't ask it. {these(stranded, 'will strand')}",
        )


def _refused(phone: PhoneFacts, seen: Observed, refusing: Mapping[str, str]) -> bool:
    """Whether every TVS that a phone may ask refuses it; where its group is not known, every one there is."""
    nodes = [node for node in phone.group or seen.old.asked if node in seen.old.asked]
    return bool(nodes) and all(node in refusing for node in nodes)


def _renewed_together(seen: Observed, now: datetime) -> Iterator[Finding]:
    """TB114: phones that were off meanwhile know none of the new ones. Not where those seen hold the new ITL."""
    cluster = seen.old
    recovery = next((one.certificate for one in cluster.identities if one.unit is Unit.ITLRECOVERY), None)
    current = hashes_of(cluster, itl=True)
    reported = [phone for phone in seen.phones or () if phone.itl]
    behind = [phone for phone in reported if phone.itl not in current]
    if reported and not behind:
        return
    for node in cluster.nodes:
        own = {unit: node.identity(unit) for unit in _ANCHORS}
        own[Unit.ITLRECOVERY] = own[Unit.ITLRECOVERY] or recovery
        found = [one for one in own.values() if one is not None]
        begun = [one.not_before for one in found]
        if len(found) < len(_ANCHORS) or max(begun) - min(begun) > _TOGETHER or not _of_late(max(begun), now):
            continue
        yield finding(
            "TB114",
            Severity.WARN,
            f"{cluster.name}/{node.name}",
            "; ".join(_shown(one) for one in found)
            + (f"; {counted(behind)} hold another ITL than is served now" if behind else ""),
        )


def _of_late(begun: datetime, now: datetime) -> bool:
    return timedelta() <= now - begun <= _RECENT


def _time_to_live(seen: Observed) -> Iterator[Finding]:
    """TB115: what phones keep of an answer once they have it."""
    kept = {
        one.time_to_live
        for one in seen.trust.answers
        if one.cluster == seen.source and one.valid and one.time_to_live and one.failure is None
    }
    if kept:
        yield finding(
            "TB115",
            Severity.NOTE,
            seen.source,
            f"its TVS answer with a time to live of {' or '.join(map(str, sorted(kept)))} s",
        )


def _ctl(cluster: ClusterSeen) -> Iterator[Finding]:
    """TB124: a CTL that was not made anew after an upgrade, or after a certificate changed."""
    release = release_of(cluster)
    if not cluster.mixed or release is None:
        return
    meant = for_release(release).abilities.trust_list_signer
    for signer in cluster.signers():
        ctls = [file for file in signer.files if not file.of_itl]
        if ctls and signer.identity is not None and signer.identity.unit is not meant:
            yield finding(
                "TB124",
                Severity.WARN,
                cluster.name,
                f"the CTL of {', '.join(file.node for file in ctls)} is signed by {signer.identity.unit} "
                f"{signer.common_name}; release {release} signs with {meant}",
            )
    callmanagers = [one for one in cluster.identities if one.unit is Unit.CALLMANAGER]
    for file in cluster.files:
        missing = [
            one for one in callmanagers if not file.of_itl and file.header and one.certificate not in file.servers
        ]
        if missing:
            names = "; ".join(f"{one.node}: {_shown(one.certificate)}" for one in missing)
            yield finding(
                "TB124", Severity.WARN, f"{cluster.name}/{file.node}", f"its CTL does not list CallManager of {names}"
            )


def _services(seen: Observed, cluster: ClusterSeen, now: datetime) -> Iterator[Finding]:
    """TB149: a service that started before a certificate it uses began to be valid goes on with the one before."""
    recovery = next((one.certificate for one in cluster.identities if one.unit is Unit.ITLRECOVERY), None)
    for node in cluster.nodes:
        for service in seen.services.get((cluster.name, node.name), ()):
            if service.since is None or not service.running:
                continue
            for unit in _USED_BY.get(service.name, ()):
                certificate = node.identity(unit) or (recovery if unit is Unit.ITLRECOVERY else None)
                # One that is not valid yet is told as such, and nothing is to be restarted for it.
                if certificate is None or not service.since < certificate.not_before <= now:
                    continue
                yield finding(
                    "TB149",
                    Severity.WARN,
                    f"{cluster.name}/{node.name}",
                    f"{service.name} runs since {service.since:%Y-%m-%d %H:%M} UTC; its {unit} certificate is "
                    f"{_shown(certificate)}",
                    remedy=f"Restart {service.name} on the node, in the order of the release.",
                )


def with_models(seen: Observed, found: Finding) -> Finding:
    """TB132, where the source's models are known: which of them refuse the destination's files, or that none does."""
    cluster, _, node = found.subject.partition("/")
    if found.id != "TB132" or cluster != seen.destination or seen.phones is None:
        return found
    refusing = [phone for phone in seen.phones if _refuses(seen.new, node.partition("/")[0], phone)]
    if refusing:
        return replace(found, consequence=f"{found.consequence} {these(refusing, 'will strand')}")
    return replace(
        found, severity=Severity.NOTE, consequence=f"No phone of {seen.source} is of a model known to refuse it."
    )


def _refuses(cluster: ClusterSeen, node: str, phone: PhoneFacts) -> bool:
    """Whether a phone's model can't verify a trust list of a node."""
    model = model_of(phone)
    for file in cluster.files:
        if file.header is None or file.node != node:
            continue
        bits = 8 * MODULUS_BYTES.get(file.header.modulus, len(file.header.signature))
        if file.header.digest == Digest.SHA512 and not model.sha512:
            return True
        if bits > max(model.max_rsa_bits, OLD_MODELS_BITS):
            return True
    return False
