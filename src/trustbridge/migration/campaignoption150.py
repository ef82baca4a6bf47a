"""Option 150 of a campaign's scopes: changed before the phones of a wave are reset, changed back before they go back.

    settle = Option150(campaigns, provider)
    if await settle.done(campaign.id): ...      # nothing is wanted of any scope that is not so

Whatever is wanted is done by one worker at a time, kept before it is done and read back after. One that was killed in
between has left what was there before in the database; the scope itself tells whether it got as far as the change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Final

from trustbridge.dhcp.record import Kind, Server
from trustbridge.dhcp.scope import Change, Provider, find_scope
from trustbridge.errors import Refused, SettingsError, TrustbridgeError
from trustbridge.storage.campaignrecords import ScopeRecord
from trustbridge.storage.campaignwork import CampaignWork
from trustbridge.storage.models import ScopeState

#: Opens the provider that a server stands for.
Opener = Callable[[Server], AbstractAsyncContextManager[Provider]]
#: Providers whose changes are in force once they are made: of a file, its daemon has to be told by hand.
AT_ONCE: Final = (Kind.KEA, Kind.CLUSTER)
#: How long a worker is alone with a scope. Longer than a provider takes, with all its time-outs.
_ALONE: Final = timedelta(minutes=3)


class Option150:
    """What a worker does about scopes.

    Args:
        campaigns: in the name of this worker.
        provider: opens one, with its password.
    """

    def __init__(
        self,
        campaigns: CampaignWork,
        provider: Opener,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        noted: Callable[[str], None] = lambda words: None,
    ) -> None:
        self._campaigns = campaigns
        self._provider = provider
        self._now = now
        self._noted = noted

    async def done(self, campaign_id: int) -> bool:
        """Do what is wanted; False while another worker is at it.

        Raises:
            TrustbridgeError: it can't be done. The campaign is paused, and says why.
        """
        whole = True
        for scope in await asyncio.to_thread(self._campaigns.scopes, campaign_id):
            if scope.wanted is scope.state:
                continue
            now = self._now()
            taken = await asyncio.to_thread(self._campaigns.take_scope, scope, now, now + _ALONE)
            if taken is None:
                whole = False
                continue
            try:
                state, words, evidence = await self._do(taken)
            except TrustbridgeError as error:
                reason = f"option 150 was not changed: {error.message}"
                await asyncio.to_thread(self._campaigns.refuse_scope, taken, reason, self._now())
                raise Refused(
                    f"{taken.words}: {error.message}",
                    f"{error.hint or ''} No phone was reset; then go on: trustbridge migrate resume".strip(),
                ) from error
            await asyncio.to_thread(self._campaigns.end_scope, taken, state, words, evidence, self._now())
            self._noted(f"{taken.words}: {words}")
        return whole

    async def _do(self, scope: ScopeRecord) -> tuple[ScopeState, str, list[str]]:
        kept = Change.of_record(scope.change) if scope.change else None
        if scope.wanted is ScopeState.REVERTED:
            if kept is None:
                return ScopeState.REVERTED, "option 150 was never changed", []
            async with self._provider(_server(scope)) as provider:
                return await self._revert(scope, provider, kept)
        async with self._provider(_server(scope)) as provider:
            return await self._apply(scope, provider, kept)

    async def _apply(
        self, scope: ScopeRecord, provider: Provider, kept: Change | None
    ) -> tuple[ScopeState, str, list[str]]:
        there = find_scope(await provider.read(), scope.scope)
        if kept is not None and there.says(kept.after):
            return ScopeState.APPLIED, f"{_from_to(kept)}: it was done before", []
        change = provider.preview(there, scope.servers)
        words = _from_to(change)
        if kept is not None and not there.says(kept.before):
            raise Refused(
                f"option 150 is {there.words}, neither {kept.before.words} as it was found nor {kept.after.words}",
                "Somebody changed it: set what it should be, by hand.",
            )
        await asyncio.to_thread(self._campaigns.begin_scope, scope, change.record(), words, self._now())
        if not change.edits:
            return ScopeState.APPLIED, f"option 150 is {there.words} already", []
        await provider.apply(change)
        await provider.verify(change)
        return ScopeState.APPLIED, words, change.diff.splitlines()

    async def _revert(self, scope: ScopeRecord, provider: Provider, kept: Change) -> tuple[ScopeState, str, list[str]]:
        there = find_scope(await provider.read(), scope.scope)
        words = _from_to(kept.backwards)
        if there.says(kept.before):
            return ScopeState.REVERTED, f"option 150 is {there.words} already", []
        await provider.revert(kept)
        await provider.verify(kept.backwards)
        return ScopeState.REVERTED, words, []


def _from_to(change: Change) -> str:
    return f"option 150 from {change.before.words} to {change.after.words}"


def _server(scope: ScopeRecord) -> Server:
    return Server(Kind(scope.kind), scope.server, scope.user)


def check_kind(server: Server) -> None:
    """Whether a campaign can change option 150 there.

    Raises:
        SettingsError: its daemon would have to be told by hand.
    """
    if server.kind not in AT_ONCE:
        raise SettingsError(
            f"a campaign can't change option 150 in a file of {server.kind}: its daemon has to be told by hand",
            "Use trustbridge option150 set, have the daemon read it, and start with --option150-done.",
        )
