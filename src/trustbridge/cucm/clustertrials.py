"""Whether an interface of a publisher serves, tried for itself: no other one stands in for it."""

from __future__ import annotations

from typing import Final

from trustbridge.cucm.axl import Axl
from trustbridge.cucm.certmgr import CertificateRest
from trustbridge.cucm.clusterreads import TRUST_LISTS, ClusterReads, release_said
from trustbridge.cucm.model import Interface
from trustbridge.cucm.releases import for_release
from trustbridge.cucm.ris import ControlCenter, Ris
from trustbridge.errors import NotSupported, Unreachable

#: A phone nobody has: asking about it is asking whether anybody answers.
_NOBODY: Final = "SEP000000000000"


class ClusterTrials(ClusterReads):
    """Interfaces of one cluster's publisher, one at a time."""

    async def try_interface(self, interface: Interface) -> str:
        """Use one interface of the publisher and no other; what it told, in words.

        Raises:
            NotSupported: the release has no such interface, or the publisher is not meant to offer it.
            TrustbridgeError: it does not serve.
        """
        return await self._access.with_realm(interface, lambda: self._try(interface))

    async def _try(self, interface: Interface) -> str:
        host = self.entry.publisher
        match interface:
            case Interface.CLI:
                self._release = await self._by_cli(host, "show version active", release_said)
                return f"release {self._release}"
            case Interface.REST:
                if self._release is not None and not for_release(self._release).abilities.rest:
                    raise NotSupported(f"release {self._release} has none: it came with 14")
                snapshot = await CertificateRest(await self._https(host, interface)).snapshot()
                counts = len(snapshot.identities.listed), len(snapshot.trusts.listed)
                return f"{counts[0]} certificates of its own and {counts[1]} trusted"
            case Interface.AXL:
                return f"release {await self._by_axl(Axl.release)}"
            case Interface.RIS:
                await Ris(await self._https(host, interface)).registrations([_NOBODY])
                return "answers about phones"
            case Interface.CONTROL_CENTER:
                services = await ControlCenter(await self._https(host, interface)).services()
                return f"{sum(one.running for one in services)} of {len(services)} services run"
            case Interface.HTTP_FILES | Interface.TFTP:
                return await self._try_files(host, interface)
        raise NotSupported(f"{interface} is not an interface of a publisher")

    async def _try_files(self, host: str, interface: Interface) -> str:
        name = TRUST_LISTS[-1]
        try:
            content = await self._access.file(self.name, host, name, interface)
        except Unreachable:
            if await self._serves_files(await self.publisher()):
                raise
            raise NotSupported(
                f"{self.name}: Cisco Tftp does not run on the publisher, so it serves no files",
                "That is as it should be where other nodes serve them.",
            ) from None
        return f"it serves no {name}" if content is None else f"{name} has {len(content)} bytes"
