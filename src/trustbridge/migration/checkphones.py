"""What the source's phones themselves tell about a move: their models, their trust lists, where they look. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from trustbridge.cucm.ris import BATCH, CALLS_A_MINUTE
from trustbridge.migration.checkseen import AT_WORK, Observed, counted, hashes_of, model_of, these
from trustbridge.migration.findings import KINDS, Finding, Severity, finding
from trustbridge.migration.firmware import SUFFIX
from trustbridge.migration.phonecollect import model_named_by
from trustbridge.migration.phonefacts import PhoneFacts
from trustbridge.migration.proofseen import ClusterSeen, Gap
from trustbridge.trust.models import MODELS

_PHONE: Final = re.compile(r"SEP[0-9A-Fa-f]{12}")
#: Models that are named where many are not known.
_MODELS_NAMED: Final = 5

Phones = Sequence[PhoneFacts]


def phone_findings(seen: Observed) -> Iterator[Finding]:
    """All of these rules; nothing where the phones could not be read."""
    phones = seen.phones
    if phones is None:
        return
    for rule in _RULES:
        yield from rule(seen, phones)


def phone_gaps(seen: Observed) -> Iterator[Gap]:
    """What is not known of phones, each reason once, with how many it is about."""
    phones = seen.phones or ()
    unlisted = sorted({phone.model for phone in phones if phone.model not in MODELS})
    if unlisted:
        named = ", ".join(unlisted[:_MODELS_NAMED]) + (
            f" and {len(unlisted) - _MODELS_NAMED} more" if len(unlisted) > _MODELS_NAMED else ""
        )
        yield Gap(seen.source, "", "abilities of phone models", f"{named}: not listed here, and taken for current ones")
    by_what: dict[str, dict[str, list[PhoneFacts]]] = {}
    for phone in phones:
        for reason in phone.missing:
            what, _, why = reason.partition(": ")
            by_what.setdefault(what, {}).setdefault(_general(why, phone), []).append(phone)
    for what, reasons in by_what.items():
        for why, concerned in reasons.items():
            yield Gap(seen.source, "", f"{what} of {counted(concerned)}", why)


def _general(why: str, phone: PhoneFacts) -> str:
    """A reason without what is one phone's own in it, so that like ones are told once."""
    general = _PHONE.sub("SEP...", why)
    return general.replace(phone.address, "its address") if phone.address else general


def _one_finding(
    kind: str, severity: Severity, seen: Observed, phones: Phones, evidence: str, what: str, remedy: str | None = None
) -> Iterator[Finding]:
    """A finding about some phones of the source, which are counted in what it leads to; none about none."""
    if phones:
        consequence = f"{KINDS[kind].consequence} {these(phones, what)}"
        yield finding(kind, severity, seen.source, evidence, consequence=consequence, remedy=remedy)


def _lists(seen: Observed, phones: Phones) -> Iterator[Finding]:
    """TB122: each phone to move must hold the ITL, and on a secure cluster the CTL, of the source."""
    # The destination's are no failure: such a phone has moved its trust already. Files that nobody could read may be
    # the very ones that phones hold: then nothing is said.
    whole = all(node.files is not None for cluster in seen.both for node in cluster.nodes)
    known = {itl: hashes_of(seen.old, itl=itl) | hashes_of(seen.new, itl=itl) if whole else () for itl in (True, False)}
    foreign_itl = [phone for phone in phones if phone.itl and known[True] and phone.itl not in known[True]]
    told = frozenset(foreign_itl)
    foreign_ctl = [
        phone for phone in phones if phone.ctl and known[False] and phone.ctl not in known[False] and phone not in told
    ]
    for name, foreign in (("ITL", foreign_itl), ("CTL", foreign_ctl)):
        shown = "; ".join(f"{phone.name} {phone.itl if name == 'ITL' else phone.ctl}" for phone in foreign[:3])
        yield from _one_finding(
            "TB122",
            Severity.STOP,
            seen,
            foreign,
            f"{counted(foreign)}: the {name} they say they hold is none that {seen.source} or {seen.destination} "
            f"serves now ({shown}{', ...' if len(foreign) > 3 else ''})",
            f"will strand, unless their {name} is an older one of {seen.source} that still names its TVS",
        )
    without = [phone for phone in phones if phone.itl == "" and phone.ctl == "" and model_of(phone).security_by_default]
    yield from _one_finding(
        "TB122",
        Severity.NOTE,
        seen,
        without,
        f"{counted(without)}: they say that neither ITL nor CTL is installed",
        f"will trust {seen.destination} without asking",
        "None: they move. Whoever answers first is trusted.",
    )


def _stale_ctl(seen: Observed, phones: Phones) -> Iterator[Finding]:
    """TB121 on phones: a CTL left from former mixed mode still counts."""
    if seen.old.mixed is False:
        stale = [phone for phone in phones if phone.ctl]
        yield from _one_finding(
            "TB121",
            Severity.WARN,
            seen,
            stale,
            f"{counted(stale)}: they say they hold a CTL, while ClusterSecurityMode of {seen.source} is 0",
            "must verify the new lists against it",
            "Delete it by hand on these phones, or exchange for its signer as well.",
        )


def _old_models(seen: Observed, phones: Phones) -> Iterator[Finding]:
    """TB123 and TB160: models without Security by Default."""
    old = [phone for phone in phones if not model_of(phone).security_by_default]
    holding = [phone for phone in old if phone.ctl]
    perhaps = [phone for phone in old if phone.ctl is None and seen.old.mixed]
    for severity, concerned, how in (
        (Severity.STOP, holding, "they say they hold a CTL"),
        (Severity.WARN, perhaps, f"{seen.source} is in mixed mode, and whether they hold its CTL is not known"),
    ):
        yield from _one_finding(
            "TB123", severity, seen, concerned, f"{_by_model(concerned)}: {how}", "will strand with that CTL"
        )
    told = frozenset([*holding, *perhaps])
    free = [phone for phone in old if phone not in told]
    yield from _one_finding(
        "TB160",
        Severity.NOTE,
        seen,
        free,
        f"{_by_model(free)}: no Security by Default",
        "will move without asking anybody",
    )


def _by_model(phones: Phones) -> str:
    return f"{counted(phones)} ({', '.join(sorted({phone.model for phone in phones}))})"


def _option150(seen: Observed, phones: Phones) -> Iterator[Finding]:
    """TB150: phones that a change of option 150 does not reach."""
    typed = [phone for phone in phones if phone.alternate_tftp]
    yield from _one_finding(
        "TB150",
        Severity.WARN,
        seen,
        typed,
        f"{counted(typed)}: Alternate TFTP is on, {_servers(typed)}",
        "will not follow option 150",
    )
    ours = {word for cluster in seen.both for word in _addresses(seen, cluster)}
    elsewhere = [
        phone
        for phone in phones
        if phone.tftp_servers
        and not phone.alternate_tftp
        and not any(server.casefold() in ours for server in phone.tftp_servers)
    ]
    yield from _one_finding(
        "TB150",
        Severity.WARN,
        seen,
        elsewhere,
        f"{counted(elsewhere)}: their TFTP servers are nodes of neither cluster, {_servers(elsewhere)}",
        "may not follow option 150",
        "Find out who tells them: a static address, another scope, option 66, a proxy. Change it there.",
    )


def _addresses(seen: Observed, cluster: ClusterSeen) -> Iterator[str]:
    for node in cluster.nodes:
        yield from (node.name.casefold(), node.address.casefold())
    # Addresses as the cluster itself tells them, where ours differ: networks that translate.
    survey = (seen.surveys or {}).get(cluster.name)
    for info in survey.nodes if survey is not None else ():
        yield info.address.casefold()


def _servers(phones: Phones) -> str:
    servers = sorted({server for phone in phones for server in phone.tftp_servers})
    return (
        f"TFTP servers {', '.join(servers[:5])}{', ...' if len(servers) > 5 else ''}" if servers else "no TFTP server"
    )


def _devices(seen: Observed, phones: Phones) -> Iterator[Finding]:
    """TB151: phones that the destination's database does not have, or has as another model."""
    if seen.devices is None:
        return
    devices = {name.upper(): info for name, info in seen.devices.items()}
    absent = [phone for phone in phones if phone.name.upper() not in devices]
    yield from _one_finding(
        "TB151",
        Severity.STOP,
        seen,
        absent,
        f"{counted(absent)}: {seen.destination} has no such device; whether auto-registration would take them was not "
        "looked at",
        "will not register",
    )
    other = [
        (phone, model_named_by(devices[phone.name.upper()].model))
        for phone in phones
        if phone.name.upper() in devices and model_named_by(devices[phone.name.upper()].model) != phone.model
    ]
    shown = "; ".join(f"{phone.name} is {phone.model} at {seen.source}, {model} there" for phone, model in other[:3])
    yield from _one_finding(
        "TB151",
        Severity.STOP,
        seen,
        [phone for phone, _ in other],
        f"{seen.destination} knows them as another model: {shown}{'; ...' if len(other) > 3 else ''}",
        "will not register",
        "Create the devices anew with their own model.",
    )


def _firmware(seen: Observed, phones: Phones) -> Iterator[Finding]:
    """TB153: firmware that the destination's database names for phones, and a TFTP node of it lacks."""
    devices = seen.devices or {}
    for load, nodes in seen.firmware.items():
        lacking = sorted(node for node, there in nodes.items() if not there)
        if lacking:
            concerned = [phone for phone in phones if phone.name in devices and devices[phone.name].load == load]
            where = ", ".join(f"{seen.destination}/{node}" for node in lacking)
            yield from _one_finding(
                "TB153",
                Severity.WARN,
                seen,
                concerned,
                f"{seen.destination} names firmware {load} for {counted(concerned)}; no {load}{SUFFIX} at {where}",
                "will ask for it in vain there",
            )


def _unknown(seen: Observed, phones: Phones) -> Iterator[Finding]:
    """TB161: phones nobody can say anything about; only where their pages were asked for."""
    if not seen.pages:
        return
    silent = [phone for phone in phones if phone.itl is None and phone.ctl is None and phone.status not in AT_WORK]
    yield from _one_finding(
        "TB161",
        Severity.WARN,
        seen,
        silent,
        f"{counted(silent)}: not registered, no page of theirs was read, and no hash of a trust list is known",
        "may strand, and nobody can tell",
    )


def _size(seen: Observed, phones: Phones) -> Iterator[Finding]:
    """TB162: more phones than RisPort70 tells of in a minute."""
    calls = -(-len(phones) // BATCH)
    if calls > CALLS_A_MINUTE:
        minutes = -(-calls // CALLS_A_MINUTE)
        yield finding(
            "TB162",
            Severity.NOTE,
            seen.source,
            f"{len(phones)} phones are {calls} calls of {BATCH} names for one look at all: {minutes} minutes at "
            f"{CALLS_A_MINUTE} calls a minute",
        )


_RULES: Final[tuple[Callable[[Observed, Phones], Iterator[Finding]], ...]] = (
    _lists,
    _stale_ctl,
    _old_models,
    _option150,
    _devices,
    _firmware,
    _unknown,
    _size,
)
