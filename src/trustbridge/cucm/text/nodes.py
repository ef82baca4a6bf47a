"""`show network cluster`: the nodes of a cluster, as the node asked sees them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from trustbridge.cucm.model import NodeInfo
from trustbridge.cucm.text.lines import Line, date, lines, nothing_said
from trustbridge.errors import Garbled

_NODE: Final = re.compile(
    r"\s*(?P<address>[0-9A-Fa-f.:]+|[A-Za-z0-9._-]+)\s+(?P<names>[^\s]+(?:\s+[^\s]+)?)\s+(?P<role>Publisher|Subscriber)\b"
    r"(?P<rest>.*)",
    re.IGNORECASE,
)
#: What stands between role and state: product and database role, where the release writes them.
_STATE: Final = re.compile(r"\b(?:not )?authenticated\b|\boff-?line\b|\bunreachable\b", re.IGNORECASE)
_GOES_ON: Final = re.compile(r"\s*(?:DBPub|DBSub|not authenticated|authenticated|using)\b", re.IGNORECASE)
_TABLE: Final = re.compile(r"\s*Server Table \(processnode\) Entries", re.IGNORECASE)
#: Nodes of other products (`cups`: IM and Presence) share a cluster's database.
_CALLMANAGER: Final = ("", "callmanager")


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """A node as listed.

    Attributes:
        address: its address.
        name: its host name.
        full_name: with the domain; "" where the release does not write it.
        publisher: whether it is the cluster's publisher.
        product: `callmanager`, `cups`, ...; "" where the release does not write it.
        state: `authenticated`, `not authenticated`, ... as the node asked sees it.
        since: when the connection to it was made; None for the node asked itself.
    """

    address: str
    name: str
    full_name: str
    publisher: bool
    product: str = ""
    state: str = ""
    since: datetime | None = None

    @property
    def authenticated(self) -> bool:
        """Whether the node asked talks to it."""
        return self.state.casefold() == "authenticated"

    @property
    def callmanager(self) -> bool:
        """Whether it is a Unified CM node, as far as the listing tells."""
        return self.product.casefold() in _CALLMANAGER

    @property
    def info(self) -> NodeInfo:
        """The node as the rest of the driver knows it."""
        return NodeInfo(self.name, self.address, self.publisher)


def parse_network_cluster(text: str) -> tuple[ClusterNode, ...]:
    """Read the answer to `show network cluster`: every node, in the answer's order, those of other products too.

    Raises:
        Garbled: a line is no node, or not exactly one node is the publisher.
    """
    nodes: list[ClusterNode] = []
    for line in lines(text):
        if _TABLE.match(line.text):
            break  # the same nodes again, as the database names them
        if found := _NODE.match(line.text):
            nodes.append(_node(found))
        elif nodes and _GOES_ON.match(line.text):
            nodes[-1] = _with_rest(nodes[-1], line)
        else:
            raise line.unclear("no node of a cluster")
    if not nodes:
        raise nothing_said("the cluster's nodes")
    publishers = [node.name for node in nodes if node.publisher]
    if len(publishers) != 1:
        raise Garbled(
            f"{len(publishers)} publishers are listed, expected one: {', '.join(publishers) or 'none'}",
            "Ask the publisher itself; see `show network cluster` by hand.",
        )
    return tuple(nodes)


def _node(found: re.Match[str]) -> ClusterNode:
    names = found["names"].split()
    node = ClusterNode(
        address=found["address"],
        name=names[-1].partition(".")[0],
        full_name=names[0] if "." in names[0] else "",
        publisher=found["role"].casefold() == "publisher",
    )
    return _described(node, found["rest"])


def _with_rest(node: ClusterNode, line: Line) -> ClusterNode:
    """What a narrow terminal put on the next line."""
    return _described(node, line.text)


def _described(node: ClusterNode, rest: str) -> ClusterNode:
    state = _STATE.search(rest)
    before = (rest if state is None else rest[: state.start()]).split()
    product = next((word for word in before if word.casefold() not in ("dbpub", "dbsub")), "")
    return replace(
        node,
        product=node.product or product,
        state=node.state or ("" if state is None else state[0].casefold()),
        since=node.since or date(rest),
    )
