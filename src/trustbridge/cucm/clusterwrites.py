"""What the driver changes on a cluster. Each change is announced as a `Write` before it is done, and kept after.

A change goes one way: only where that way says that it does not offer it, so that nothing has been done, another is
taken, and announced anew. With `dry_run` changes are announced, reads are done, and nothing is changed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from trustbridge.cucm import text
from trustbridge.cucm.access import Access
from trustbridge.cucm.axl import NotThere, check_tftp_servers
from trustbridge.cucm.clusterreads import ClusterReads, single
from trustbridge.cucm.dialogue import Answers, bulk_sftp_answers
from trustbridge.cucm.model import BulkLine, ClusterEntry, DhcpSubnet, Interface, NodeInfo, TrustedCertificate, Write
from trustbridge.cucm.ris import ControlCenter
from trustbridge.cucm.ways import Detour, Way, Ways
from trustbridge.errors import NotSupported, Refused, SettingsError
from trustbridge.exchange.directory import SftpSettings
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.units import BulkType, Store

_log = logging.getLogger(__name__)

T = TypeVar("T")

#: Phones that are reset at the same time.
_AT_ONCE: Final = 4
#: Importing these restarts phones, from 12.5 on (TB145).
_RESTARTING: Final = (BulkType.TFTP, BulkType.CAPF)
_CONFIRM: Final[Answers] = {r"\byes\s*[/|]": "yes", r"\by\s*[/|]": "y"}
_PASTE: Final = "paste"


class ClusterWrites(ClusterReads):
    """Changes to one cluster.

    Args:
        dry_run: only announce.
        on_write: told each change before it is done.
    """

    def __init__(
        self,
        entry: ClusterEntry,
        access: Access,
        ways: Ways,
        *,
        dry_run: bool = False,
        on_write: Callable[[Write], None] | None = None,
    ) -> None:
        super().__init__(entry, access, ways)
        self.dry_run = dry_run
        self._on_write = on_write
        self._written: list[Write] = []

    def written(self) -> tuple[Write, ...]:
        """What was done, in order; nothing with `dry_run`."""
        return tuple(self._written)

    # Bulk certificate management, on the publisher, which only its command line offers.

    async def configure_bulk(self, settings: SftpSettings) -> None:
        """Tell the publisher its SFTP server.

        Raises:
            SettingsError: there is no password: a publisher logs in with one and nothing else.
            Refused: the publisher does not take it.
        """
        password = settings.password
        if password is None:
            raise SettingsError(
                f"a publisher logs in to its SFTP server with a password, and there is none for {settings.server}",
                "Name one. A key file is of no use to it.",
            )
        node = await self.publisher()

        async def do() -> None:
            cli = await self._access.cli(node.name, self.host(node))
            answers = bulk_sftp_answers(
                cli.texts,
                host=settings.host,
                port=settings.port,
                username=settings.username,
                password=password,
                directory=settings.directory,
            )
            change = text.parse_change(await cli.run("set cert bulk sftp", answers))
            if not change.done:
                raise Refused(f"{node.name} (command line): the SFTP server was not set: {change.words[:200]}")

        what = f"set the SFTP server of bulk certificate management: {settings.describe()}"
        await self._change(self.name, what, "replaces the one that is set", node, [Way(Interface.CLI, do)])

    async def bulk_export(self, types: Sequence[BulkType] | None = None) -> tuple[BulkLine, ...]:
        """Export the cluster's certificates; None: every type the release knows. Gives the publisher's answers."""
        return await self._bulk("export", types, "writes certificate files to the SFTP server")

    async def bulk_consolidate(self, types: Sequence[BulkType] | None = None) -> tuple[BulkLine, ...]:
        """Consolidate what clusters have exported; as `bulk_export`."""
        return await self._bulk("consolidate", types, "writes one file a type to the SFTP server")

    async def bulk_import(self, types: Sequence[BulkType] | None = None) -> tuple[BulkLine, ...]:
        """Import what was consolidated; as `bulk_export`."""
        abilities = await self.abilities()
        chosen = abilities.bulk_types if types is None else types
        effect = "adds the other clusters' certificates to the trust stores of all nodes"
        if abilities.restarts_phones_on_import and any(kind in _RESTARTING for kind in chosen):
            effect += "; restarts phones (TB145)"
        return await self._bulk("import", types, effect)

    async def _bulk(self, verb: str, types: Sequence[BulkType] | None, effect: str) -> tuple[BulkLine, ...]:
        known = (await self.abilities()).bulk_types
        chosen = known if types is None else tuple(dict.fromkeys(types))
        unknown = [kind for kind in chosen if kind not in known]
        if unknown:
            raise NotSupported(
                f"{self.name}: bulk {verb} of release {await self.release()} does not know {', '.join(unknown)}",
                f"It knows {', '.join(known)}.",
            )
        node = await self.publisher()

        async def do() -> tuple[BulkLine, ...]:
            cli = await self._access.cli(node.name, self.host(node))
            found: list[BulkLine] = []
            for kind in ("all",) if set(chosen) == set(known) else chosen:
                command = f"set cert bulk {verb} {kind}"
                patience = self._access.patience.long_command
                said = await cli.run(command, _CONFIRM, timeout=patience, tolerate_refusal=True)
                found += text.parse_bulk(said)
            return tuple(found)

        if not chosen:
            return ()
        what = f"bulk {verb} of {', '.join(chosen)} certificates"
        return await self._change(self.name, what, effect, node, [Way(Interface.CLI, do)]) or ()

    # Trust stores.

    async def upload_trust(self, node: str, store: Store, certificates: Sequence[Certificate]) -> None:
        """Put certificates into a trust store; those that are there are passed over. It replicates, but CAPF-trust.

        Raises:
            Refused: the node takes one not; those before it are there.
        """
        if not certificates:
            return
        info = await self.node(node)

        async def by_rest() -> None:
            await (await self._rest(info)).upload_trust(store, certificates)

        async def by_cli() -> None:
            cli = await self._access.cli(info.name, self.host(info))
            unit = store.removesuffix("-trust")
            for one in certificates:
                change = text.parse_change(await cli.run(f"set cert import trust {unit}", {_PASTE: one.pem()}))
                if not change.done:
                    raise Refused(
                        f"{info.name} (command line): {store} did not take {one.subject}: {change.words[:200]}"
                    )

        names = ", ".join(one.subject for one in certificates)
        alone = store is Store.CAPF_TRUST
        effect = "on this node alone (TB147)" if alone else "replicates to every node; services want a restart (TB149)"
        ways = await self._certificate_ways(by_rest, by_cli)
        await self._change(f"{self.name}/{info.name}", f"add to {store}: {names}", effect, info, ways)

    async def delete_trust(self, node: str, trusted: TrustedCertificate) -> None:
        """Remove a certificate from a trust store: this very one, whatever name the node has for it now.

        What is not there is passed over. Raises as `delete_trusts` does.
        """
        await self.delete_trusts(node, [trusted])

    async def delete_trusts(
        self,
        node: str,
        trusted: Sequence[TrustedCertificate],
        *,
        on_gone: Callable[[Certificate], None] = lambda certificate: None,
    ) -> None:
        """Remove certificates from one trust store of a node; as `delete_trust`, reading the store once for all.

        Args:
            trusted: all of one store.
            on_gone: told each certificate that has been seen not to be there.

        Raises:
            Refused: the node does not remove one, or has it again at once. Those before it are gone.
        """
        info = await self.node(node)
        for store in dict.fromkeys(one.store for one in trusted):
            wanted = [one for one in trusted if one.store is store]
            held = await self._held(info, store, wanted)
            for one in wanted:
                if one.certificate not in held:
                    on_gone(one.certificate)
            for one in held.values():
                await self._delete(info, one)
            if held and not self.dry_run:
                left = await self._held(info, store, list(held.values()))
                for certificate in held:
                    if certificate not in left:
                        on_gone(certificate)
                for one in left.values():
                    raise Refused(
                        f"{info.name} (command line): {store}/{one.name} was removed and is there again",
                        "Before 11.0 other nodes copy it back: remove it on each, with Certificate Change Notification "
                        "stopped (TB148).",
                    )

    async def _delete(self, info: NodeInfo, found: TrustedCertificate) -> None:
        async def do() -> None:
            cli = await self._access.cli(info.name, self.host(info))
            change = text.parse_change(await cli.run(f"set cert delete {found.store} {found.name}", _CONFIRM))
            if not change.done:
                raise Refused(
                    f"{info.name} (command line): {found.store}/{found.name} was not removed: {change.words[:200]}"
                )

        everywhere = (await self.abilities()).deletes_on_all_nodes and found.store is not Store.CAPF_TRUST
        effect = "removes it from every node, with no undo (TB148)" if everywhere else "removes it from this node"
        what = f"remove from {found.store}: {found.certificate.subject}"
        await self._change(f"{self.name}/{info.name}", what, effect, info, [Way(Interface.CLI, do)])

    async def _held(
        self, info: NodeInfo, store: Store, wanted: Sequence[TrustedCertificate]
    ) -> dict[Certificate, TrustedCertificate]:
        """Those of `wanted` that a store holds, as the command line names them: REST has other names for files."""

        async def ask() -> tuple[TrustedCertificate, ...]:
            return await self._trusted_by_cli(info, store)

        held = await self._ways.first(f"{store} of {info.name}", self.host(info), [Way(Interface.CLI, ask)])
        certificates = {one.certificate for one in wanted}
        return {one.certificate: one for one in held if one.certificate in certificates}

    # Phones and services.

    async def reset_phones(self, names: Sequence[str]) -> None:
        """Reset phones; the cluster tells them and does not wait.

        All are tried though some are refused, as one that the database does not know; then the first refusal is raised.
        Whatever else goes wrong ends it, as it would with the next phone.
        """
        chosen = tuple(dict.fromkeys(names))
        if not chosen:
            return

        async def do() -> None:
            axl = await self._axl_client()
            refused: list[Refused] = []
            told: list[str] = []
            waiting = iter(chosen)

            async def some() -> None:
                for name in waiting:
                    try:
                        await axl.reset(name)
                        told.append(name)
                    except Refused as error:
                        if type(error) not in (Refused, NotThere):
                            raise
                        refused.append(error)

            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(_AT_ONCE):
                        group.create_task(some())
            except BaseExceptionGroup as errors:
                error = single(errors)
                if len(chosen) > 1:
                    error.hint = (
                        f"{error.hint} Told before: {len(told)} of {len(chosen)} phones, or some more.".lstrip()
                    )
                raise error from None
            if refused:
                raise refused[0]

        shown = ", ".join(chosen[:10]) + (f" and {len(chosen) - 10} more" if len(chosen) > 10 else "")
        node = await self.publisher()
        effect = "calls on them end when they are reset"
        await self._change(self.name, f"reset {len(chosen)} phones: {shown}", effect, node, [Way(Interface.AXL, do)])

    async def set_tftp_servers(self, subnet: DhcpSubnet, servers: Sequence[str]) -> None:
        """Change option 150 of a subnet whose DHCP server is the cluster itself: one server, or two.

        What it says already is passed over.

        Raises:
            Refused: other than one or two servers; the subnet is gone; or the cluster does not take them.
        """
        chosen = check_tftp_servers(servers)
        # As it is now: whoever goes back holds the subnet as it was before the change.
        now = next((one for one in await self.dhcp_subnets() if one.identifier == subnet.identifier), None)
        if now is None:
            raise Refused(f"{self.name} (AXL): there is no DHCP subnet {subnet.address} any more", "List them anew.")
        if chosen == now.tftp_servers:
            return

        async def do() -> None:
            await (await self._axl_client()).set_tftp_servers(now, chosen)

        before = ", ".join(now.tftp_servers) or "none"
        what = f"change option 150 of subnet {now.address} from {before} to {', '.join(chosen)}"
        effect = "phones go there when their lease renews, or when they are reset"
        await self._change(self.name, what, effect, await self.publisher(), [Way(Interface.AXL, do)])

    async def restart_service(self, node: str, service: str) -> None:
        """Restart a service of a node.

        Raises:
            Refused: there is no such service, or it is not up afterwards.
        """
        info = await self.node(node)
        host = self.host(info)

        async def by_control_center() -> None:
            https = await self._https(host, Interface.CONTROL_CENTER, info.name)
            await ControlCenter(https).restart(service, node=info.name)

        async def by_cli() -> None:
            cli = await self._access.cli(info.name, host)
            patience = self._access.patience.long_command
            said = await cli.run(f"utils service restart {service}", _CONFIRM, timeout=patience)
            if not any(one.name == service and one.running for one in text.parse_services(said)):
                raise Refused(
                    f"{info.name} (command line): {service} is not up after its restart", "See `utils service list`."
                )

        ways = [Way(Interface.CONTROL_CENTER, by_control_center), Way(Interface.CLI, by_cli)]
        await self._change(f"{self.name}/{info.name}", f"restart {service}", "it is down meanwhile", info, ways)

    # Announced, done, kept.

    async def _change(self, target: str, what: str, effect: str, node: NodeInfo, ways: Sequence[Way[T]]) -> T | None:
        """Announce and do it the first way there is a password for; the next, if that way does not offer it."""
        chosen = self._ways.in_order(self.host(node), ways)
        for place, way in enumerate(chosen):
            write = Write(target, what, effect, way.interface)
            _log.info("%s%s: %s, by %s", "dry run: " if self.dry_run else "", target, what, way.interface)
            if self._on_write is not None:
                self._on_write(write)
            if self.dry_run:
                return None
            try:
                done = await self._access.with_realm(way.interface, way.ask)
            except NotSupported as error:
                if place == len(chosen) - 1:
                    raise
                self._ways.detours.append(Detour(what, way.interface, error.message))
                continue
            self._ways.taken[what] = way.interface
            self._written.append(write)
            return done
        raise AssertionError("there is always a way")
