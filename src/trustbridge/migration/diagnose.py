"""Where one phone stands, why, and what to do: pure, over what `diagnosecollect` has seen.

    diagnosis = diagnose(await collect_diagnosis(phone, clusters, now=now), now)
    diagnosis.well       # it has moved, or would
    diagnosis.courses    # for each move that is meant: standing, findings, the procedure's own transcript, what to do
    diagnosis.evidence   # what was seen, and where
    diagnosis.not_seen   # what was not, why, and what would have to be opened

The phone's own procedure is run over what was seen (`predictrun`), so what is said of its future is what it would do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from trustbridge.cucm.model import PhoneStatus
from trustbridge.migration.campaignphone import PhoneState
from trustbridge.migration.diagnoseevidence import Evidence, evidence_of
from trustbridge.migration.diagnosefindings import findings_of
from trustbridge.migration.diagnosemessages import last_verdict
from trustbridge.migration.diagnoseseen import MoveSeen, NotSeen, PhoneSeen
from trustbridge.migration.diagnosesteps import steps_of
from trustbridge.migration.diagnosevalues import Standing
from trustbridge.migration.findings import Finding
from trustbridge.migration.predict import class_of
from trustbridge.migration.predictrun import Walk, predict_class
from trustbridge.migration.predictvalues import ANY_PHONE, Forecast, Prediction
from trustbridge.storage.models import Direction
from trustbridge.trust.models import model_named

__all__ = ["Course", "Diagnosis", "Evidence", "Standing", "diagnose"]

#: Standings in which nothing has to be done for the phone, or only what moves it.
WELL: Final = frozenset({Standing.MOVED, Standing.WOULD_MOVE, Standing.IN_ORDER})
#: States of a campaign's phone that say it did not arrive.
_FAILED: Final = frozenset({PhoneState.STRANDED, PhoneState.FAILED})


@dataclass(frozen=True, slots=True)
class Course:
    """The phone with regard to one move.

    Attributes:
        source, destination: of the move; destination "" where none is meant.
        because: why it stands so, in a sentence.
        findings: worst first.
        prediction: what becomes of it when option 150 names the destination and it is reset; None where too little was
            seen to run its procedure.
        walks: how its procedure goes, for each possibility that what was seen leaves open.
        steps: what to do next, in order.
    """

    source: str
    destination: str
    standing: Standing
    because: str
    findings: tuple[Finding, ...]
    prediction: Prediction | None
    walks: tuple[Walk, ...]
    steps: tuple[str, ...]

    @property
    def well(self) -> bool:
        """Whether it has moved, or would move, or is where it is to be."""
        return self.standing in WELL

    def as_json(self, phone: str) -> dict[str, Any]:
        """For programs."""
        foretold = self.prediction
        return {
            "source": self.source,
            "destination": self.destination or None,
            "standing": self.standing.name.lower(),
            "well": self.well,
            "words": str(self.standing),
            "because": self.because,
            "findings": [one.as_json() for one in self.findings],
            "prediction": None
            if foretold is None
            else {
                "forecast": str(foretold.forecast),
                "finding": foretold.finding or None,
                "refusal": None if foretold.refusal is None else str(foretold.refusal),
                "why": foretold.why(phone),
                "missing": list(foretold.missing),
            },
            "transcripts": [
                {
                    "lines": [{"text": line.text.replace(ANY_PHONE, phone), "ok": line.ok} for line in walk.lines],
                    "ends": None if walk.end is None else str(walk.end.forecast),
                    "not_known": walk.lack or None,
                }
                for walk in self.walks
            ],
            "steps": list(self.steps),
        }


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All that is known of a phone.

    Attributes:
        at: when it was judged.
        courses: one for the move that is meant; one for each that may be, where nobody said which.
    """

    phone: str
    at: datetime
    courses: tuple[Course, ...]
    evidence: tuple[Evidence, ...]
    not_seen: tuple[NotSeen, ...]

    @property
    def well(self) -> bool:
        """Whether it stands well, whichever of the moves is meant."""
        return all(course.well for course in self.courses)

    def as_json(self) -> dict[str, Any]:
        """For programs: everything."""
        return {
            "phone": self.phone,
            "at": self.at.isoformat(),
            "well": self.well,
            "courses": [course.as_json(self.phone) for course in self.courses],
            "evidence": [
                {"where": one.where, "what": one.what, "ok": one.ok, "means": one.means or None}
                for one in self.evidence
            ],
            "not_seen": [
                {
                    "where": one.where,
                    "what": one.what,
                    "why": one.why,
                    "opening": one.opening or None,
                    "decides": one.decides,
                }
                for one in self.not_seen
            ],
        }


def diagnose(seen: PhoneSeen, now: datetime) -> Diagnosis:
    """The judgement of what was seen.

    Args:
        now: with a time zone.
    """
    courses = tuple(_course(seen, move) for move in seen.moves) or (_at_home(seen),)
    lacks = [
        NotSeen(move, "what would become of it", what, decides=True)
        for course, move in ((one, f"{one.source} to {one.destination}") for one in courses if one.destination)
        if course.prediction is not None
        for what in course.prediction.missing
    ]
    unseen = sorted(dict.fromkeys([*seen.not_seen, *lacks]), key=lambda one: not one.decides)
    return Diagnosis(seen.phone, now, courses, tuple(evidence_of(seen)), tuple(unseen))


def _course(seen: PhoneSeen, move: MoveSeen) -> Course:
    prediction, walks = _predicted(move)
    standing, because = _standing(seen, move, prediction, walks)
    findings = findings_of(seen, move, standing, prediction)
    steps = steps_of(seen, move, standing, findings, prediction)
    return Course(move.source, move.destination, standing, because, findings, prediction, walks, steps)


def _predicted(move: MoveSeen) -> tuple[Prediction | None, tuple[Walk, ...]]:
    """The phone's own procedure, run over what was seen."""
    if move.world is None:
        return None, ()
    # The class of a phone leaves out what its model is called; here there is one phone, and its transcript names it.
    kind = replace(class_of(move.facts, move.arrival), model=model_named(move.facts.model))
    walks: list[Walk] = []
    return predict_class(kind, move.world, walks), tuple(walks)


# Where it stands.


def _standing(
    seen: PhoneSeen, move: MoveSeen, prediction: Prediction | None, walks: tuple[Walk, ...]
) -> tuple[Standing, str]:
    home = seen.home
    if home == move.destination:
        return _at_destination(seen, move)
    if home == move.source:
        return _at_source(seen, move, prediction, walks)
    if home:
        return Standing.ELSEWHERE, f"{home} serves it, which is neither {move.source} nor {move.destination}"
    return _served_by_nobody(seen)


def _at_destination(seen: PhoneSeen, move: MoveSeen) -> tuple[Standing, str]:
    there = seen.clusters[move.destination]
    assert there.registration is not None
    where = f"it is {there.registration.status} at {move.destination}/{there.registration.node}"
    if not model_named(move.facts.model).security_by_default:
        return Standing.MOVED, f"{where}; its model knows no ITL (TB160)"
    if move.destination in seen.holders:
        return Standing.MOVED, f"{where}, and holds the trust lists that {move.destination} serves"
    if seen.page is None or seen.page.network.itl is None:
        return Standing.UNPROVEN, f"{where}; which trust lists it holds could not be seen"
    if not there.files:
        return Standing.UNPROVEN, f"{where}; the trust lists that {move.destination} serves could not be had"
    whose = " and ".join(name for name in seen.holders if name != move.destination)
    held = f"those of {whose}" if whose else "others" if seen.page.network.itl else "none"
    return Standing.NOT_TRUSTING, f"{where}; of trust lists it holds {held}"


def _at_source(
    seen: PhoneSeen, move: MoveSeen, prediction: Prediction | None, walks: tuple[Walk, ...]
) -> tuple[Standing, str]:
    tried = list(_attempts(seen, move))
    because = "; ".join(tried)
    if prediction is not None and prediction.moves:
        if prediction.forecast is Forecast.FIRST_TRUST:
            how = f"nothing on it demands a signature: it takes what {move.destination} sends it"
        elif move.destination in seen.holders:
            how = f"it holds the trust lists of {move.destination} already"
        else:
            how = next(
                (line.text for walk in walks for line in walk.lines if "vouches for the signer" in line.text),
                f"it can verify all that {move.destination} sends it",
            )
        before = f"; it has not moved yet: {because}" if tried else ""
        return Standing.WOULD_MOVE, f"{how}{before}"
    if prediction is not None and prediction.forecast is Forecast.STRANDS:
        why = prediction.why(seen.phone)
        if tried:
            return Standing.STRANDED, f"{why} ({because})"
        return Standing.WOULD_STRAND, why
    missing = "; ".join(prediction.missing) if prediction is not None else "too little was seen to run its procedure"
    if tried:
        return Standing.STRANDED, f"{because}; why is not known: {missing}"
    return Standing.UNDECIDED, f"it is not known: {missing}"


def _attempts(seen: PhoneSeen, move: MoveSeen) -> Iterator[str]:
    """What says that it was told to go to the destination, and did not arrive."""
    there, here = seen.clusters[move.destination], seen.clusters[move.source]
    if seen.page is not None:
        given = [one.casefold() for one in seen.page.network.tftp_servers]
        if any(one in there.addresses and one not in here.addresses for one in given):
            yield f"its TFTP servers are {move.destination}'s, and it is registered at {move.source}"
            found = last_verdict(seen.page.messages)
            if found is not None and found[1].ok is False:
                yield f"it says `{found[0].text}`"
    for one in seen.campaigns:
        forth = (one.campaign.source, one.campaign.destination)
        way = forth if one.phone.direction is Direction.FORTH else forth[::-1]
        if way == (move.source, move.destination) and one.phone.state in _FAILED:
            yield f"campaign {one.campaign.name} has it as {one.phone.state}: {one.phone.reason or 'no reason is kept'}"


def _served_by_nobody(seen: PhoneSeen) -> tuple[Standing, str]:
    rejecting = [
        f"{view.name}/{view.registration.node} rejects it, reason {view.registration.reason}"
        for view in seen.clusters.values()
        if view.registration is not None and view.registration.status is PhoneStatus.REJECTED
    ]
    if rejecting:
        return Standing.REJECTED, "; ".join(rejecting)
    deaf = [view.name for view in seen.clusters.values() if not view.heard]
    if deaf:
        return Standing.UNSEEN, f"RisPort70 of {', '.join(deaf)} did not tell, or not for all nodes"
    known = [view.name for view in seen.clusters.values() if view.waits or view.registration or view.remembered]
    if known or seen.campaigns:
        last = [
            f"{view.name}/{view.registration.node} has it as {view.registration.status}"
            + (f" since {view.registration.since:%Y-%m-%d %H:%M} UTC" if view.registration.since else "")
            for view in seen.clusters.values()
            if view.registration is not None
        ]
        knows = f"{' and '.join(known)} know{'s' * (len(known) == 1)} it" if known else "a campaign has it"
        return Standing.NOWHERE, "; ".join([f"{knows}, and no Unified CM serves it", *last])
    silent = [view.name for view in seen.clusters.values() if view.waits is None]
    if silent:
        return Standing.UNSEEN, f"no Unified CM has heard of it, and the database of {', '.join(silent)} did not answer"
    names = " nor ".join(seen.clusters)
    return Standing.NEVER_HEARD, f"neither {names} has it in its database, and no Unified CM of theirs has heard of it"


def _at_home(seen: PhoneSeen) -> Course:
    """Where no move is meant."""
    home = seen.home
    if not home:
        standing, because = _served_by_nobody(seen)
    else:
        where = f"it is registered at {home}"
        page = seen.page
        if home in seen.holders:
            standing, because = Standing.IN_ORDER, f"{where}, and holds the trust lists that {home} serves"
        elif page is None or page.network.itl is None or not seen.clusters[home].files:
            standing, because = Standing.UNDECIDED, f"{where}; whether it holds the trust lists of {home} was not seen"
        else:
            whose = " and ".join(seen.holders)
            held = f"those of {whose}" if whose else "others" if page.network.itl else "none"
            standing, because = Standing.NOT_TRUSTING, f"{where}; of trust lists it holds {held}"
    findings = findings_of(seen, None, standing, None)
    return Course(home, "", standing, because, findings, None, (), steps_of(seen, None, standing, findings))
