"""Prediction against the worlds in memory where the phone's procedure itself is tested: same worlds, same ends."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from tests.trust.arrangements import CONFIGURATION, CTL, ITL, A, B, serve, vouch, withdraw, world
from tests.trust.world import DEVICE, NOW, UnifiedCm, World, cluster, stranger

from trustbridge.cucm.model import PhoneStatus
from trustbridge.errors import Unreachable
from trustbridge.migration.phonefacts import PhoneFacts
from trustbridge.migration.predict import Estate, Forecasts, class_of, predict
from trustbridge.migration.predictrun import predict_class
from trustbridge.migration.predictvalues import (
    ANY_PHONE,
    NO_DEVICE,
    NOT_SEEN,
    Arrival,
    CallManagerSeen,
    Forecast,
    PhoneClass,
    Prediction,
    TftpSeen,
    TvsSaid,
    TvsSeen,
)
from trustbridge.migration.predictvalues import World as Seen
from trustbridge.pki.names import certificate_key
from trustbridge.pki.units import Store, Unit
from trustbridge.trust import installed
from trustbridge.trust.events import Flash, Kept, Refusal
from trustbridge.trust.models import MODELS
from trustbridge.wire.signedheader import Digest
from trustbridge.wire.tvs import query_request

MOVES, FIRST_TRUST, STRANDS, UNKNOWN = Forecast
GROUP = ("src1", "src2")
FOREIGN = cluster("third", nodes=1)


def digest(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest().upper()


def seen(made: World, **changes: Any) -> Seen:
    """What a collector that can see everything sees of a world."""
    signers = {
        certificate_key(certificate.serial, certificate.issuer): certificate
        for home in (A, B)
        for units in home.identities.values()
        for certificate in (identity.certificate for identity in units.values())
    }

    def said(name: str) -> dict[Any, TvsSaid]:
        found = {}
        for key, one in signers.items():
            answer = made.tvs[name].index.answer(query_request(1, "x", one.subject, one.issuer, one.serial))
            found[key] = TvsSaid(answer.valid, answer.roles, answer.certificate)
        return found

    here = [(Kept.ITL, A.itl(0)), (Kept.ITL, A.itl(1)), (Kept.CTL, A.ctl())]
    there = [(Kept.ITL, B.itl(0)), (Kept.ITL, B.itl(1)), (Kept.CTL, B.ctl())]
    more = [(Kept.ITL, A.itl(blank=True)), (Kept.ITL, FOREIGN.itl()), (Kept.CTL, FOREIGN.ctl())]
    values: dict[str, Any] = {
        "now": NOW,
        "servers": tuple(
            TftpSeen(name, files.get(ITL), files.get(CTL), down=False)
            if (files := made.tftp.get(name)) is not None
            else TftpSeen(name, down=True)
            for name in ("dst1", "dst2")
        ),
        "tvs": {
            name: TvsSeen(name, made.tvs[name].certificate.der, said(name), old_tls=True)
            if name in made.tvs
            else TvsSeen(name, down=True)
            for name in GROUP
        },
        "members": {
            name: CallManagerSeen(name, manager.certificate.der, running=True, trusts_lsc=not manager.rejects)
            for name in ("dst1", "dst2")
            if (manager := made.call_managers.get(name)) is not None
        },
        "arrivals": tuple(
            Arrival(files.get(f"{CONFIGURATION}.sgn")) for name, files in made.tftp.items() if name == "dst1"
        ),
        "stranger": Arrival(made.tftp.get("dst1", {}).get("XMLDefault.cnf.xml.sgn")),
        "auto_registration": False,
        "lists": {digest(content): content for _, content in (*here, *there, *more)},
        "source_lists": tuple(here),
        "other_lists": (*there, *more),
        "groups": (GROUP,),
        "source_mixed": True,
        "source_servers": frozenset(GROUP),
    }
    return Seen(**(values | changes))


def facts(flash: Flash, **changes: Any) -> PhoneFacts:
    """What is known of a phone whose page is read."""
    values: dict[str, Any] = {
        "name": DEVICE,
        "model": "CP-8861",
        "group": GROUP,
        "security_mode": 1,
        "status": PhoneStatus.REGISTERED,
        "itl": digest(flash.itl) if flash.itl is not None else "",
        "ctl": digest(flash.ctl) if flash.ctl is not None else "",
        "alternate_tftp": False,
    }
    return PhoneFacts(**(values | changes))


def foretold(phone: PhoneFacts, what: Seen, arrival: int = 0) -> Prediction:
    estate = Estate()
    estate.add(phone, arrival)
    ((name, prediction),) = predict(estate, what)
    assert name == phone.name
    return prediction


# One code: whatever a phone finds in these worlds, prediction says what it then does.


def tampered(content: bytes) -> bytes:
    return content[:-40] + bytes([content[-40] ^ 1]) + content[-39:]


def without_tvs(*names: str) -> Callable[[World], None]:
    def arrange(made: World) -> None:
        for name in names:
            del made.tvs[name]

    return arrange


def wrong_tvs(made: World) -> None:
    made.tvs["src1"].certificate = stranger().certificate


def expired_tvs(made: World) -> None:
    """Renewed with the same key, and run out; the phone's ITL lists the old one all the same."""
    made.tvs["src1"].certificate = stranger(days=-1).certificate


def rejecting(made: World) -> None:
    for name in ("dst1", "dst2"):
        made.call_managers[name].rejects = "403"


def renewed_call_manager(made: World) -> None:
    for name in ("dst1", "dst2"):
        made.call_managers[name] = UnifiedCm(stranger().certificate)


ARRANGEMENTS: dict[str, Callable[[World], None]] = {
    "as it should be": lambda made: None,
    "first TVS down": without_tvs("src1"),
    "all TVS down": without_tvs("src1", "src2"),
    "TVS with another certificate": wrong_tvs,
    "TVS that ran out": expired_tvs,
    "only CallManager exchanged": vouch((Store.PHONE_SAST_TRUST, Unit.CALLMANAGER)),
    "signer without role": vouch((Store.CALLMANAGER_TRUST, Unit.ITLRECOVERY)),
    "tampered ITL": serve(tampered(B.itl())),
    "tampered CTL": serve(tampered(B.ctl()), CTL),
    "no trust list at all": serve(b"<html>"),
    "SHA-512": serve(B.itl(digest=Digest.SHA512)),
    "ITL withdrawn": withdraw(ITL, "ITLFile.tlv"),
    "destination that is down": lambda made: made.tftp.clear(),
    "CAPF not trusted": rejecting,
    "Unified CM with another certificate": renewed_call_manager,
}
FLASHES = {
    "CTL and ITL": A.flash(secure=True),
    "ITL": A.flash(),
    "nothing": Flash(),
    "blank ITL": Flash(itl=A.itl(blank=True)),
    "CTL and blank ITL": Flash(ctl=A.ctl(), itl=A.itl(blank=True)),
    "CTL alone": Flash(ctl=A.ctl()),
    "foreign": Flash(ctl=FOREIGN.ctl(), itl=FOREIGN.itl()),
    "foreign ITL": Flash(itl=FOREIGN.itl()),
    "the destination's": Flash(ctl=B.ctl(), itl=B.itl()),
}


@pytest.mark.parametrize("secure", [False, True], ids=["non-secure", "mixed"])
@pytest.mark.parametrize("exchanged", [False, True], ids=["before the exchange", "after it"])
@pytest.mark.parametrize("arrangement", list(ARRANGEMENTS))
def test_what_is_predicted_is_what_the_phone_then_does(arrangement: str, exchanged: bool, secure: bool) -> None:
    made = world(exchanged=exchanged, secure=secure)
    if arrangement != "CAPF not trusted" or secure:  # nobody asks it of others
        ARRANGEMENTS[arrangement](made)
    what = seen(made, auto_registration=None)
    for (label, flash), model in product(FLASHES.items(), ("CP-8861", "CP-7965", "CP-7960")):
        kept = replace(flash, configuration=A.plain(secure=secure))
        ended = made.boot(kept, ("dst1", "dst2"), model=MODELS[model])
        demanding = installed.read(kept, MODELS[model])[0].demands_signatures
        arrived = ended.outcome.refusal is None and ended.registered.startswith("dst")
        expected = (MOVES if demanding else FIRST_TRUST) if arrived else STRANDS
        found = foretold(facts(flash, model=model, security_mode=3 if secure else 1), what)
        assert (found.forecast, found.refusal) == (expected, ended.outcome.refusal), (label, model, str(ended), found)


# What is behind it.


@pytest.mark.parametrize(
    ("arrangement", "flash", "secure", "refusal", "finding"),
    [
        ("all TVS down", "ITL", False, Refusal.TVS_UNREACHABLE, "TB111"),
        ("TVS with another certificate", "ITL", False, None, ""),
        ("only CallManager exchanged", "ITL", False, Refusal.NOT_VOUCHED, "TB101"),
        ("signer without role", "ITL", False, Refusal.WRONG_ROLE, "TB106"),
        ("tampered ITL", "ITL", False, Refusal.WRONG_SIGNATURE, "TB131"),
        ("no trust list at all", "ITL", False, Refusal.MALFORMED, "TB131"),
        ("ITL withdrawn", "ITL", False, Refusal.NO_ITL, "TB131"),
        ("CAPF not trusted", "CTL and ITL", True, Refusal.REGISTRATION, "TB152"),
        ("Unified CM with another certificate", "CTL and ITL", True, Refusal.REGISTRATION, "TB149"),
        ("destination that is down", "ITL", False, Refusal.NO_TFTP_ANSWER, ""),
        ("as it should be", "CTL and blank ITL", True, Refusal.TVS_CERTIFICATE, "TB120"),
        ("as it should be", "foreign ITL", False, Refusal.TVS_CERTIFICATE, "TB122"),
        ("as it should be", "CTL alone", True, Refusal.TVS_CERTIFICATE, "TB122"),
        ("as it should be", "CTL and ITL", False, Refusal.NOT_IN_CTL, "TB124"),
        ("as it should be", "foreign", False, Refusal.NOT_IN_CTL, "TB122"),
    ],
)
def test_each_refusal_has_its_finding(
    arrangement: str, flash: str, secure: bool, refusal: Refusal | None, finding: str
) -> None:
    made = world(secure=secure)
    ARRANGEMENTS[arrangement](made)
    found = foretold(facts(FLASHES[flash], security_mode=3 if secure else 1), seen(made))
    assert (found.refusal, found.finding) == (refusal, finding), found
    assert found.forecast is (STRANDS if refusal else MOVES)


def test_a_tvs_certificate_the_sources_own_itl_does_not_list_is_tb110() -> None:
    made = world()
    for name in GROUP:
        made.tvs[name].certificate = stranger().certificate
    assert foretold(facts(A.flash()), seen(made)).finding == "TB110"


def test_a_tvs_that_ran_out_is_tb113() -> None:
    found = foretold(facts(A.flash()), seen(world(), now=NOW + timedelta(days=20_000)))
    assert (found.forecast, found.refusal, found.finding) == (STRANDS, Refusal.TVS_CERTIFICATE_EXPIRED, "TB113")


def test_what_the_proof_found_behind_an_answer_is_told() -> None:
    what = seen(world(exchanged=False))
    first = what.tvs["src1"]
    said = {key: replace(one, finding="TB102") for key, one in first.said.items()}
    found = foretold(facts(A.flash()), replace(what, tvs={**what.tvs, "src1": replace(first, said=said)}))
    assert (found.refusal, found.finding) == (Refusal.NOT_VOUCHED, "TB102")


def test_a_ctl_that_a_non_secure_source_left_behind_is_tb121() -> None:
    found = foretold(facts(A.flash(secure=True)), seen(world(), source_mixed=False))
    assert (found.forecast, found.finding) == (STRANDS, "TB121")


def test_old_models_fail_at_the_signature_or_because_they_can_not_ask() -> None:
    made = world()
    serve(B.itl(digest=Digest.SHA512))(made)
    old = foretold(facts(A.flash(), model="CP-7965"), seen(made))
    assert (old.refusal, old.finding) == (Refusal.MODEL, "TB132")
    older = foretold(facts(A.flash(secure=True), model="CP-7960"), seen(world(secure=True)))
    assert (older.refusal, older.finding) == (Refusal.MODEL, "TB123")


def test_an_itl_over_64_kib_is_tb130() -> None:
    made = world()
    serve(B.itl(nodes=B.nodes * 40))(made)
    found = foretold(facts(A.flash()), seen(made))
    assert (found.refusal, found.finding) == (Refusal.TOO_LARGE, "TB130")


def test_models_that_know_tls_1_0_alone_need_a_tvs_that_speaks_it() -> None:
    what = seen(world())
    newer = replace(what, tvs={name: replace(one, old_tls=False) for name, one in what.tvs.items()})
    old = facts(A.flash(), model="CP-7965")
    assert foretold(old, what).forecast is MOVES
    found = foretold(old, newer)
    assert (found.forecast, found.refusal, found.finding) == (STRANDS, Refusal.TVS_UNREACHABLE, "TB112")
    untried = replace(what, tvs={name: replace(one, old_tls=None) for name, one in what.tvs.items()})
    assert foretold(old, untried).forecast is UNKNOWN
    assert foretold(facts(A.flash()), newer).forecast is MOVES


@pytest.mark.parametrize(
    ("flash", "model", "finding"),
    [
        (Flash(), "CP-8861", "TB122"),
        (Flash(itl=A.itl(blank=True)), "CP-8861", "TB120"),
        (A.flash(), "CP-7960", "TB160"),
    ],
)
def test_why_a_phone_takes_whatever_comes(flash: Flash, model: str, finding: str) -> None:
    found = foretold(facts(flash, model=model), seen(world(exchanged=False)))
    assert (found.forecast, found.finding) == (FIRST_TRUST, finding)


# Devices and servers.


def test_a_phone_the_destination_does_not_know_depends_on_auto_registration() -> None:
    made = world()
    default = B.signed(B.plain(), "XMLDefault.cnf.xml.sgn")
    made.tftp["dst1"]["XMLDefault.cnf.xml.sgn"] = default
    phone, what = facts(A.flash()), seen(made)
    found = foretold(phone, what, NO_DEVICE)
    assert (found.forecast, found.refusal, found.finding) == (STRANDS, Refusal.REGISTRATION, "TB151")
    assert foretold(phone, replace(what, auto_registration=True), NO_DEVICE).forecast is MOVES
    unsaid = foretold(phone, replace(what, auto_registration=None), NO_DEVICE)
    assert unsaid.forecast is UNKNOWN
    assert "nobody created" in unsaid.why()
    nothing = foretold(phone, replace(what, stranger=Arrival()), NO_DEVICE)
    assert (nothing.refusal, nothing.finding) == (Refusal.NO_CONFIGURATION, "TB151")


@pytest.mark.parametrize(
    ("servers", "forecast"),
    [(("src1",), STRANDS), ((), STRANDS), (("dst1",), MOVES), (("192.0.2.9",), UNKNOWN)],
)
def test_servers_typed_in_by_hand(servers: tuple[str, ...], forecast: Forecast) -> None:
    found = foretold(facts(A.flash(), alternate_tftp=True, tftp_servers=servers), seen(world()))
    assert found.forecast is forecast
    assert found.finding == ("TB150" if forecast is STRANDS else "")
    # The same servers, learned over DHCP, are what the move changes.
    assert foretold(facts(A.flash(), tftp_servers=servers), seen(world())).forecast is MOVES


def test_the_second_server_answers_where_the_first_is_known_to_be_down() -> None:
    what = seen(world())
    first, second = what.servers
    assert foretold(facts(A.flash()), replace(what, servers=(replace(first, down=True), second))).forecast is MOVES
    unseen = replace(what, servers=(TftpSeen("dst1", unseen="nobody answers"), second))
    found = foretold(facts(A.flash()), unseen)
    assert found.forecast is UNKNOWN
    assert "nobody answers" in found.why()


def test_a_unified_cm_that_is_down_leaves_the_next() -> None:
    what = seen(world())
    for down, forecast in ((["dst1"], MOVES), (["dst1", "dst2"], STRANDS)):
        members = {name: replace(one, running=name not in down) for name, one in what.members.items()}
        assert foretold(facts(A.flash()), replace(what, members=members)).forecast is forecast


# Nothing is guessed.


def unreached(what: Seen) -> Seen:
    return replace(what, tvs={**what.tvs, "src1": TvsSeen("src1", unseen="no route")})


@pytest.mark.parametrize(
    ("blind", "says"),
    [
        (unreached, "no route"),
        (lambda what: replace(what, tvs={}), "src1"),
        (lambda what: replace(what, tvs={name: replace(one, said={}) for name, one in what.tvs.items()}), "not asked"),
        (lambda what: replace(what, arrivals=(Arrival(unseen="encrypted"),)), "encrypted"),
        (lambda what: replace(what, members={}), "dst1"),
        (
            lambda what: replace(what, members={n: replace(one, running=None) for n, one in what.members.items()}),
            "CallManager runs",
        ),
    ],
    ids=["TVS not reached", "TVS not read", "not asked", "configuration", "members", "service"],
)
def test_what_was_not_seen_makes_unknown(blind: Callable[[Seen], Seen], says: str) -> None:
    what = seen(world())
    assert foretold(facts(A.flash()), what).forecast is MOVES
    found = foretold(facts(A.flash()), blind(what))
    assert found.forecast is UNKNOWN
    assert says in found.why(), found


def test_a_tvs_nobody_needs_to_ask_hides_nothing() -> None:
    what = seen(world())
    second = replace(what, tvs={**what.tvs, "src2": TvsSeen("src2", unseen="no route")})
    assert foretold(facts(A.flash()), second).forecast is MOVES
    assert foretold(facts(Flash()), replace(what, tvs={})).forecast is FIRST_TRUST


def test_whether_the_destination_knows_a_phone_may_not_be_known() -> None:
    found = foretold(facts(A.flash()), seen(world()), NOT_SEEN)
    assert (found.forecast, found.missing) == (
        UNKNOWN,
        ("whether the destination knows it, and its configuration there",),
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"itl": None}, "whether it holds an ITL"),
        ({"itl": "AB" * 20}, "AB" * 20),
        ({"alternate_tftp": None}, "TB150"),
    ],
    ids=["no ITL hash", "hash of nothing", "alternate TFTP"],
)
def test_what_a_phone_does_not_tell_makes_unknown(changes: dict[str, Any], says: str) -> None:
    what = seen(world(secure=True))
    assert foretold(facts(A.flash(secure=True), security_mode=3), what).forecast is MOVES
    found = foretold(facts(A.flash(secure=True), security_mode=3, **changes), what)
    assert (found.forecast, found.finding) == (UNKNOWN, "TB161"), found
    assert len(found.missing) == 1
    assert says in found.missing[0]


def test_a_ctl_that_is_not_known_matters_where_none_is_served() -> None:
    phone = facts(A.flash(secure=True), ctl=None, security_mode=3)
    assert foretold(phone, seen(world(secure=True))).forecast is MOVES  # a TVS vouches for the one that comes
    found = foretold(replace(phone, security_mode=1), seen(world()))
    assert (found.forecast, found.finding) == (UNKNOWN, "TB161")
    assert "whether it holds a CTL" in found.why()


def test_a_group_that_is_not_known_matters_where_groups_differ() -> None:
    what = seen(world())
    assert foretold(facts(A.flash(), group=None), what).forecast is MOVES  # there is one group
    down = replace(what, groups=(("src1",), ("src2",)), tvs={**what.tvs, "src2": TvsSeen("src2", down=True)})
    found = foretold(facts(A.flash(), group=None), down)
    assert found.forecast is UNKNOWN
    assert "Unified CM group" in found.why()
    assert foretold(facts(A.flash(), group=None), replace(what, groups=None)).forecast is UNKNOWN


def test_every_possibility_may_lead_to_one_end() -> None:
    made = world()
    serve(b"<html>")(made)
    found = foretold(facts(Flash(), itl=None, ctl="", group=None), seen(made))
    assert (found.forecast, found.refusal, found.finding) == (STRANDS, Refusal.MALFORMED, "TB131")
    # An ITL means nothing to this model: whichever it shows.
    assert foretold(facts(Flash(), model="CP-7960", itl=None), seen(world())).forecast is FIRST_TRUST


def test_whether_a_phone_has_an_lsc_matters_only_where_it_would_be_trusted() -> None:
    flash = A.flash(secure=True)
    unregistered = facts(flash, security_mode=3, status=PhoneStatus.UNREGISTERED)
    assert foretold(facts(flash, security_mode=3), seen(world(secure=True))).forecast is MOVES
    assert foretold(unregistered, seen(world(secure=True))).forecast is UNKNOWN
    made = world(secure=True)
    rejecting(made)
    assert foretold(unregistered, seen(made)).finding == "TB152"
    what = seen(world(secure=True))
    unread = replace(what, members={name: replace(one, trusts_lsc=None) for name, one in what.members.items()})
    found = foretold(facts(flash, security_mode=3), unread)
    assert found.forecast is UNKNOWN
    assert "CAPF-trust" in found.why()


# Many.


def many(count: int = 400) -> tuple[Estate, Seen]:
    """Phones of many classes, mixed."""
    made = world()
    what = seen(made)
    estate = Estate()
    flashes = list(FLASHES.values())
    for number in range(count):
        estate.add(
            facts(
                flashes[number % len(flashes)],
                name=f"SEP{number:012X}",
                model=("CP-8861", "CP-7965", "CP-7960", "CP-8841")[number % 4],
                group=[GROUP, GROUP[:1], GROUP[::-1], None][number % 3],
                **({"itl": None} if number % 5 == 0 else {}),
            ),
            (0, 0, NO_DEVICE)[number % 7 % 3],
        )
    return estate, what


def test_phones_that_agree_are_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    estate, what = many()
    assert len(estate) == 400
    assert len(estate.classes) < 200
    assert len(set(estate.classes)) == len(estate.classes)
    runs: list[object] = []

    def counted(one: PhoneClass, there: Seen) -> Prediction:
        runs.append(one)
        return predict_class(one, there)

    monkeypatch.setattr("trustbridge.migration.predict.predict_class", counted)
    forecasts = predict(estate, what, processes=1)
    assert len(runs) == len(estate.classes)
    assert set(runs) == set(estate.classes)
    # Each has the prediction it would have alone.
    for place in range(0, 400, 23):
        alone = predict_class(estate.classes[estate.class_of[place]], what)
        assert list(forecasts)[place] == (f"SEP{place:012X}", alone)
    assert sum(forecasts.counts.values()) == sum(forecasts.by_prediction().values()) == 400
    assert not forecasts.all_move


@pytest.mark.parametrize(
    "changes",
    [
        {"group": ("src2",)},
        {"group": None},
        {"itl": ""},
        {"ctl": "AB" * 20},
        {"model": "CP-7965"},
        {"status": PhoneStatus.UNREGISTERED},
        {"security_mode": 1},
        {"alternate_tftp": None},
        {"tftp_servers": ("dst1",)},
    ],
    ids=str,
)
def test_what_tells_one_phone_from_another_tells_their_classes(changes: dict[str, Any]) -> None:
    first = facts(A.flash(), security_mode=3, alternate_tftp=True, tftp_servers=("src1",))
    second = replace(first, **changes)
    estate = Estate()
    for phone, arrival in ((first, 0), (second, 0), (first, NO_DEVICE), (first, 0)):
        estate.add(phone, arrival)
    assert [estate.classes[place] for place in estate.class_of] == [
        class_of(first, 0),
        class_of(second, 0),
        class_of(first, NO_DEVICE),
        class_of(first, 0),
    ]
    assert len(estate.classes) == 3


def test_models_that_can_do_the_same_are_one() -> None:
    estate = Estate()
    for model in ("CP-8861", "CP-8841", "CP-9971", "something new"):
        estate.add(facts(A.flash(), model=model), 0)
    assert len(estate.classes) == 1
    estate.add(facts(A.flash(), model="CP-7965"), 0)
    assert len(estate.classes) == 2


def test_words_name_the_phone() -> None:
    made = world()
    serve(tampered(B.itl()))(made)
    found = foretold(facts(A.flash()), seen(made))
    assert ANY_PHONE not in found.why(DEVICE)
    assert DEVICE in found.why(DEVICE)


def test_an_empty_estate_moves() -> None:
    forecasts = predict(Estate(), seen(world()))
    assert forecasts.all_move
    assert set(forecasts.counts.values()) == {0}


def same(one: Forecasts, other: Forecasts) -> bool:
    return list(one) == list(other) and one.by_prediction() == other.by_prediction()


def test_several_processes_say_the_same() -> None:
    estate, what = many()
    told: list[tuple[int, int]] = []
    alone = predict(estate, what, progress=lambda _, done, total: told.append((done, total)))
    assert told[-1] == (len(estate.classes), len(estate.classes))
    assert same(predict(estate, what, processes=2), alone)


@contextmanager
def scheduler() -> Iterator[str]:
    from distributed import LocalCluster

    with LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=2,
        threads_per_worker=1,
        processes=False,
        protocol="tcp://",
        host="127.0.0.1",
        dashboard_address=None,
        silence_logs=50,
    ) as running:
        yield running.scheduler_address


def test_a_dask_scheduler_says_the_same() -> None:
    estate, what = many()
    with scheduler() as address:
        assert same(predict(estate, what, scheduler=address), predict(estate, what))


def test_no_scheduler_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trustbridge.migration.predict._SCHEDULER_PATIENCE", 0.2)
    estate, what = many(5)
    with pytest.raises(Unreachable, match=r"no dask scheduler at tcp://127\.0\.0\.1:9"):
        predict(estate, what, scheduler="tcp://127.0.0.1:9")
    with pytest.raises(Unreachable, match="no dask scheduler"):
        predict(estate, what, scheduler="not an address")
