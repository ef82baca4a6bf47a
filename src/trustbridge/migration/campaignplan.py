"""Which phones are moved, in which waves, how fast, and when it is too much. Pure."""

from __future__ import annotations

import csv
import io
import ipaddress
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, Final

from trustbridge.cucm.model import PhoneStatus
from trustbridge.errors import SettingsError
from trustbridge.migration.campaignphone import Rule, Terms
from trustbridge.migration.campaignwindows import Window, opens
from trustbridge.migration.phonefacts import PhoneFacts
from trustbridge.migration.predictvalues import Forecast
from trustbridge.storage.campaignrecords import Change, Load, NewPhone, NewScope, NewWave, WaveRecord
from trustbridge.storage.models import Direction

# Which phones.


@dataclass(frozen=True, slots=True)
class Selection:
    """What a phone has to be. An empty criterion is met by all; of several values in one, any will do.

    Attributes:
        device_pools, models, names: patterns such as `Warsaw-*`, in either case.
        subnets: by the address that the phone has where it is registered.
        statuses: as RisPort70 says it.
        listed: names from a list.
        without: patterns of names that are left out, whatever else they are.
    """

    device_pools: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    subnets: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    statuses: tuple[PhoneStatus, ...] = ()
    listed: frozenset[str] | None = None
    without: tuple[str, ...] = ()

    def takes(self, phone: PhoneFacts) -> bool:
        """Whether a phone is meant."""
        return (
            _fits(phone.device_pool, self.device_pools)
            and _fits(phone.model, self.models)
            and _fits(phone.name, self.names)
            and (not self.subnets or _within(phone.address, self.subnets))
            and (not self.statuses or phone.status in self.statuses)
            and (self.listed is None or phone.name.upper() in self.listed)
            and not (self.without and _fits(phone.name, self.without))
        )


def _fits(value: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatchcase(value.casefold(), pattern.casefold()) for pattern in patterns)


def _within(address: str, subnets: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:  # not known
        return False
    return any(found in subnet for subnet in subnets)


def subnet(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Read a subnet, such as 10.1.2.0/24.

    Raises:
        SettingsError: it is none.
    """
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise SettingsError(f"{text} is no subnet: {error}", "Such as 10.1.2.0/24.") from None


#: Columns in which an export of phones has their names.
_NAME_COLUMNS: Final = ("name", "device name", "devicename", "device", "phone")


def listed_names(text: str) -> frozenset[str]:
    """Names of phones from CSV, or from a list with one a line; a column headed `name` or `device name` counts.

    Raises:
        SettingsError: there are none.
    """
    rows = [row for row in csv.reader(io.StringIO(text.removeprefix("\ufeff"))) if any(cell.strip() for cell in row)]
    column = 0
    if rows:
        heads = [cell.strip().casefold() for cell in rows[0]]
        named = [heads.index(head) for head in _NAME_COLUMNS if head in heads]
        if named:
            column, rows = named[0], rows[1:]
    names = frozenset(row[column].strip().upper() for row in rows if len(row) > column and row[column].strip())
    if not names:
        raise SettingsError("the list names no phones", "One a line, or CSV with a column headed name.")
    return names


def select(phones: Iterable[PhoneFacts], selection: Selection) -> list[PhoneFacts]:
    """The phones that are meant, by name.

    Raises:
        SettingsError: the list names phones that are not there; or none is meant.
    """
    known = list(phones)
    if selection.listed is not None:
        strangers = sorted(selection.listed - {phone.name.upper() for phone in known})
        if strangers:
            more = f" and {len(strangers) - 5} more" if len(strangers) > 5 else ""
            raise SettingsError(f"the source has no phone {', '.join(strangers[:5])}{more}", "Correct the list.")
    chosen = sorted((phone for phone in known if selection.takes(phone)), key=lambda phone: phone.name)
    if not chosen:
        raise SettingsError(f"none of {len(known)} phones is meant", "Ask for less.")
    return chosen


# In which waves.


class Grouping(StrEnum):
    """What phones of one wave have in common."""

    NONE = "none"
    DEVICE_POOL = "device-pool"


@dataclass(frozen=True, slots=True)
class Waves:
    """How phones are dealt out.

    Attributes:
        pilot: phones of the first wave, of as many kinds as there are; 0 for no pilot.
        pilot_site: pattern of device pools that a pilot is taken from; "" for all. Where scopes of sites are changed, a
            pilot of all sites would change all of them.
        size: phones of a wave at the most.
        by: whether a wave is of one site.
        windows: when waves may reset phones, as `campaignwindows.Window`; none for always.
        site_windows: by pattern of device pools, instead of `windows`: sites have their own nights.
    """

    pilot: int = 5
    size: int = 200
    by: Grouping = Grouping.NONE
    windows: tuple[str, ...] = ()
    site_windows: tuple[tuple[str, str], ...] = ()
    pilot_site: str = ""


def deal(
    phones: Sequence[PhoneFacts],
    waves: Waves,
    *,
    foretold: Mapping[str, tuple[str, str]] | None = None,
    left_out: Mapping[str, str] | None = None,
) -> list[NewWave]:
    """Waves of phones, the pilot first. Each phone is in one.

    Args:
        foretold: what becomes of phones, and why, by name.
        left_out: phones that are not to be moved, and why: none of them is in the pilot.

    Raises:
        SettingsError: sizes or windows that can't be meant.
    """
    if waves.size < 1 or waves.pilot < 0:
        raise SettingsError("a wave has one phone or more, a pilot none or more")
    if waves.site_windows and waves.by is not Grouping.DEVICE_POOL:
        raise SettingsError("windows of sites need waves of one site each", "Say --by device-pool.")
    general = tuple(Window.parse(text).text for text in waves.windows)
    by_site = [(pattern, Window.parse(text).text) for pattern, text in waves.site_windows]
    skipped, known = left_out or {}, foretold or {}

    def wave(name: str, pilot: bool, windows: tuple[str, ...], members: Sequence[PhoneFacts]) -> NewWave:
        return NewWave(
            name, pilot, windows, tuple(_new(one, known.get(one.name), skipped.get(one.name, "")) for one in members)
        )

    at_hand = [phone for phone in phones if phone.name not in skipped]
    if waves.pilot_site:
        at_hand = [phone for phone in at_hand if _fits(phone.device_pool, [waves.pilot_site])]
        if not at_hand and waves.pilot:
            raise SettingsError(
                f"no phone that is to move has a device pool {waves.pilot_site}", "Correct --pilot-site."
            )
    doubtful = {name for name, (what, _) in known.items() if what not in (Forecast.MOVES, Forecast.FIRST_TRUST)}
    pilot = _pilot(at_hand, waves.pilot, doubtful)
    made = [wave("pilot", True, general, pilot)] if pilot else []
    taken = {phone.name for phone in pilot}
    groups: dict[str, list[PhoneFacts]] = {}
    for phone in phones:
        if phone.name not in taken:
            groups.setdefault(phone.device_pool if waves.by is Grouping.DEVICE_POOL else "", []).append(phone)
    for site, members in sorted(groups.items()):
        windows = tuple(text for pattern, text in by_site if _fits(site, [pattern])) or general
        for start in range(0, len(members), waves.size):
            name = f"wave-{len(made) + (0 if pilot else 1)}" + (f" {site}" if site else "")
            made.append(wave(name, False, windows, members[start : start + waves.size]))
    return made


def _new(phone: PhoneFacts, foretold: tuple[str, str] | None, left_out: str) -> NewPhone:
    what, why = foretold or ("", "")
    tvs = phone.group[0] if phone.group else ""
    return NewPhone(phone.name, phone.model, phone.device_pool, tvs, what, why, left_out)


def scopes_of(
    waves: Sequence[NewWave],
    server: tuple[str, str, str],
    servers: Sequence[str],
    *,
    everywhere: Sequence[str] = (),
    sites: Sequence[tuple[str, str]] = (),
) -> list[NewScope]:
    """Which DHCP scopes have their option 150 changed, and for which waves.

    Args:
        server: kind, place and user of the DHCP server.
        servers: TFTP servers that option 150 is to name.
        everywhere: scopes that every wave needs: they are changed before the first.
        sites: a pattern of device pools, and the scope of their phones: changed before the first wave that has one.

    Raises:
        SettingsError: a pattern fits no phone; or one scope is named in both ways.
    """
    kind, place, user = server
    found = {scope: NewScope((), kind, place, user, scope, tuple(servers)) for scope in everywhere}
    for pattern, scope in sites:
        needing = [wave.name for wave in waves if any(_fits(phone.device_pool, [pattern]) for phone in wave.phones)]
        if not needing:
            raise SettingsError(f"no phone of the campaign has a device pool {pattern}", "Correct --site-scope.")
        if scope in everywhere:
            raise SettingsError(f"scope {scope} is named for every wave, and for {pattern}", "Name it once.")
        before = found.get(scope)
        names = tuple(wave.name for wave in waves if wave.name in needing or (before and wave.name in before.waves))
        found[scope] = NewScope(names, kind, place, user, scope, tuple(servers))
    return list(found.values())


def _pilot(phones: Sequence[PhoneFacts], count: int, doubtful: Collection[str]) -> list[PhoneFacts]:
    """One phone of each model and device pool in turn: a pilot shows what can go wrong with phones of which nobody
    expects it. Those that are not registered, or of which the prediction can't tell, come last."""

    def late(phone: PhoneFacts) -> tuple[bool, bool]:
        return phone.status is not PhoneStatus.REGISTERED, phone.name in doubtful

    kinds: dict[tuple[str, str], list[PhoneFacts]] = {}
    for phone in sorted(phones, key=lambda phone: (late(phone), phone.name)):
        kinds.setdefault((phone.model, phone.device_pool), []).append(phone)
    turns = [(place, kind, phone) for kind, found in kinds.items() for place, phone in enumerate(found)]
    turns.sort(key=lambda turn: (late(turn[2]), turn[0], turn[1]))
    return [phone for _, _, phone in turns[:count]]


# How fast, and when it is too much.


@dataclass(frozen=True, slots=True)
class Limits:
    """How fast phones are reset.

    Attributes:
        resets_a_minute: over all workers of the campaign.
        under_way: phones between reset and end: each of them asks a TVS of its origin.
        failures: share of a wave's phones that may fail: one more halts the campaign.
        tvs: phones between reset and registration that ask one node's TVS first, that of the first node of their
            Unified CM group at the source. Not known of phones on their way back: there only `under_way` counts. No
            public number says what a TVS stands; the default is cautious.
    """

    resets_a_minute: int = 30
    under_way: int = 100
    failures: float = 0.1
    tvs: int = 50

    def __post_init__(self) -> None:
        if self.resets_a_minute < 1 or self.under_way < 1 or self.tvs < 1 or not 0 <= self.failures <= 1:
            raise SettingsError(
                "limits are one reset a minute or more, one phone under way or more, one phone or more that asks a "
                "TVS, failures from 0 to 1"
            )

    def allowed(self, load: Load, changes: Sequence[Change]) -> list[Change]:
        """Which resets may be requested now, in their order: whoever's TVS has enough to do lets others go first."""
        room = max(0, min(self.resets_a_minute - load.recent, self.under_way - load.under_way))
        asking = Counter(load.by_tvs)
        chosen: list[Change] = []
        for change in changes:
            if len(chosen) >= room:
                break
            node = change.phone.tvs if change.direction is Direction.FORTH else ""
            if node and asking[node] >= self.tvs:
                continue
            asking[node] += 1
            chosen.append(change)
        return chosen

    def stop(self, wave: WaveRecord) -> str | None:
        """Why a wave's failures halt the campaign; None when they don't.

        The share is of all its phones: it only grows, and whoever was skipped is no success.
        """
        failed = wave.failed_forth - wave.accepted_failures
        if failed <= 0 or failed <= self.failures * wave.size:
            return None
        accepted = f", beside {wave.accepted_failures} accepted before" if wave.accepted_failures else ""
        return f"{wave.name}: {failed} of {wave.size} phones failed{accepted}, more than {self.failures:.0%}"


def next_wave(waves: Sequence[WaveRecord]) -> WaveRecord | None:
    """The wave whose turn it is to begin: all before it have ended. None when one is under way, or all have begun."""
    for wave in waves:
        if wave.opened_at is None:
            return wave
        if not wave.resting:
            return None
    return None


def wave_opens(wave: WaveRecord, now: datetime) -> datetime | None:
    """When a wave may reset phones next, `now` when it may."""
    return opens(wave.windows, now)


# Kept with the campaign.


@dataclass(frozen=True, slots=True)
class CampaignSettings:
    """Limits and terms, and where phones serve their pages."""

    limits: Limits = field(default_factory=Limits)
    terms: Terms = field(default_factory=Terms)
    phone_port: int = 80

    def as_json(self) -> dict[str, Any]:
        """For the database; `from_json` reads it."""
        terms = {name: getattr(self.terms, name) for name in Terms.__slots__}
        return {
            "limits": {name: getattr(self.limits, name) for name in Limits.__slots__},
            "terms": {
                name: value.total_seconds() if isinstance(value, timedelta) else str(value)
                for name, value in terms.items()
            },
            "phone_port": self.phone_port,
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> CampaignSettings:
        """Read what `as_json` gave; what is missing is as by default."""
        terms: dict[str, Any] = {
            name: timedelta(seconds=value) if isinstance(value, int | float) else Rule(value)
            for name, value in kept.get("terms", {}).items()
        }
        return cls(Limits(**kept.get("limits", {})), Terms(**terms), kept.get("phone_port", 80))
