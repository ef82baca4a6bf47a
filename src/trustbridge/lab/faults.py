"""What can be made to go wrong in a lab that runs, so that one sees beforehand what it looks like.

Faults last until they are cleared, or the lab is taken down.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from trustbridge.errors import SettingsError
from trustbridge.lab.lab import Lab
from trustbridge.lab.node import Node
from trustbridge.services.httpsnode import UNDISTURBED, Disturbance

#: What can be wrong with a node's HTTPS, by the word for it.
HTTPS: Final[Mapping[str, Disturbance]] = {
    "refuse": Disturbance(refuse=True),
    "slow": Disturbance(delay=5.0),
    "busy": Disturbance(busy=True),
    "garble": Disturbance(garble=True),
    "cut": Disturbance(cut_after=100),
    "hang-up": Disturbance(hang_up=True),
    "none": UNDISTURBED,
}


async def spoil_node(
    lab: Lab,
    name: str,
    *,
    stop: str | None = None,
    start: str | None = None,
    https: str | None = None,
    freeze_tvs: bool | None = None,
    replicate: bool | None = None,
) -> dict[str, Any]:
    """Make something go wrong with a node, or well again; what is then wrong with it.

    Args:
        stop, start: a service, as `utils service list` names it.
        https: a key of `HTTPS`.
        freeze_tvs: its TVS keeps answering by what it knew, until it is restarted (TB103).
        replicate: whether what the publisher imports reaches it (TB102).

    Raises:
        SettingsError: there is no such node, service or fault; or the node is the publisher, from which all replicate.
        PortTaken: somebody else took the port of a service meanwhile.
    """
    node = _node(lab, name)
    if https is not None:
        if https not in HTTPS:
            raise SettingsError(f"HTTPS can't be made to {https!r}", f"It can {', '.join(HTTPS)}.")
        disturbance = HTTPS[https]
        node.https_disturbed = lambda path: disturbance
    if freeze_tvs is not None:
        node.tvs_frozen = freeze_tvs
        node.refresh_stores()
    if replicate is not None:
        node.cluster.set_replicated(name, replicate)
    if stop is not None:
        if not node.running(stop):
            raise SettingsError(f"{stop} does not run on {name}", f"There run {', '.join(sorted(node.services))}.")
        await node.stop_service(stop)
    if start is not None:
        try:
            await node.restart(start)
        except KeyError:
            raise SettingsError(f"{name} has no service {start!r}", "See `utils service list` on it.") from None
    return faults(lab)


def spoil_cluster(lab: Lab, name: str, *, axl_busy: int | None = None, axl_rows: int | None = None) -> dict[str, Any]:
    """The same for what a cluster's nodes share.

    Args:
        axl_busy: so many of the next AXL requests are turned away with HTTP 503.
        axl_rows: more rows than this are too large an answer; 0 for the usual bound.
    """
    lab.cluster(name)
    limits = lab.apis[name].axl_limits
    if axl_busy is not None:
        limits.busy = axl_busy
    if axl_rows is not None:
        limits.max_rows = axl_rows or None
    return faults(lab)


def clear(lab: Lab) -> dict[str, Any]:
    """Everything is well again, but services that were stopped: those are started one by one."""
    for apis in lab.apis.values():
        apis.axl_limits.busy, apis.axl_limits.max_rows = 0, None
    for node in lab.nodes.values():
        node.https_disturbed = lambda path: UNDISTURBED
        node.tvs_frozen = False
        node.refresh_stores()
    for cluster in lab.clusters.values():
        for name in list(cluster.unreplicated):
            cluster.set_replicated(name, True)
    return faults(lab)


def faults(lab: Lab) -> dict[str, Any]:
    """What is wrong now, by node and by cluster; empty where nothing is."""
    words = {disturbance: word for word, disturbance in HTTPS.items()}
    found: dict[str, Any] = {}
    for (_, name), node in lab.nodes.items():
        wrong: dict[str, Any] = {}
        if (disturbance := node.https_disturbed("/")) != UNDISTURBED:
            wrong["https"] = words.get(disturbance, "disturbed")
        if node.tvs_frozen:
            wrong["tvs"] = "answers by what it knew"
        if name in node.cluster.unreplicated:
            wrong["stores"] = "not replicated"
        if missing := [service for service in node.activated() if not node.running(service)]:
            wrong["stopped"] = missing
        if wrong:
            found[name] = wrong
    for name, apis in lab.apis.items():
        limits = apis.axl_limits
        if limits.busy or limits.max_rows is not None:
            found[name] = {"axl_busy": limits.busy, "axl_rows": limits.max_rows}
    return found


def _node(lab: Lab, name: str) -> Node:
    for (_, known), node in lab.nodes.items():
        if known == name:
            return node
    raise SettingsError(f"the lab has no node {name}", f"It has {', '.join(node for _, node in lab.nodes)}.")
