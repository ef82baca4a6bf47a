"""What is wrong with one phone's move: findings, each on what was seen. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from trustbridge.migration.diagnosemessages import meaning_of
from trustbridge.migration.diagnoseseen import ClusterView, MoveSeen, PhoneSeen
from trustbridge.migration.diagnosevalues import Standing
from trustbridge.migration.findings import KINDS, Finding, Severity, finding, worst_first
from trustbridge.migration.firmware import SUFFIX
from trustbridge.migration.phonecollect import model_named_by
from trustbridge.migration.predictvalues import Forecast, Prediction

#: Findings of a proof that are about what a TVS answers: of a phone's TVS only one comes to that.
_OF_ANSWERS: Final = frozenset({"TB101", "TB102", "TB103", "TB104", "TB105", "TB106", "TB107", "TB108", "TB109"})
#: Findings of a proof that are about whom a phone asks, and about what it loads.
_OF_TVS: Final = frozenset(
    {"TB101", "TB102", "TB103", "TB104", "TB105", "TB106", "TB107", "TB108", "TB109", "TB110", "TB111", "TB112"}
    | {"TB113", "TB120", "TB149"}
)
_OF_FILES: Final = frozenset({"TB130", "TB131", "TB132", "TB154"})


def findings_of(
    seen: PhoneSeen, move: MoveSeen | None, standing: Standing, prediction: Prediction | None
) -> tuple[Finding, ...]:
    """All of them, worst first.

    Args:
        move: None where none is meant.
    """
    found = [*_page(seen, move, standing), *_lists(seen, standing), *_unseen(seen)]
    if move is not None:
        found += _device(seen, move, standing)
        proven = list(_proven(seen, move, standing, prediction))
        found += proven
        told = {one.id for one in found if one.severity is Severity.STOP or one.id in ("TB150", "TB151")}
        found += [one for one in _foretold(seen, standing, prediction) if one.id not in told]
    found += [one for view in _firmware_of(seen, move) for one in _firmware(seen, view)]
    return worst_first(found)


def _foretold(seen: PhoneSeen, standing: Standing, prediction: Prediction | None) -> Iterator[Finding]:
    """What is behind the end of its procedure."""
    if prediction is None or prediction.finding not in KINDS:
        return
    kind, why = prediction.finding, prediction.why(seen.phone)
    if prediction.forecast is Forecast.STRANDS:
        severity = Severity.WARN if standing.arrived else Severity.STOP
        leads = "Reset now, it would not come back well." if standing.arrived else KINDS[kind].consequence
        yield finding(kind, severity, seen.phone, f"its own procedure ends so: {why}", consequence=leads)
    elif prediction.forecast is Forecast.FIRST_TRUST and not standing.arrived:
        yield finding(kind, Severity.NOTE, seen.phone, f"its own procedure: {why}")
    elif prediction.forecast is Forecast.UNKNOWN and not standing.arrived and kind != "TB161":
        yield finding(kind, Severity.WARN, seen.phone, why)


def _proven(seen: PhoneSeen, move: MoveSeen, standing: Standing, prediction: Prediction | None) -> Iterator[Finding]:
    """What the proof of trust finds that this phone meets: at the TVS of its group, at the files it would load."""
    if move.proof is None:
        return
    for one in move.proof.findings:
        cluster, _, node = one.subject.partition("/")
        if cluster == move.source and one.id in _OF_TVS and not standing.arrived:
            if node and move.facts.group is not None and node not in move.facts.group:
                continue
        elif cluster == move.destination and one.id in _OF_FILES:
            pass
        elif cluster == move.destination and one.id == "TB170" and standing.arrived:
            yield replace(one, severity=Severity.NOTE)
            continue
        else:
            continue
        first = _first_to_answer(move)
        if node and one.id in _OF_ANSWERS and first and node != first:
            leads = f"{seen.phone} asks it only when {first}, which it asks first, does not answer."
            yield replace(one, severity=Severity.WARN, consequence=leads)
        else:
            yield _for_phone(one, seen.phone, standing, prediction)


def _first_to_answer(move: MoveSeen) -> str:
    """The node whose TVS decides, as far as that is known; "" otherwise."""
    answering = {one.node for one in move.answers if one.cluster == move.source and one.failure is None}
    return next((node for node in move.facts.group or () if node in answering), "")


def _for_phone(one: Finding, phone: str, standing: Standing, prediction: Prediction | None) -> Finding:
    """A finding about clusters, as far as it goes for one phone: what its procedure gets past does not stop it."""
    if prediction is None or one.severity is not Severity.STOP:
        return one
    if prediction.forecast is Forecast.STRANDS and one.id == prediction.finding:
        return replace(one, consequence=f"{one.consequence} {phone} strands: {prediction.why(phone)}")
    if prediction.moves or standing.arrived or prediction.forecast is Forecast.STRANDS:
        return replace(one, severity=Severity.WARN, consequence=f"{one.consequence} It is not what stops {phone}.")
    return one


def _page(seen: PhoneSeen, move: MoveSeen | None, standing: Standing) -> Iterator[Finding]:
    """TB150: where it looks for files."""
    if seen.page is None:
        return
    network = seen.page.network
    severity = Severity.WARN if standing.arrived or move is None else Severity.STOP
    shown = ", ".join(network.tftp_servers) or "none"
    if network.alternate_tftp:
        mine = () if move is None else seen.clusters[move.destination].addresses
        there = bool(network.tftp_servers) and all(one.casefold() in mine for one in network.tftp_servers)
        evidence = f"its page: Alternate TFTP is on, TFTP servers {shown}"
        leads = f"{seen.phone} does not follow option 150."
        yield finding("TB150", Severity.WARN if there else severity, seen.phone, evidence, consequence=leads)
        return
    ours = {word for view in seen.clusters.values() for word in view.addresses}
    whole = all(view.nodes for view in seen.clusters.values())
    if network.tftp_servers and whole and not any(one.casefold() in ours for one in network.tftp_servers):
        yield finding(
            "TB150",
            Severity.WARN,
            seen.phone,
            f"its page: TFTP servers {shown}, nodes of none of {', '.join(seen.clusters)}",
            consequence=f"{seen.phone} may not follow option 150.",
            remedy="Find out who tells it: a static address, another scope, option 66, a proxy. Change it there.",
        )


def _lists(seen: PhoneSeen, standing: Standing) -> Iterator[Finding]:
    """TB122: lists of none of these clusters; only where every file of theirs was had."""
    if seen.page is None or seen.holders or not all(view.files_whole for view in seen.clusters.values()):
        return
    for name, value in (("ITL", seen.page.network.itl), ("CTL", seen.page.network.ctl)):
        known = {
            digest
            for view in seen.clusters.values()
            for digest in (view.served.itl if name == "ITL" else view.served.ctl)
        }
        if value and value not in known:
            yield finding(
                "TB122",
                Severity.WARN,
                seen.phone,
                f"its page: {name} {value}; none of {', '.join(seen.clusters)} serves such a file now",
                consequence=f"Unless its {name} is an older one that still names the TVS it asks, {seen.phone} refuses "
                "what either cluster sends it.",
            )
            return


def _unseen(seen: PhoneSeen) -> Iterator[Finding]:
    """TB161: nobody has it, and its page was not read."""
    views = seen.clusters.values()
    if (
        seen.page is None
        and all(view.heard and not view.registered for view in views)
        and any(one.waits for one in views)
    ):
        evidence = "no Unified CM serves it, and its page was not read"
        yield finding("TB161", Severity.WARN, seen.phone, evidence)


def _device(seen: PhoneSeen, move: MoveSeen, standing: Standing) -> Iterator[Finding]:
    """TB151: whether the destination knows it, as what it is."""
    here, there = seen.clusters[move.source], seen.clusters[move.destination]
    if there.told and there.device is None and not there.registered and standing is not Standing.NEVER_HEARD:
        yield finding(
            "TB151",
            Severity.STOP,
            seen.phone,
            f"the database of {there.name} has no {seen.phone}; whether auto-registration would take it was not "
            "looked at",
        )
    if here.device is not None and there.device is not None:
        models = model_named_by(here.device.model), model_named_by(there.device.model)
        if models[0] != models[1]:
            yield finding(
                "TB151",
                Severity.WARN if there.registered else Severity.STOP,
                seen.phone,
                f"it is {models[0]} at {here.name}, {models[1]} at {there.name}",
                remedy="Create the device anew with its own model.",
            )


def _firmware_of(seen: PhoneSeen, move: MoveSeen | None) -> Iterator[ClusterView]:
    if move is not None:
        yield seen.clusters[move.destination]
    elif seen.home:
        yield seen.clusters[seen.home]


def _firmware(seen: PhoneSeen, view: ClusterView) -> Iterator[Finding]:
    """TB153: firmware that the phone is told to load, and that is not there; also as the phone says itself."""
    lacking = [one for one in view.configurations if one.firmware is False]
    if lacking:
        (first, *_) = lacking
        load = "" if first.configuration is None else first.configuration.load
        said = [
            f"it says `{message.text}`"
            for message in (() if seen.page is None else seen.page.messages)
            if (meaning := meaning_of(message.text)) is not None and "TB153" in meaning.findings
        ]
        nodes = ", ".join(one.node for one in lacking)
        absent = f"{nodes} serve{'s' * (len(lacking) == 1)} no {load}{SUFFIX}"
        evidence = "; ".join([f"{first.name} names firmware {load}, and {absent}", *said[-1:]])
        yield finding("TB153", Severity.WARN, f"{view.name}/{first.node}", evidence)
