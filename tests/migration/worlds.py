"""Clusters in memory with the driver's verbs, and a fuse that cuts a run off at any moment.

What is proven on them is the order of things: what is written down before, what is looked at after. That the driver's
verbs do to a cluster what these do is for tests against a running lab.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.migration.surveyed import surveyed

from trustbridge.cucm.model import BulkLine, NodeInfo, TrustedCertificate
from trustbridge.cucm.releases import Abilities
from trustbridge.errors import Refused
from trustbridge.migration.survey import ClusterSurvey
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.stores import TrustStores
from trustbridge.pki.units import IMPORT_STORES, UNITS_OF, BulkType, Store


class Killed(BaseException):
    """The process ends here."""


@dataclass
class Fuse:
    """Burns down with every moment that passes; at 0 the process ends. None never does."""

    left: int | None = None
    passed: int = 0

    def moment(self) -> None:
        self.passed += 1
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Killed


@dataclass
class World:
    """Clusters that share an exchange directory."""

    surveys: dict[str, ClusterSurvey]
    fuse: Fuse = field(default_factory=Fuse)
    bundles: dict[tuple[str, BulkType], tuple[Certificate, ...]] = field(default_factory=dict)
    consolidated: dict[BulkType, tuple[Certificate, ...]] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    refused: set[Certificate] = field(default_factory=set)
    failing: Callable[[str], str | None] = lambda what: None

    def __post_init__(self) -> None:
        self.clusters = {name: FakeCluster(self, one) for name, one in self.surveys.items()}

    @property
    def stores(self) -> dict[str, set[tuple[str, Store, Certificate]]]:
        """What is in every store: (node or "", store, certificate), by cluster."""
        return {name: cluster.everything() for name, cluster in self.clusters.items()}


class FakeCluster:
    """One cluster."""

    def __init__(self, world: World, survey: ClusterSurvey) -> None:
        self.world = world
        self.name = survey.name
        self.survey = survey
        self.held = TrustStores()
        own = {one.certificate for one in survey.identities}
        for one in survey.trusted:
            self.held.add(one.store, one.certificate, "", own=one.certificate in own)
        self.capf = {node: set(held) for node, held in survey.capf_trust.items()}

    def everything(self) -> set[tuple[str, Store, Certificate]]:
        found = {("", store, entry.certificate) for store, entry in self.held}
        return found | {(node, Store.CAPF_TRUST, one) for node, held in self.capf.items() for one in held}

    async def _does(self, what: str, effect: Callable[[], Any]) -> Any:
        """With a moment before it takes effect, and one after."""
        self.world.fuse.moment()
        words = self.world.failing(f"{self.name} {what}")
        if words is not None:
            raise Refused(words)
        self.world.done.append(f"{self.name} {what}")
        result = effect()
        self.world.fuse.moment()
        return result

    async def nodes(self) -> tuple[NodeInfo, ...]:
        return self.survey.nodes

    async def publisher(self) -> NodeInfo:
        return self.survey.nodes[0]

    async def node(self, name: str) -> NodeInfo:
        return next(node for node in self.survey.nodes if node.name == name)

    async def abilities(self) -> Abilities:
        return self.survey.abilities

    async def trusted(self, node: str, store: Store | None = None) -> tuple[TrustedCertificate, ...]:
        self.world.fuse.moment()
        found: list[tuple[Store, Certificate]] = [
            (kept, entry.certificate) for kept, entry in self.held if kept is not Store.CAPF_TRUST
        ]
        found += [(Store.CAPF_TRUST, one) for one in self.capf.get(node, ())]
        return tuple(TrustedCertificate(node, kept, one) for kept, one in found if store in (None, kept))

    async def configure_bulk(self, settings: Any) -> None:
        await self._does("sftp", lambda: None)

    async def bulk_export(self, types: Sequence[BulkType]) -> tuple[BulkLine, ...]:
        def effect() -> None:
            for kind in types:
                mine = [one.certificate for one in self.survey.identities if one.unit in UNITS_OF[kind]]
                self.world.bundles[self.name, kind] = tuple(mine)

        await self._does("export", effect)
        return tuple(BulkLine(f"Successfully exported {kind} certificate(s) to sftp server.", True) for kind in types)

    async def bulk_consolidate(self, types: Sequence[BulkType]) -> tuple[BulkLine, ...]:
        def effect() -> None:
            for kind in types:
                parts = [one for (_, which), held in self.world.bundles.items() if which is kind for one in held]
                self.world.consolidated[kind] = tuple(parts)

        await self._does("consolidate", effect)
        return tuple(BulkLine(f"Successfully consolidated {kind}", True) for kind in types)

    async def bulk_import(self, types: Sequence[BulkType]) -> tuple[BulkLine, ...]:
        own = {one.certificate for one in self.survey.identities}

        def effect() -> None:
            for kind in types:
                for one in self.world.consolidated[kind]:
                    for store in IMPORT_STORES[kind]:
                        if one not in own and one not in self.world.refused:
                            self.held.add(store, one, "import")
                            # A kill may come between any two certificates.
                            self.world.fuse.moment()

        await self._does("import", effect)
        return tuple(BulkLine(f"Successfully imported {kind} certificates.", True) for kind in types)

    async def upload_trust(self, node: str, store: Store, certificates: Sequence[Certificate]) -> None:
        for one in certificates:

            def effect(one: Certificate = one) -> None:
                if store is Store.CAPF_TRUST:
                    self.capf[node].add(one)
                else:
                    self.held.add(store, one, "upload")

            await self._does(f"upload {node} {store} {one.sha256[:8]}", effect)

    async def delete_trusts(
        self, node: str, trusted: Sequence[TrustedCertificate], *, on_gone: Callable[[Certificate], None]
    ) -> None:
        for one in trusted:

            def effect(one: TrustedCertificate = one) -> None:
                if one.store is Store.CAPF_TRUST:
                    self.capf[node].discard(one.certificate)
                else:
                    self.held.remove(one.store, one.certificate)

            there = {(kept.store, kept.certificate) for kept in await self.trusted(node)}
            if (one.store, one.certificate) in there:
                await self._does(f"delete {node} {one.store} {one.certificate.sha256[:8]}", effect)
            on_gone(one.certificate)

    async def restart_service(self, node: str, service: str) -> None:
        await self._does(f"restart {node} {service}", lambda: None)


def two(**changes: Any) -> dict[str, ClusterSurvey]:
    """Two clusters in mixed mode; `changes` are for the first."""
    return {"a": surveyed("a", release="12.0.1", **changes), "b": surveyed("b", release="12.0.1")}
