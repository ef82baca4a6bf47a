"""What a campaign needs of a cluster, and which trust lists a cluster serves now."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from trustbridge.cucm.model import NodeInfo, RegistrationInfo, TrustListFileInfo
from trustbridge.cucm.phoneweb import PhonePages


class CampaignCluster(Protocol):
    """What a campaign needs of a cluster; `cucm.Cluster` has it."""

    name: str

    async def nodes(self) -> tuple[NodeInfo, ...]:
        """Its nodes."""

    def host(self, node: NodeInfo) -> str:
        """Where a node is reached."""

    async def trust_list_files(self) -> tuple[TrustListFileInfo, ...]:
        """What its nodes serve."""

    async def registrations(self, names: Sequence[str]) -> dict[str, RegistrationInfo]:
        """Where phones are registered."""

    def unheard(self) -> frozenset[str]:
        """Nodes that had no answer of their own to the last question for registrations."""

    async def reset_phones(self, names: Sequence[str]) -> None:
        """Reset phones."""


@dataclass(frozen=True, slots=True)
class Served:
    """Hashes of the trust lists that a cluster's nodes serve, MD5, SHA-1 and SHA-256 in upper case, as phones show one
    or another; `ctl` holds "", no list, where it serves none. `addresses` are its nodes', in every spelling."""

    itl: frozenset[str]
    ctl: frozenset[str]
    addresses: frozenset[str]

    def has(self, node: str) -> bool:
        """Whether a node, as a phone names it, is one of its."""
        name = node.casefold()
        short = "" if name[:1].isdecimal() else name.partition(".")[0]
        return bool(name) and not self.addresses.isdisjoint((name, short or name))

    def are_on(self, pages: PhonePages) -> bool:
        """Whether a phone shows lists of this cluster, and none of another."""
        network = pages.network
        return bool(network.itl) and network.itl in self.itl and (network.ctl is None or network.ctl in self.ctl)


async def served(cluster: CampaignCluster) -> Served:
    """What a cluster serves now.

    Raises:
        TrustbridgeError: a node does not answer.
    """
    files = await cluster.trust_list_files()
    nodes = await cluster.nodes()
    return Served(
        itl=frozenset(_hashes(file.content for file in files if file.name == "ITLFile.tlv")),
        ctl=frozenset(_hashes(file.content for file in files if file.name == "CTLFile.tlv")) or frozenset({""}),
        addresses=frozenset(
            word.casefold() for node in nodes for word in (node.name, node.address, cluster.host(node))
        ),
    )


def _hashes(contents: Iterable[bytes | None]) -> Iterable[str]:
    for content in contents:
        if content is not None:
            for kind in ("md5", "sha1", "sha256"):
                yield hashlib.new(kind, content, usedforsecurity=False).hexdigest().upper()
