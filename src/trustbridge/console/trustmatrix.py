"""The last answers of who vouches for whom, as pages show them. Pure: the JSON of a proof goes in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from trustbridge.pki.names import short_name

Json = Mapping[str, Any]


def state_of(cell: Json) -> str:
    """What a cell says, in a word or three: not every no is one that a TVS said."""
    if cell["verdict"] == "yes":
        return "vouched"
    if cell["verdict"] == "unknown":
        return "unknown"
    return "vouched, not trusted" if cell["roles"] or cell["returned_sha256"] else "refused"


@dataclass(frozen=True, slots=True)
class Explained:
    """One cell with what belongs to it.

    Attributes:
        port: of the TVS that was asked; None where it is not known any more.
        findings: those that are about this cell.
    """

    asking: str
    vouched: str
    back: bool
    cell: Json
    signer: Json
    label: str
    state: str
    port: int | None
    findings: tuple[Json, ...]


class Direction:
    """Every TVS of one cluster against every signer of another."""

    def __init__(self, value: Json) -> None:
        self.value = value
        self.asking: str = value["asking"]
        self.vouched: str = value["vouched"]
        self.back: bool = value["back"]
        self.signers: list[Json] = value["signers"]
        self.left_out: list[str] = value["left_out"]
        self.cells = {(one["node"], one["signer"]): one for one in value["cells"]}
        self.nodes = list(dict.fromkeys(one["node"] for one in value["cells"]))
        self.counts = Counter(one["verdict"] for one in value["cells"])

    @property
    def verdict(self) -> str:
        """yes, no or unknown."""
        return str(self.value["verdict"])

    @property
    def rows(self) -> list[tuple[str, list[tuple[Json, str]]]]:
        """Each node with its cells and their states, in the order of the signers."""
        return [
            (node, [(cell, state_of(cell)) for one in self.signers for cell in [self.cells[node, one["id"]]]])
            for node in self.nodes
        ]


class Matrix:
    """All directions.

    Args:
        key: the clusters' names, joined by "+".
        value: as `proofreport.as_json` has it.
    """

    def __init__(self, key: str, value: Json) -> None:
        self.key = key
        self.value = value
        self.at = datetime.fromisoformat(value["at"])
        self.clusters: list[str] = [one["name"] for one in value["clusters"]]

    @cached_property
    def directions(self) -> list[Direction]:
        """Ways out first, as the proof has them."""
        return [Direction(one) for one in self.value["directions"]]

    @property
    def state(self) -> str:
        """Of the whole."""
        return {True: "proven", False: "not proven", None: "not all was seen"}[self.value["holds"]]

    def direction(self, asking: str, vouched: str) -> Direction | None:
        """One of them."""
        return next((one for one in self.directions if (one.asking, one.vouched) == (asking, vouched)), None)

    def explained(self, asking: str, vouched: str, node: str, signer: str) -> Explained | None:
        """One cell; None where there is none."""
        direction = self.direction(asking, vouched)
        cell = direction.cells.get((node, signer)) if direction is not None else None
        if direction is None or cell is None:
            return None
        who = next(one for one in direction.signers if one["id"] == signer)
        places = (asking, f"{asking}/{node}")
        about = tuple(
            one
            for one in self.value["findings"]
            if one["id"] in cell["findings"] and one["subject"] in places and _concerns(one, who, direction)
        )
        ports = self.value.get("tvs_ports", {})
        return Explained(
            asking, vouched, direction.back, cell, who, label_of(who), state_of(cell), ports.get(asking), about
        )


def _concerns(finding: Json, signer: Json, direction: Direction) -> bool:
    """Whether a finding is about this signer: one that names another one of the direction's signers is not."""
    others = [one["id"] for one in direction.signers if one["id"] != signer["id"]]
    return signer["id"] in finding["evidence"] or not any(one in finding["evidence"] for one in others)


def label_of(signer: Json) -> str:
    """Unit and name of a signer."""
    name = short_name(signer["subject"])
    return f"{signer['unit']} {name}" if signer["unit"] else name
