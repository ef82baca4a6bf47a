"""A campaign prepared: phones chosen, foretold, dealt out in waves, option 150 previewed; kept, if somebody agrees.

    prepared = await prepare(clusters, wish, provider, now=now)    # resets nothing, changes nothing anywhere
    campaign = create(campaigns, prepared, now=now)

What the command line and the console have in common: a `Wish` is what somebody has said, in the words they said it in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from trustbridge.cucm.cluster import Cluster
from trustbridge.cucm.model import PhoneStatus
from trustbridge.dhcp.record import Server
from trustbridge.dhcp.scope import Provider, find_scope
from trustbridge.errors import SettingsError, TrustbridgeError
from trustbridge.migration import campaignplan
from trustbridge.migration.campaignforecast import Foretold, Progress, foretell
from trustbridge.migration.campaignoption150 import check_kind
from trustbridge.migration.campaignphone import PhoneState, Rule, Terms
from trustbridge.migration.campaignplan import CampaignSettings, Selection, Waves
from trustbridge.migration.devices import names_of
from trustbridge.migration.phonecollect import collect_phones
from trustbridge.migration.phonefacts import PhoneFacts
from trustbridge.migration.predictvalues import Forecast
from trustbridge.storage.campaignrecords import CampaignRecord, ClusterRecord, NewPhone, NewScope, NewWave
from trustbridge.storage.campaigns import Campaigns

#: Opens a DHCP server's provider.
Providers = Callable[[Server], AbstractAsyncContextManager[Provider]]


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants to be a campaign, as options of `trustbridge migrate plan` say it.

    Attributes:
        listed: a list of names, as CSV or one a line; None for no list.
        site_windows, site_scopes: such as `Warsaw-*=Mon-Fri 20:00-06:00 Europe/Warsaw`.
        by: a word of `campaignplan.Grouping`. stranding, unknown, in_use, unregistered, unfit, unseen: of `Rule`.
        server: the DHCP server whose scopes are changed; None where nobody wants that.
        longest_wait, restart: minutes. settle, look, lease, doubt: seconds.
    """

    name: str
    source: str
    destination: str
    device_pools: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    subnets: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    listed: str | None = None
    sql: str = ""
    registered: bool = False
    pilot: int = 5
    pilot_site: str = ""
    wave_size: int = 200
    by: str = "none"
    windows: tuple[str, ...] = ()
    site_windows: tuple[str, ...] = ()
    server: Server | None = None
    scopes: tuple[str, ...] = ()
    site_scopes: tuple[str, ...] = ()
    tftp_servers: tuple[str, ...] = ()
    predicting: bool = True
    stranding: str = "skip"
    unknown: str = "go"
    resets_a_minute: int = 30
    under_way: int = 100
    tvs_load: int = 50
    failures: float = 0.1
    in_use: str = "wait"
    unregistered: str = "wait"
    unfit: str = "wait"
    unseen: str = "go"
    longest_wait: float = 240
    restart: float = 15
    settle: float = 60
    look: float = 10
    lease: float = 120
    doubt: float = 180
    phone_port: int = 80


@dataclass(frozen=True, slots=True)
class Meant:
    """A wish that can be meant."""

    wish: Wish
    settings: CampaignSettings
    waves: Waves
    rules: Mapping[Forecast, Rule]
    selection: Selection
    site_scopes: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Scope150:
    """A change of option 150 that the campaign is going to make: in words, and as a difference of configurations."""

    place: str
    scope: str
    before: str
    after: str
    diff: str
    record: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A campaign that could be kept now.

    Attributes:
        settings: as `CampaignSettings.as_json`.
        seen: the clusters, as they were.
        foretold: phones by forecast; empty where nobody wanted that.
        at: when it was prepared.
    """

    name: str
    source: str
    destination: str
    settings: Mapping[str, Any]
    waves: tuple[NewWave, ...]
    scopes: tuple[NewScope, ...]
    changes: tuple[Scope150, ...]
    seen: tuple[ClusterRecord, ...]
    foretold: Mapping[str, int]
    at: datetime

    @property
    def phones(self) -> int:
        """How many it has."""
        return sum(len(wave.phones) for wave in self.waves)

    @property
    def left_out(self) -> list[NewPhone]:
        """Phones that are in it, and are not moved."""
        return [phone for wave in self.waves for phone in wave.phones if phone.left_out]

    @property
    def words(self) -> str:
        """What was foretold, for people."""
        return ", ".join(f"{self.foretold[what]} {what}" for what in Forecast if self.foretold.get(what))

    def as_json(self) -> dict[str, Any]:
        """To be kept until somebody agrees; `from_json` reads it."""
        return asdict(self) | {
            "at": self.at.isoformat(),
            "seen": [asdict(one) | {"seen_at": one.seen_at.isoformat()} for one in self.seen],
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Prepared:
        """Read what `as_json` gave."""
        return cls(
            kept["name"],
            kept["source"],
            kept["destination"],
            kept["settings"],
            tuple(
                NewWave(
                    wave["name"],
                    wave["pilot"],
                    tuple(wave["windows"]),
                    tuple(NewPhone(**one) for one in wave["phones"]),
                )
                for wave in kept["waves"]
            ),
            tuple(
                NewScope(**one | {"waves": tuple(one["waves"]), "servers": tuple(one["servers"])})
                for one in kept["scopes"]
            ),
            tuple(Scope150(**one) for one in kept["changes"]),
            tuple(
                ClusterRecord(one["name"], one["release"], tuple(one["nodes"]), datetime.fromisoformat(one["seen_at"]))
                for one in kept["seen"]
            ),
            kept["foretold"],
            datetime.fromisoformat(kept["at"]),
        )


def check_name(name: str) -> None:
    """Whether a campaign can be called that.

    Raises:
        SettingsError: it can't.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", name):
        raise SettingsError(f"{name!r} can't be a campaign's name", "It has letters, digits, -, _ and dots.")
    if name in ("new", "plans"):
        raise SettingsError(f"{name} can't be a campaign's name: pages of the console are called so")


def meant(wish: Wish) -> Meant:
    """Read a wish.

    Raises:
        SettingsError: it can't be meant; what is wrong is named.
    """
    try:
        terms = Terms(
            in_use=Rule(wish.in_use),
            unregistered=Rule(wish.unregistered),
            unfit=Rule(wish.unfit),
            unseen=Rule(wish.unseen),
            longest_wait=timedelta(minutes=wish.longest_wait),
            restart=timedelta(minutes=wish.restart),
            settle=timedelta(seconds=wish.settle),
            look=timedelta(seconds=wish.look),
            look_waiting=timedelta(seconds=6 * wish.look),
            lease=timedelta(seconds=wish.lease),
            doubt=timedelta(seconds=wish.doubt),
            send_within=timedelta(seconds=min(30.0, wish.doubt / 2)),
        )
        grouping = campaignplan.Grouping(wish.by)
        rules = {Forecast.STRANDS: Rule(wish.stranding), Forecast.UNKNOWN: Rule(wish.unknown)}
    except (ValueError, OverflowError) as error:
        raise SettingsError(f"migrate plan: {error}") from None
    if Rule.WAIT in rules.values():
        raise SettingsError("--stranding and --unknown are skip or go: a prediction does not change by waiting")
    limits = campaignplan.Limits(wish.resets_a_minute, wish.under_way, wish.failures, wish.tvs_load)
    sites = tuple(_site(text, "--site-window", "WINDOW") for text in wish.site_windows)
    how = Waves(wish.pilot, wish.wave_size, grouping, wish.windows, sites, wish.pilot_site)
    check_name(wish.name)
    if wish.source == wish.destination:
        raise SettingsError("source and destination are the same cluster")
    site_scopes = tuple(_site(text, "--site-scope", "SCOPE") for text in wish.site_scopes)
    if wish.scopes or site_scopes:
        if wish.server is None:
            raise SettingsError("one DHCP server is expected", "Name it: --kea or --dhcp-cluster.")
        check_kind(wish.server)
    elif wish.server is not None:
        raise SettingsError("no scope is named", "Say which: --scope, --site-scope; see `trustbridge option150 show`.")
    # What is wrong with waves and windows is said before clusters are read for minutes.
    campaignplan.deal((), replace(how, pilot_site=""))
    selection = Selection(
        device_pools=wish.device_pools,
        models=wish.models,
        names=wish.phones,
        subnets=tuple(campaignplan.subnet(text) for text in wish.subnets),
        statuses=(PhoneStatus.REGISTERED,) if wish.registered else (),
        listed=None if wish.listed is None else campaignplan.listed_names(wish.listed),
        without=wish.without,
    )
    return Meant(wish, CampaignSettings(limits, terms, wish.phone_port), how, rules, selection, site_scopes)


def _site(text: str, option: str, what: str) -> tuple[str, str]:
    pattern, sign, value = text.partition("=")
    if not sign or not value:
        raise SettingsError(f"{option} {text}: DEVICE-POOL={what} is expected")
    return pattern, value


def _quiet(what: str, done: int, total: int) -> None:
    pass


async def prepare(
    clusters: Mapping[str, Cluster],
    wanted: Meant,
    provider: Providers,
    *,
    now: Callable[[], datetime],
    progress: Progress = _quiet,
) -> Prepared:
    """Choose phones, foretell each, deal them out. Resets nothing, and changes nothing anywhere.

    Args:
        clusters: source and destination, by name.
        provider: opens the DHCP server, where there is one.

    Raises:
        SettingsError: no phone is meant, a list names strangers, a scope is not there, and the like.
        TrustbridgeError: a cluster or the DHCP server does not tell, or refuses a password.
    """
    wish = wanted.wish
    here, there = clusters[wish.source], clusters[wish.destination]
    phones, foretold = await _collected(here, there, wanted, now, progress)
    left_out = {
        one: f"predicted: {what}: {why}"
        for one, (what, why) in foretold.phones.items()
        if wanted.rules.get(what, Rule.GO) is Rule.SKIP
    }
    waves = campaignplan.deal(phones, wanted.waves, foretold=foretold.as_kept, left_out=left_out)
    scopes: list[NewScope] = []
    changes: list[Scope150] = []
    if wish.server is not None:
        servers = wish.tftp_servers or foretold.servers
        place = (str(wish.server.kind), wish.server.where, wish.server.user)
        scopes = campaignplan.scopes_of(waves, place, servers, everywhere=wish.scopes, sites=wanted.site_scopes)
        async with provider(wish.server) as opened:
            scopes, changes = await _previewed(opened, scopes)
    return Prepared(
        wish.name,
        wish.source,
        wish.destination,
        wanted.settings.as_json(),
        tuple(waves),
        tuple(scopes),
        tuple(changes),
        tuple([await _seen(one, now()) for one in (here, there)]),
        {str(what): count for what, count in foretold.counts.items()},
        now(),
    )


def create(campaigns: Campaigns, prepared: Prepared, *, now: datetime) -> CampaignRecord:
    """Keep it.

    Raises:
        SettingsError: the name is taken.
        Unreachable, Refused: the database does not answer.
    """
    campaigns.record_clusters(prepared.seen)
    return campaigns.create(
        prepared.name,
        prepared.source,
        prepared.destination,
        prepared.settings,
        prepared.waves,
        state=PhoneState.PLANNED,
        now=now,
        skipped=PhoneState.SKIPPED,
        scopes=prepared.scopes,
    )


async def _collected(
    here: Cluster, there: Cluster, wanted: Meant, now: Callable[[], datetime], progress: Progress
) -> tuple[Sequence[PhoneFacts], Foretold]:
    """The phones that are meant, and what becomes of them."""
    wish, selection = wanted.wish, wanted.selection
    if wish.sql:
        listed = frozenset(one.upper() for one in names_of(await here.sql(wish.sql)))
        selection = replace(selection, listed=listed if selection.listed is None else listed & selection.listed)
    known = await collect_phones(here, pages=False, configurations="none", progress=progress)
    phones = campaignplan.select(known, selection)
    if not wish.predicting:
        return phones, Foretold()
    foretold = await foretell(
        here,
        there,
        {one.name for one in phones},
        now=now(),
        servers=wish.tftp_servers,
        page_port=wish.phone_port,
        progress=progress,
    )
    return [foretold.facts.get(one.name, one) for one in phones], foretold


async def _seen(cluster: Cluster, now: datetime) -> ClusterRecord:
    try:
        release = str(await cluster.release())
    except TrustbridgeError:  # for the record only: what it is needed for, asks again
        release = ""
    return ClusterRecord(cluster.name, release, tuple(node.name for node in await cluster.nodes()), now)


async def _previewed(provider: Provider, scopes: Sequence[NewScope]) -> tuple[list[NewScope], list[Scope150]]:
    """Scopes by the names that their server has for them, and what will be changed."""
    there = await provider.read()
    found = [replace(one, scope=find_scope(there, one.scope).name) for one in scopes]
    if len({one.scope for one in found}) < len(found):
        raise SettingsError("a scope is named twice, by its name and by its subnet", "Name it once.")
    changes = [provider.preview(find_scope(there, one.scope), one.servers) for one in found]
    return found, [
        Scope150(one.place, one.before.name, one.before.words, one.after.words, one.diff, one.record())
        for one in changes
    ]
