"""What was seen of a phone, line by line, each with where it came from. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from trustbridge.cucm.model import PhoneStatus
from trustbridge.cucm.phoneweb import PhonePages
from trustbridge.migration.diagnosemessages import meaning_of
from trustbridge.migration.diagnoseseen import (
    AT_WORK,
    CampaignSeen,
    ClusterView,
    ConfigurationFile,
    MoveSeen,
    PhoneSeen,
)
from trustbridge.migration.diagnosevalues import printable
from trustbridge.migration.proofseen import Answer, ServedFile, Signer
from trustbridge.pki.names import CertificateKey, short_name
from trustbridge.storage.models import Kind
from trustbridge.trust.configuration import SECURITY_AUTHENTICATED, SECURITY_ENCRYPTED, Configuration
from trustbridge.wire.trustlist import MAX_PHONE_FILE, Role, role_label

#: Status messages, and entries of a journal, that are told.
_MESSAGES: Final = 10
_ENTRIES: Final = 5
_TRANSPORTS: Final = {1: "TCP", 2: "UDP", 3: "TLS"}


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing that was seen.

    Attributes:
        where: such as `RisPort70 of source`.
        what: in words.
        ok: whether that is well for the phone; None for a plain fact.
        means: what it says, where that is not plain.
    """

    where: str
    what: str
    ok: bool | None = None
    means: str = ""


def evidence_of(seen: PhoneSeen) -> Iterator[Evidence]:
    """All of it, fit to be shown."""
    for one in _all(seen):
        yield Evidence(printable(one.where), printable(one.what), one.ok, printable(one.means))


def _all(seen: PhoneSeen) -> Iterator[Evidence]:
    for view in seen.clusters.values():
        yield from _of_registration(view)
        yield from _of_database(view)
    if seen.page is not None:
        yield from _of_page(seen, seen.page)
    for view in seen.clusters.values():
        yield from _of_files(view)
    told: set[Evidence] = set()
    for move in seen.moves:
        for line in _of_tvs(move):
            if line not in told:
                told.add(line)
                yield line
    for campaign in seen.campaigns:
        yield from _of_campaign(campaign)


def _of_registration(view: ClusterView) -> Iterator[Evidence]:
    where = f"RisPort70 of {view.name}"
    one = view.registration
    if one is not None:
        since = f" since {one.since:%Y-%m-%d %H:%M:%S} UTC" if one.since is not None else ""
        reason = f", reason {one.reason}" if one.reason else ""
        at = f" from {one.address}" if one.address else ""
        ok = True if one.status in AT_WORK else False if one.status is PhoneStatus.REJECTED else None
        yield Evidence(where, f"{one.status} at {one.node}{at}{since}{reason}", ok)
    elif view.heard:
        yield Evidence(where, "has not heard of it")


def _of_database(view: ClusterView) -> Iterator[Evidence]:
    where = f"database of {view.name}"
    device = view.device
    if device is not None:
        profile = f", security profile {device.security_profile}" if device.security_profile else ""
        load = f", firmware {device.load}" if device.load else ""
        yield Evidence(where, f"{device.model}, device pool {device.device_pool or '-'}{profile}{load}")
    elif view.told:
        yield Evidence(where, "has no such device", None)
    last = view.remembered
    if last is not None:
        seen = f", last seen {last.seen:%Y-%m-%d %H:%M} UTC" if last.seen is not None else ""
        yield Evidence(where, f"it was registered at {last.node or 'a node'} from {last.address or '-'}{seen}")


def _of_page(seen: PhoneSeen, page: PhonePages) -> Iterator[Evidence]:
    where, network = f"phone page {seen.address}", page.network
    if network.tftp_servers:
        owners = {
            view.name
            for view in seen.clusters.values()
            for server in network.tftp_servers
            if server.casefold() in view.addresses
        }
        whole = all(view.nodes for view in seen.clusters.values())
        whose = f", of {' and '.join(sorted(owners))}" if owners else ", of none of these clusters" if whole else ""
        typed = network.alternate_tftp
        how = "typed in by hand (Alternate TFTP)" if typed else "as option 150 or another DHCP option gave them"
        what = f"TFTP servers {', '.join(network.tftp_servers)}{whose}"
        yield Evidence(where, what, False if typed or (whole and not owners) else None, "" if typed is None else how)
    for name, value in (("ITL", network.itl), ("CTL", network.ctl)):
        if value is not None:
            yield _of_list(seen, where, name, value)
    if network.call_managers:
        active = f", active {network.active}" if network.active else ""
        yield Evidence(where, f"Unified CMs {', '.join(network.call_managers)}{active}")
    if network.tvs:
        yield Evidence(where, f"TVS {', '.join(network.tvs)}")
    for message in page.messages[-_MESSAGES:]:
        meaning = meaning_of(message.text)
        words = f"{message.when} {message.text}".strip()
        yield Evidence(where, words, None if meaning is None else meaning.ok, "" if meaning is None else meaning.words)


def _of_list(seen: PhoneSeen, where: str, name: str, value: str) -> Evidence:
    if not value:
        return Evidence(where, f"{name}: not installed")
    whose = [
        view.name for view in seen.clusters.values() if value in (view.served.itl if name == "ITL" else view.served.ctl)
    ]
    if whose:
        return Evidence(where, f"{name} {value}", None, f"the one that {' and '.join(whose)} serves")
    return Evidence(where, f"{name} {value}", None, "none that was had from any of these clusters")


# Files.


def _of_files(view: ClusterView) -> Iterator[Evidence]:
    """Node by node."""
    nodes = dict.fromkeys([file.node for file in view.files] + [file.node for file in view.configurations])
    for node in nodes:
        for file in view.files:
            if file.node == node:
                yield _of_trust_list(view, file)
        for waiting in view.configurations:
            if waiting.node == node:
                yield _of_configuration(view, waiting)


def _of_trust_list(view: ClusterView, file: ServedFile) -> Evidence:
    signer = "-" if file.header is None else short_name(file.header.signer_name)
    held = "signature holds" if file.checked else "signature not verified"
    what = f"{file.name}: {file.size} bytes, signed by {signer}; {file.problem or held}"
    large = file.of_itl and file.size > MAX_PHONE_FILE
    if large:
        what += f"; phones load at most {MAX_PHONE_FILE}"
    ok = False if file.problem or large else True if file.checked else None
    return Evidence(f"TFTP of {view.name}/{file.node}", what, ok)


def _of_configuration(view: ClusterView, file: ConfigurationFile) -> Evidence:
    where = f"TFTP of {view.name}/{file.node}"
    if file.content is None:
        return Evidence(where, f"{file.name}: no such file", None)
    held = "signature holds" if file.checked else "signature not verified"
    what = f"{file.name}: {len(file.content)} bytes, signed by {file.signer or '-'}; {file.problem or held}"
    if file.configuration is not None:
        what += f"; {_configured(file.configuration)}"
    if file.firmware is not None:
        what += f"; the node has {'that' if file.firmware else 'no such'} firmware"
    ok = False if file.problem or file.firmware is False else True if file.checked else None
    return Evidence(where, what, ok)


def _configured(found: Configuration) -> str:
    mode = {SECURITY_AUTHENTICATED: "authenticated", SECURITY_ENCRYPTED: "encrypted"}.get(
        found.security_mode, "insecure"
    )
    parts = [
        f"Unified CM group {', '.join(one.name for one in found.call_managers) or 'empty'}",
        f"TVS {', '.join(map(str, found.tvs)) or 'none'}",
        f"SIP over {_TRANSPORTS.get(found.transport, str(found.transport))}, {mode}",
    ]
    if found.load:
        parts.append(f"firmware {found.load}")
    if not found.web_access:
        parts.append("web access off")
    return ", ".join(parts)


# TVS.


def _of_tvs(move: MoveSeen) -> Iterator[Evidence]:
    """The phone's own TVS about its cluster's signers and the destination's; others' answers are not its."""
    signers: dict[tuple[str, CertificateKey], Signer] = {}
    for cluster in move.clusters:
        signers |= {(cluster.name, signer.key): signer for signer in cluster.signers()}
    for answer in sorted(move.answers, key=lambda one: (_place(move, one.node), one.vouched == move.source)):
        if answer.cluster != move.source or (move.facts.group is not None and answer.node not in move.facts.group):
            continue
        signer = signers.get((answer.vouched, answer.signer))
        about = f"{answer.vouched}'s {signer.label}" if signer is not None else f"a signer of {answer.vouched}"
        yield Evidence(f"TVS of {answer.cluster}/{answer.node}", *_answered(answer, about))


def _place(move: MoveSeen, node: str) -> int:
    """In the order in which the phone asks."""
    group = move.facts.group or ()
    return group.index(node) if node in group else len(group)


def _answered(answer: Answer, about: str) -> tuple[str, bool | None]:
    if answer.failure is not None:
        return f"about {about}: no answer: {answer.words}", False
    if not answer.valid:
        return f"about {about}: not valid: it does not know it", False
    roles = ", ".join(role_label(role) for role in answer.roles)
    return f"about {about}: valid, with {roles or 'no role'}", Role.SAST in answer.roles


def _of_campaign(one: CampaignSeen) -> Iterator[Evidence]:
    campaign, phone = one.campaign, one.phone
    where = f"campaign {campaign.name}"
    way = f"{campaign.source} to {campaign.destination}"
    predicted = f"; foretold: {phone.predicted}" if phone.predicted else ""
    reason = f": {phone.reason}" if phone.reason else ""
    ok = {Kind.FAILED: False, Kind.DONE: True}.get(phone.kind)
    yield Evidence(
        where,
        f"{way}, {campaign.state}; wave {phone.wave}: {phone.state} since {phone.since:%Y-%m-%d %H:%M:%S} UTC{reason}; "
        f"going {phone.direction}, {phone.resets} reset{'s' * (phone.resets != 1)}{predicted}",
        ok,
    )
    for words in phone.evidence:
        yield Evidence(f"{where}, evidence", words)
    for entry in one.journal[-_ENTRIES:]:
        change = f" {entry.before} to {entry.after}" if entry.before or entry.after else ""
        reason = f": {entry.reason}" if entry.reason else ""
        yield Evidence(f"{where}, journal", f"{entry.at:%Y-%m-%d %H:%M:%S} UTC {entry.event}{change}{reason}")
