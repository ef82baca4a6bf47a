"""What to do for a phone, step by step, as commands where there are some. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from trustbridge.migration.campaignphone import PhoneState
from trustbridge.migration.diagnoseseen import MoveSeen, PhoneSeen
from trustbridge.migration.diagnosevalues import Standing
from trustbridge.migration.findings import Finding, Severity
from trustbridge.migration.predictvalues import Prediction
from trustbridge.storage.models import CampaignState, Direction, Kind

#: What an exchange cures.
_BY_EXCHANGE: Final = frozenset({"TB101", "TB104", "TB105", "TB106", "TB107", "TB109"})


def steps_of(
    seen: PhoneSeen,
    move: MoveSeen | None,
    standing: Standing,
    findings: Sequence[Finding],
    prediction: Prediction | None = None,
) -> tuple[str, ...]:
    """What to do next, in order; nothing where there is nothing to do.

    Args:
        move: None where none is meant.
    """
    found = dict.fromkeys(_steps(seen, move, standing, findings))
    if standing is Standing.NOT_TRUSTING and prediction is not None and prediction.moves and move is not None:
        take = f"Reset it: by its own procedure it takes the trust lists of {move.destination} then."
        found |= dict.fromkeys([take, f"Look again: trustbridge diagnose {_arguments(seen, move)}"])
    return tuple(found)


def _steps(seen: PhoneSeen, move: MoveSeen | None, standing: Standing, findings: Sequence[Finding]) -> Iterator[str]:
    if standing in (Standing.NEVER_HEARD, Standing.UNSEEN):
        yield from _look_elsewhere(seen, standing)
        return
    if standing in (Standing.MOVED, Standing.IN_ORDER):
        return
    yield from _see_more(seen, standing)
    yield from _cures(seen, move, standing, findings)
    if standing is Standing.NOWHERE:
        at = f", last at {seen.address}" if seen.address else ""
        yield (
            f"See whether the phone has power and network{at}: its switch port, and the leases of its DHCP server, by "
            f"the MAC address {_mac(seen.phone)}."
        )
        yield "If it is up, read its screen: Settings, Status, Status Messages."
    elif standing is Standing.REJECTED:
        yield "Compare the device with what the phone is: model, protocol, security profile; then reset it."
    elif move is None or standing is Standing.ELSEWHERE:
        yield f"Say which move is meant: trustbridge diagnose {seen.phone} --source NAME --destination NAME"
    elif standing is Standing.NOT_TRUSTING:
        serving = f"the trust lists of {move.destination} are what phones can verify"
        yield f"See that {serving}: trustbridge exchange verify {move.source} {move.destination}"
    elif standing is Standing.UNPROVEN:
        yield f"When its page can be read: trustbridge diagnose {_arguments(seen, move)}"
    elif standing in (Standing.WOULD_MOVE, Standing.WOULD_STRAND, Standing.STRANDED, Standing.UNDECIDED):
        yield from _onward(seen, move, standing)


def _mac(phone: str) -> str:
    digits = phone.removeprefix("SEP").lower()
    return ":".join(digits[place : place + 2] for place in range(0, len(digits), 2))


def _arguments(seen: PhoneSeen, move: MoveSeen) -> str:
    return f"{seen.phone} --source {move.source} --destination {move.destination}"


def _look_elsewhere(seen: PhoneSeen, standing: Standing) -> Iterator[str]:
    if standing is Standing.NEVER_HEARD:
        yield f"Compare {seen.phone} with the label of the phone: SEP and the twelve digits of its MAC address."
        yield "If another cluster has it: trustbridge cluster add, and diagnose again."
        yield "If it is new: create the device, and point option 150 of its scope at that cluster."
        return
    for view in seen.clusters.values():
        if not view.heard or view.waits is None:
            yield f"See why {view.name} does not answer: trustbridge cluster test {view.name}"


def _see_more(seen: PhoneSeen, standing: Standing) -> Iterator[str]:
    """What has to be opened, where that decides."""
    if standing not in (Standing.UNDECIDED, Standing.UNPROVEN, Standing.STRANDED):
        return
    openings = [one.opening for one in seen.not_seen if one.decides and one.opening]
    yield from openings[:2]


def _cures(seen: PhoneSeen, move: MoveSeen | None, standing: Standing, findings: Sequence[Finding]) -> Iterator[str]:
    """What each finding asks for that stops the phone."""
    for one in findings:
        if one.severity is Severity.NOTE or (one.severity is Severity.WARN and standing is Standing.WOULD_MOVE):
            continue
        if one.id == "TB161":
            continue  # the steps for its standing say how to find it
        yield from _cure(seen, move, one)


def _cure(seen: PhoneSeen, move: MoveSeen | None, one: Finding) -> Iterator[str]:
    cluster, _, node = one.subject.partition("/")
    if one.id in _BY_EXCHANGE and move is not None:
        yield f"trustbridge exchange plan {move.source} {move.destination}"
        yield f"trustbridge exchange run {move.source} {move.destination}"
        yield f"trustbridge exchange verify {move.source} {move.destination}"
    elif one.id == "TB150" and seen.page is not None and seen.page.network.alternate_tftp:
        yield f"At {seen.phone} itself: switch Alternate TFTP off, in its network settings; then reset it."
    elif one.id in ("TB102", "TB103", "TB111", "TB112", "TB113", "TB149") and node:
        yield f"On {cluster}/{node} ({one.id}): {one.remedy}"
        if move is not None:
            yield f"trustbridge exchange verify {move.source} {move.destination}"
    elif one.id == "TB151" and move is not None and seen.clusters[move.destination].device is None:
        yield f"Create the device: trustbridge devices create {move.source} {move.destination} --phone {seen.phone}"
    elif one.subject == seen.phone:
        yield f"{one.id}: {one.remedy}"
    else:
        yield f"{one.id}, at {one.subject}: {one.remedy}"


def _onward(seen: PhoneSeen, move: MoveSeen, standing: Standing) -> Iterator[str]:
    """What takes it there; nothing resets a phone of which nobody says that it would move."""
    if standing is not Standing.WOULD_MOVE:
        yield f"Look again: trustbridge diagnose {_arguments(seen, move)}. Go on once it says `would move`."
    if standing is Standing.UNDECIDED:
        return
    given = seen.page.network.tftp_servers if seen.page is not None and not seen.page.network.alternate_tftp else ()
    there = seen.clusters[move.destination].addresses
    wanted = f"option 150 of its scope name{'' if given else 's'} TFTP servers of {move.destination}"
    if given and not any(one.casefold() in there for one in given):
        yield f"Let {wanted}: trustbridge option150 set --help"
    elif not given:
        yield f"See that {wanted}: trustbridge option150 offer --help"
    yield _reset(seen, move)


def _reset(seen: PhoneSeen, move: MoveSeen) -> str:
    if not seen.campaigns:
        name = seen.phone.lower()
        return (
            f"Reset it, watched, in a campaign of its own: trustbridge migrate plan {name} {move.source} "
            f"{move.destination} --phone {seen.phone} --pilot 0, then trustbridge migrate start {name} --option150-done"
        )
    one = seen.campaigns[0]
    name, phone, state = one.campaign.name, one.phone, one.campaign.state
    if phone.direction is Direction.BACK:
        return f"trustbridge migrate rollback {name} --phone {seen.phone}"
    if phone.kind in (Kind.FAILED, Kind.SKIPPED):
        return f"trustbridge migrate resume {name} --retry"
    if state is CampaignState.PLANNED:
        return f"trustbridge migrate start {name}"
    if state in (CampaignState.PAUSED, CampaignState.HALTED):
        return f"trustbridge migrate resume {name}"
    if phone.state == PhoneState.WAITING:
        return f"Nothing: campaign {name} waits with it: {phone.reason or 'see trustbridge migrate status ' + name}"
    return f"Nothing: campaign {name} sees to it: trustbridge migrate status {name} --watch"
