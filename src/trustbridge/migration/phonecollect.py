"""What can be known of a cluster's phones without touching one: database, registrations, configuration files, pages.

    phones = await collect_phones(cluster, pages=True, configurations="sampled")

A phone's own page is the only witness of the trust lists it holds; its configuration file tells whose TVS it asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import Final, Literal, TypeVar

from trustbridge.cucm.cluster import Cluster
from trustbridge.cucm.https import Patience
from trustbridge.cucm.model import NodeInfo, PhoneInfo, RegistrationInfo
from trustbridge.cucm.nodefiles import over_http
from trustbridge.cucm.phoneweb import PhonePages, read_phone
from trustbridge.cucm.ris import BATCH
from trustbridge.errors import (
    AuthenticationRefused,
    Garbled,
    IdentityChanged,
    InvalidInput,
    TrustbridgeError,
    Unreachable,
)
from trustbridge.migration.phonefacts import PhoneFacts
from trustbridge.trust import configuration
from trustbridge.trust.configuration import Configuration
from trustbridge.trust.models import MODELS
from trustbridge.wire import signedfile

T = TypeVar("T")

#: Told (what, done, total).
Progress = Callable[[str, int, int], None]
#: Whose configuration file is read: each phone's, one of each device pool and security profile, nobody's.
Configurations = Literal["each", "sampled", "none"]

#: Port of phones' web servers.
PAGE_PORT: Final = 80
#: Phones whose pages, and files of one TFTP node, that are read at the same time.
_PAGES_AT_ONCE, _FILES_AT_ONCE = 64, 8
#: Of one device pool and security profile: phones that are tried before their configuration counts as not known.
_SAMPLES: Final = 3
#: Phones that are waited for in vain, with none heard, before no more are: the voice network is out of reach from here.
_GIVE_UP: Final = 128
_PATIENCE: Final = Patience(connect=5.0, answer=10.0)


def _quiet(what: str, done: int, total: int) -> None:
    pass


async def collect_phones(
    cluster: Cluster,
    *,
    pages: bool,
    configurations: Configurations,
    progress: Progress = _quiet,
    page_port: int = PAGE_PORT,
    patience: Patience = _PATIENCE,
    only: Collection[str] | None = None,
) -> list[PhoneFacts]:
    """Facts of every phone in the cluster's database, in its order. Changes nothing.

    What could not be observed is None, with the reason in `missing`.

    Args:
        pages: read each phone's web pages: which trust lists it holds, and its TFTP servers.
        configurations: whose signed configuration files to fetch from a TFTP node, for Unified CM group and security
            mode. With "sampled", phones of one device pool and security profile are taken to be alike.
        page_port: of the phones' web servers.
        patience: for one page, and for one file.
        only: names of the phones that are meant; None for all.

    Raises:
        AuthenticationRefused, IdentityChanged: for any interface.
        TrustbridgeError: the database does not tell the phones.
    """
    progress(f"phones of {cluster.name}", 0, 1)
    infos = [phone async for phone in cluster.phones() if only is None or phone.name in only]
    progress(f"phones of {cluster.name}", 1, 1)
    facts = {info.name: _from_database(info) for info in infos}
    await _registrations(cluster, facts, progress)
    if configurations == "none":
        for name, fact in facts.items():
            facts[name] = _without(fact, "Unified CM group and security mode: configuration files were not asked for")
    else:
        await _Files(cluster, patience, progress).read(infos, facts, sampled=configurations == "sampled")
    if pages:
        await _pages(cluster, facts, page_port, patience, progress)
    else:
        for name, fact in facts.items():
            facts[name] = _without(fact, "trust lists it holds: phone pages were not asked for")
    return list(facts.values())


def model_named_by(words: str) -> str:
    """A phone model as `trust.models` names it, where it is known there; else the cluster's words."""
    name = f"CP-{words.removeprefix('Cisco ').strip()}"
    return name if name in MODELS else words


def _from_database(info: PhoneInfo) -> PhoneFacts:
    return PhoneFacts(info.name, model_named_by(info.model), info.device_pool, info.description)


def _without(fact: PhoneFacts, why: str) -> PhoneFacts:
    return replace(fact, missing=(*fact.missing, why))


def _passable(error: TrustbridgeError) -> str:
    """Why something could not be read, in words. Raises what nobody may pass over again."""
    if isinstance(error, AuthenticationRefused | IdentityChanged):
        raise error
    return error.message


async def _spread(items: Iterable[T], work: Callable[[T], Awaitable[None]], at_once: int) -> None:
    """`work` over all items, some at a time: with as many tasks, however many items there are."""
    left = iter(items)

    async def worker() -> None:
        for item in left:
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(worker())
    except BaseExceptionGroup as errors:
        first: BaseException = errors.subgroup(TrustbridgeError) or errors
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None


# Registrations.


async def _registrations(cluster: Cluster, facts: dict[str, PhoneFacts], progress: Progress) -> None:
    """Where RisPort70 has heard of phones. One call takes 1000 names; the driver keeps to the cluster's allowance."""
    names = list(facts)
    refused = ""
    for start in range(0, len(names), BATCH):
        batch = names[start : start + BATCH]
        progress(f"registrations of {cluster.name}", start, len(names))
        found: dict[str, RegistrationInfo] = {}
        if not refused:  # what keeps one call from being answered keeps the others, too: it is waited for once
            try:
                found = await cluster.registrations(batch)
            except TrustbridgeError as error:
                refused = _passable(error)
        for name in batch:
            one = found.get(name.upper())
            if one is not None:
                facts[name] = replace(facts[name], status=one.status, address=one.address)
            else:
                facts[name] = _without(facts[name], f"registration: {refused or 'no Unified CM has heard of it'}")
    progress(f"registrations of {cluster.name}", len(names), len(names))


# Configuration files.


class _Files:
    """Phones' configuration files, from the first TFTP node that serves them."""

    def __init__(self, cluster: Cluster, patience: Patience, progress: Progress) -> None:
        self._cluster = cluster
        self._patience = patience
        self._progress = progress
        self._nodes: list[NodeInfo] = []
        self._names: dict[str, str] = {}
        self._silent = ""

    async def read(self, infos: Sequence[PhoneInfo], facts: dict[str, PhoneFacts], *, sampled: bool) -> None:
        """Fill in group and security mode."""
        classes: dict[tuple[str, ...], list[str]] = {}
        for info in infos:
            key = (info.device_pool, info.security_profile) if sampled else (info.name,)
            classes.setdefault(key, []).append(info.name)
        try:
            self._nodes = list(await self._cluster.nodes())
        except TrustbridgeError as error:
            self._silent = _passable(error)
        self._names = {
            word.casefold(): node.name
            for node in self._nodes
            for word in (node.address, self._cluster.host(node), node.name)
        }
        done = 0

        async def one(members: list[str]) -> None:
            nonlocal done
            await self._read_class(members, facts)
            done += 1
            self._progress(f"configuration files of {self._cluster.name}", done, len(classes))

        await _spread(classes.values(), one, _FILES_AT_ONCE)

    async def _read_class(self, members: Sequence[str], facts: dict[str, PhoneFacts]) -> None:
        """Phones that are alike."""
        why = ""
        for sample in members[:_SAMPLES]:
            found = await self._configuration(sample)
            if isinstance(found, str):
                why = why or found
                continue
            group = tuple(self._node_named(member.name) for member in found.call_managers)
            for name in members:
                facts[name] = replace(facts[name], group=group, security_mode=found.security_mode)
                if name != sample:
                    alike = f"Unified CM group and security mode: its own file was not read, that of {sample} was, "
                    facts[name] = _without(facts[name], f"{alike}of the same device pool and security profile")
            return
        for name in members:
            facts[name] = _without(facts[name], f"Unified CM group and security mode: {why}")

    def _node_named(self, name: str) -> str:
        """A member of a group by its node's name; as the file has it, where it is none of the cluster's nodes."""
        return self._names.get(name.casefold()) or self._names.get(name.casefold().partition(".")[0]) or name

    async def _configuration(self, phone: str) -> Configuration | str:
        """A phone's configuration, or why it is not known."""
        file = f"{phone}.cnf.xml.sgn"
        while self._nodes:
            node = self._nodes[0]
            try:
                content = await over_http(
                    self._cluster.entry, node.name, self._cluster.host(node), file, self._patience
                )
            except (Unreachable, Garbled) as error:
                self._silent = self._silent or error.message
                if self._nodes and self._nodes[0] is node:  # others may have found out meanwhile
                    self._nodes.pop(0)
                continue
            if content is None:
                # Of a phone whose file is encrypted there is no such one, and nobody else can read the one there is.
                return f"{node.name} serves no {file}"
            try:
                return configuration.parse(signedfile.decode(content).content)
            except InvalidInput as error:
                return f"{file} of {node.name}: {error.message}"
        return self._silent or "no node serves files over HTTP"


# Pages.


async def _pages(
    cluster: Cluster, facts: dict[str, PhoneFacts], port: int, patience: Patience, progress: Progress
) -> None:
    """What each phone says of itself."""
    what = f"phone pages of {cluster.name}"
    done = in_vain = 0
    heard = False

    async def one(name: str) -> None:
        nonlocal done, heard, in_vain
        if in_vain >= _GIVE_UP and not heard:
            why = f"no page was waited for, after {_GIVE_UP} others in vain: is the voice network in reach of here?"
            facts[name] = _without(facts[name], f"trust lists it holds: {why}")
        elif not facts[name].address:
            facts[name] = _without(facts[name], "trust lists it holds: no address is known to read its page at")
        else:
            facts[name], waited = await _with_page(facts[name], port, patience)
            in_vain += waited
            heard = heard or not waited
        done += 1
        progress(what, done, len(facts))

    await _spread(list(facts), one, _PAGES_AT_ONCE)


async def _with_page(fact: PhoneFacts, port: int, patience: Patience) -> tuple[PhoneFacts, bool]:
    """The fact with what the phone's page says, and whether it was waited for in vain.

    Who refuses the connection is there, and answers at once: its web access is off.
    """
    try:
        pages = await read_phone(fact.address, port=port, patience=patience)
    except TrustbridgeError as error:
        waited = isinstance(error.__cause__, TimeoutError)
        return _without(fact, f"trust lists it holds: {error.message}"), waited
    if pages.name and pages.name != fact.name.upper():
        # An address that another phone has by now: what it says is no fact about this one.
        why = f"trust lists it holds: at its address {fact.address} answers {pages.name}"
        return _without(fact, why), False
    return _with_network(fact, pages), False


def _with_network(fact: PhoneFacts, pages: PhonePages) -> PhoneFacts:
    network = pages.network
    unsaid = [what for what, value in (("ITL", network.itl), ("CTL", network.ctl)) if value is None]
    found = replace(
        fact,
        itl=network.itl,
        ctl=network.ctl,
        alternate_tftp=network.alternate_tftp,
        tftp_servers=network.tftp_servers,
    )
    return (
        _without(found, f"trust lists it holds: its page tells no hash of its {' and '.join(unsaid)}")
        if unsaid
        else found
    )
