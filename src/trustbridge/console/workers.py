"""Workers of campaigns in this server: one for each campaign that has something to be done, started again when it ends.

Pause, resume and rollback only write into the database, as the command line does; whoever works on the campaign sees it
there. Workers of other servers and of the command line may be at the same campaign.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from trustbridge import eventloop
from trustbridge.errors import TrustbridgeError
from trustbridge.migration.campaignoption150 import Option150
from trustbridge.migration.campaignplan import CampaignSettings
from trustbridge.migration.campaignrun import Watcher, Worker
from trustbridge.migration.campaignsite import Site
from trustbridge.storage.campaignrecords import CampaignRecord
from trustbridge.storage.campaignwork import CampaignWork
from trustbridge.storage.models import CampaignState

if TYPE_CHECKING:
    from trustbridge.console.desk import Desk

log = logging.getLogger(__name__)
#: Seconds between two looks at what there is to do.
EACH: Final = 2.0
#: How long a worker that failed is left alone, at first and at the most: too many wrong passwords lock an account.
_AGAIN: Final = timedelta(seconds=30)
_AT_MOST: Final = timedelta(minutes=10)
#: Seconds that workers have for their end when the server stops; what they leave behind the next one finds.
_PATIENCE: Final = 10.0


@dataclass(frozen=True, slots=True)
class WorkerView:
    """What a page says of a campaign's worker in this server.

    Attributes:
        at_work: there is one now.
        error, hint: why the last one ended before its time; "" for none.
        again_at: when the next one is tried.
        note: what it said last, such as that a cluster does not answer.
    """

    at_work: bool = False
    error: str = ""
    hint: str = ""
    again_at: datetime | None = None
    note: str = ""


@dataclass(slots=True)
class _Hand:
    thread: threading.Thread | None = None
    loop: asyncio.AbstractEventLoop | None = None
    stop: asyncio.Event | None = None
    stopped: bool = False
    failures: int = 0
    error: TrustbridgeError | None = None
    again_at: datetime | None = None
    seen: tuple[str, datetime] | None = None
    note: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def at_work(self) -> bool:
        return self.thread is not None and self.thread.is_alive()

    def end(self) -> None:
        with self.lock:
            self.stopped = True
            if self.loop is not None and self.stop is not None:
                self.loop.call_soon_threadsafe(self.stop.set)


class Workers:
    """The workers of this server.

    Args:
        active: False: none are started; campaigns are worked on from elsewhere.
    """

    def __init__(self, desk: Desk, *, active: bool) -> None:
        self._desk = desk
        self.active = active
        self._hands: dict[str, _Hand] = {}
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """The server begins."""
        if self.active:
            self._task = asyncio.create_task(self._tend_always(), name="workers")

    async def close(self) -> None:
        """The server ends: workers end after what they are doing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for hand in self._hands.values():
            hand.end()
        threads = [hand.thread for hand in self._hands.values() if hand.thread is not None]
        await asyncio.to_thread(_join, threads)

    def of(self, campaign: str) -> WorkerView:
        """A campaign's."""
        hand = self._hands.get(campaign)
        if hand is None:
            return WorkerView()
        error = None if hand.at_work else hand.error
        return WorkerView(
            hand.at_work,
            "" if error is None else error.message,
            "" if error is None else error.hint,
            None if error is None else hand.again_at,
            hand.note,
        )

    @property
    def at_work(self) -> int:
        """How many there are."""
        return sum(hand.at_work for hand in self._hands.values())

    async def _tend_always(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self.tend)
            except TrustbridgeError as error:
                log.warning("what campaigns there are is not known: %s", error)
            except Exception:
                log.exception("workers are not looked after")
            await asyncio.sleep(EACH)

    def tend(self) -> None:
        """Start workers where there is something to do, and none at it in this server.

        Raises:
            TrustbridgeError: the database does not answer.
        """
        for campaign in self._desk.campaigns.all():
            hand = self._hands.setdefault(campaign.name, _Hand())
            # What somebody did to the campaign is a reason to try at once: they may have mended what was wrong.
            mark = (str(campaign.state), campaign.changed_at)
            if hand.seen != mark and not hand.at_work and not self._paused_by(hand, campaign):
                hand.failures, hand.again_at = 0, None
            hand.seen = mark
            waits = hand.again_at is not None and self._desk.now() < hand.again_at
            if hand.at_work or waits or not self._something_to_do(campaign):
                continue
            hand.stopped, hand.note = False, ""
            hand.thread = threading.Thread(
                target=self._run, args=(campaign, hand), name=f"campaign {campaign.name}", daemon=True
            )
            hand.thread.start()

    @staticmethod
    def _paused_by(hand: _Hand, campaign: CampaignRecord) -> bool:
        """Whether it was paused because of the worker's own failure: nothing has been mended by that."""
        return hand.error is not None and campaign.state is CampaignState.PAUSED

    def _something_to_do(self, campaign: CampaignRecord) -> bool:
        if campaign.state is CampaignState.PLANNED:
            return False
        return campaign.state is CampaignState.RUNNING or self._desk.campaigns.left(campaign.id)[0] > 0

    def _run(self, campaign: CampaignRecord, hand: _Hand) -> None:
        """A thread's whole life."""
        try:
            eventloop.run(self._work(campaign, hand))
            hand.error, hand.failures, hand.again_at = None, 0, None
            return
        except TrustbridgeError as error:
            hand.error = error
            log.warning("campaign %s: %s", campaign.name, error)
        except Exception as error:
            hand.error = TrustbridgeError(
                f"trustbridge itself failed: {type(error).__name__}",
                "This is a fault of the program. The server's log shows what happened.",
            )
            log.exception("the worker of campaign %s failed", campaign.name)
        finally:
            with hand.lock:
                hand.loop = hand.stop = None
        hand.failures += 1
        hand.again_at = self._desk.now() + min(_AGAIN * 2 ** min(hand.failures - 1, 10), _AT_MOST)

    async def _work(self, campaign: CampaignRecord, hand: _Hand) -> None:
        stop = asyncio.Event()
        with hand.lock:
            hand.loop, hand.stop = asyncio.get_running_loop(), stop
            if hand.stopped:
                return
        # A name of its own: leases of another worker of this process are not its.
        campaigns = CampaignWork(self._desk.engine, f"{self._desk.by}:{secrets.token_hex(4)}")

        def noted(words: str) -> None:
            hand.note = words
            log.info("campaign %s: %s", campaign.name, words)

        settings = CampaignSettings.from_json(campaign.settings)
        option150 = Option150(campaigns, self._desk.provider, noted=noted)
        async with (
            self._desk.opened([campaign.source, campaign.destination]) as clusters,
            Site.opened(
                clusters[campaign.source],
                clusters[campaign.destination],
                phone_port=settings.phone_port,
                settle=settings.terms.settle,
                noted=noted,
            ) as site,
        ):
            watcher = Watcher(noted=noted)
            await Worker(campaigns, campaign.name, site, watcher=watcher, stop=stop, option150=option150).run()


def _join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(_PATIENCE)
