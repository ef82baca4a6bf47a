"""Files as a cluster's TFTP nodes give them to one phone: trust lists, its configuration, the firmware it names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from trustbridge.cucm.cluster import Cluster
from trustbridge.cucm.https import Patience
from trustbridge.cucm.model import ClusterEntry, NodeInfo, TrustListFileInfo
from trustbridge.cucm.nodefiles import over_http, over_tftp
from trustbridge.errors import TrustbridgeError
from trustbridge.eventloop import together
from trustbridge.migration.diagnoseseen import ClusterView, ConfigurationFile, NotSeen, configuration_file
from trustbridge.migration.firmware import has_firmware
from trustbridge.migration.proofseen import ClusterSeen, ServedFile, served_file

#: Of `nodefiles`: over HTTP, or over TFTP.
Get = Callable[[ClusterEntry, str, str, str, Patience], Awaitable[bytes | None]]

#: What `NotSeen` calls what a node did not give.
FILES: Final = "its trust lists, and the phone's configuration file"
_LISTS: Final = ("CTLFile.tlv", "ITLFile.tlv")


@dataclass(frozen=True, slots=True)
class _Given:
    """What one node gave: its trust lists, and the phone's file."""

    lists: tuple[ServedFile, ...]
    waiting: ConfigurationFile


async def with_files(
    cluster: Cluster, view: ClusterView, phone: str, wait: Patience, noted: Callable[[NotSeen], None]
) -> ClusterView:
    """The view with what each node serves, over HTTP; over TFTP, too, where only one node is known.

    Args:
        noted: told what could not be had.
    """
    nodes = view.nodes or (NodeInfo(cluster.entry.publisher, cluster.entry.publisher, True),)
    hosts = {node.name: cluster.host(node) if view.nodes else node.address for node in nodes}
    # Where TFTP is all there is, one finds only by waiting that nobody is there.
    ways: tuple[Get, ...] = (over_http, over_tftp) if len(nodes) == 1 else (over_http,)

    async def one(node: NodeInfo) -> _Given | None:
        file = f"{phone}.cnf.xml.sgn"
        try:
            contents = await _read(cluster, node.name, hosts[node.name], (*_LISTS, file), ways, wait)
        except TrustbridgeError as error:
            opening = f"{error.hint} A node on which Cisco Tftp does not run serves none, and need not.".strip()
            noted(NotSeen(f"{cluster.name}/{node.name}", FILES, error.message, opening))
            return None
        found = [served_file(TrustListFileInfo(node.name, *pair), []) for pair in zip(_LISTS, contents, strict=False)]
        lists = tuple(one for one in found if one is not None)
        return _Given(lists, ConfigurationFile(node.name, file, contents[-1]))

    given = await together(*(one(node) for node in nodes))
    found = [one for one in given if one is not None]
    lists = tuple(file for one in found for file in one.lists)
    # The lists name who signs the other files.
    known = [one for file in lists for one in (*((file.signer,) if file.signer else ()), *file.servers)]
    waiting = [configuration_file(one.waiting.node, one.waiting.name, one.waiting.content, known) for one in found]
    checked = await together(*(_with_firmware(cluster, one, hosts[one.node], wait, noted) for one in waiting))
    whole = bool(view.nodes) and len(found) == len(given)
    return replace(view, files=lists, files_whole=whole, configurations=tuple(checked))


async def _read(
    cluster: Cluster, node: str, host: str, names: Sequence[str], ways: Sequence[Get], wait: Patience
) -> list[bytes | None]:
    """Files of a node, the first way that leads to all of them.

    Raises:
        TrustbridgeError: what was in the first way's way.
    """
    first: TrustbridgeError | None = None
    for way in ways:
        try:
            return [await way(cluster.entry, node, host, name, wait) for name in names]
        except TrustbridgeError as error:
            first = first or error
    assert first is not None
    raise first


async def _with_firmware(
    cluster: Cluster, file: ConfigurationFile, host: str, wait: Patience, noted: Callable[[NotSeen], None]
) -> ConfigurationFile:
    """Whether the node has the firmware that it tells the phone to load (TB153): absent where both ways say so."""
    load = "" if file.configuration is None else file.configuration.load
    if not load:
        return file
    try:
        there = await has_firmware(cluster.entry, file.node, host, load, wait)
    except TrustbridgeError as error:
        what = f"whether it has the firmware {load}"
        noted(NotSeen(f"{cluster.name}/{file.node}", what, error.message, error.hint))
        return file
    return replace(file, firmware=there)


def as_observed(view: ClusterView, seen: ClusterSeen) -> ClusterView:
    """With the files that were had in one way or the other; a node on which Cisco Tftp does not run serves none."""
    had = {(file.node, file.name) for file in view.files}
    more = [file for file in seen.files if (file.node, file.name) not in had]
    answered = {one.node for one in view.configurations}
    whole = all(node.files is not None or node.name in answered for node in seen.nodes)
    return replace(view, files=(*view.files, *more), files_whole=whole)
