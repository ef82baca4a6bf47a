"""Phones of a rehearsal as they show themselves: watched by their own pages until they have come to an end."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from trustbridge.cucm.clusterreads import ClusterReads
from trustbridge.cucm.https import Patience
from trustbridge.cucm.phoneweb import PhonePages, StatusMessage, read_phone
from trustbridge.errors import TrustbridgeError
from trustbridge.trust.events import Line

#: What phones say of themselves.
UPDATED: Final = "Trust List Updated"
SIGNED: Final = ".cnf.xml.sgn"
#: Phones whose pages are read at the same time.
_AT_ONCE: Final = 16
#: Seconds between two looks at phones that are under way.
PAUSE: Final = 0.25
#: Seconds in which nothing changes on any phone that is waited for: then nothing will.
QUIET: Final = 20.0
_PATIENCE: Final = Patience(connect=5.0, answer=10.0)


@dataclass(frozen=True, slots=True)
class DrivenPhone:
    """A phone as clusters know it: its address is RisPort70's, and "" where no Unified CM has heard of the phone."""

    name: str
    secure: bool
    address: str = ""


@dataclass(frozen=True, slots=True)
class ServedLists:
    """Hashes of the trust lists that a cluster's TFTP nodes serve, in upper case: MD5, SHA-1 and SHA-256, as phones of
    different models show one or another. `ctl` holds "", no list, where the cluster serves none.

    Attributes:
        servers: TFTP nodes by address, subscribers first, two at the most: what option 150 is to name.
    """

    itl: frozenset[str]
    ctl: frozenset[str]
    servers: tuple[str, ...]

    def are_on(self, pages: PhonePages | None) -> bool:
        """Whether a phone says that it holds lists of this cluster, and no others."""
        return pages is not None and pages.network.itl in self.itl and pages.network.ctl in self.ctl


async def served_lists(cluster: ClusterReads) -> ServedLists:
    """What a cluster serves now.

    Raises:
        TrustbridgeError: a node does not answer.
    """
    files = await cluster.trust_list_files()
    publisher = (await cluster.publisher()).name
    serving = {file.node for file in files if file.name == "ITLFile.tlv" and file.content is not None}
    nodes = sorted(await cluster.nodes(), key=lambda node: node.publisher)
    return ServedLists(
        itl=frozenset(_hashes(file.content for file in files if file.name == "ITLFile.tlv")),
        ctl=frozenset(_hashes(file.content for file in files if file.name == "CTLFile.tlv")) or frozenset({""}),
        servers=tuple(node.address for node in nodes if node.name in serving)[:2] or (publisher,),
    )


def _hashes(contents: Iterable[bytes | None]) -> Iterable[str]:
    for content in contents:
        if content is not None:
            for kind in ("md5", "sha1", "sha256"):
                yield hashlib.new(kind, content, usedforsecurity=False).hexdigest().upper()


def new_messages(before: PhonePages | None, after: PhonePages | None) -> tuple[StatusMessage, ...]:
    """What a phone has said since: its status messages without those that were there before."""
    if after is None:
        return ()
    known = () if before is None else before.messages
    for start in range(len(known) + 1):  # a full page forgets its oldest
        kept = known[start:]
        if after.messages[: len(kept)] == kept:
            return after.messages[len(kept) :]
    return after.messages


def as_lines(before: PhonePages | None, after: PhonePages | None) -> list[Line]:
    """The same for people, with what the phone shows of its network."""
    if after is None:
        return []
    said = [Line(f"status: {message.text}", _judged(message.text)) for message in new_messages(before, after)]
    network = after.network
    return [
        Line(f"TFTP servers {', '.join(network.tftp_servers)}"),
        *said,
        Line(f"registered with {network.active}", True) if network.active else Line("not registered", False),
    ]


def _judged(message: str) -> bool | None:
    if "fail" in message.lower():
        return False
    return True if message == UPDATED or message.endswith(SIGNED) else None


@dataclass(slots=True)
class PhoneWatch:
    """The phones' pages, as they were last read.

    Args:
        port: where phones serve them.
        quiet, pause: see the constants.

    Attributes:
        pages: by name; phones that have never answered are not in it.
    """

    port: int = 80
    quiet: float = QUIET
    pause: float = PAUSE
    pages: dict[str, PhonePages] = field(default_factory=dict)

    async def settle(self, phones: Sequence[DrivenPhone], ended: Callable[[], None]) -> None:
        """Wait until phones that were told to start again have done so and are registered.

        A phone has started when it shows new status messages, and is through when it is registered again after that.
        Phones that are not when nothing changes any more are left as they are: their pages say how.

        Args:
            ended: called as each comes to its end.
        """
        before = dict(self.pages)
        waiting = {phone.name: phone for phone in phones}
        seen: dict[str, PhonePages] = {}
        changed = time.monotonic()
        while waiting and time.monotonic() - changed < self.quiet:
            for name, pages in (await self._read(waiting.values())).items():
                if _through(before.get(name), seen.get(name), pages):
                    del waiting[name]
                    ended()
                if pages != seen.get(name):
                    changed = time.monotonic()
                seen[name] = pages
                self.pages[name] = pages
            if waiting:
                await asyncio.sleep(self.pause)

    async def _read(self, phones: Iterable[DrivenPhone]) -> Mapping[str, PhonePages]:
        gate = asyncio.Semaphore(_AT_ONCE)
        found: dict[str, PhonePages] = {}

        async def one(phone: DrivenPhone) -> None:
            async with gate:
                try:
                    found[phone.name] = await read_phone(phone.address, port=self.port, patience=_PATIENCE)
                except TrustbridgeError:  # a phone that starts shows nothing for a while
                    return

        await asyncio.gather(*(one(phone) for phone in phones if phone.address))
        return found


def _through(before: PhonePages | None, previous: PhonePages | None, now: PhonePages) -> bool:
    """Whether a phone has started since `before` and is registered.

    Its pages are read one after the other: only what the network page says after new messages were seen, counts.
    """
    if not now.network.active:
        return False
    if before is None:  # it was switched on, and this is the first look at it
        return True
    return previous is not None and previous.messages == now.messages != before.messages
