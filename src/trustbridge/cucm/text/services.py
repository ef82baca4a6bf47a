"""`utils service list`, and the progress that `utils service restart NAME` prints in the same form."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from trustbridge.cucm.text.lines import lines, nothing_said

_SERVICE: Final = re.compile(r"\s*(?P<name>[^\[\]]+?)\s*\[\s*(?P<state>[A-Za-z ]+?)\s*\]\s*(?P<remark>.*)")
_PROSE: Final = re.compile(r"[^\[\]]*")


class ServiceState(StrEnum):
    """States as the node names them."""

    STARTED = "STARTED"
    STOPPED = "STOPPED"
    STARTING = "STARTING"
    STOPPING = "STOPPING"


@dataclass(frozen=True, slots=True)
class ListedService:
    """A service as listed.

    Attributes:
        name: such as `Cisco Tftp`.
        state: its state.
        activated: False when the node says `Service Not Activated`: it is meant to be down.
        remark: what stands behind the state, such as `Service Not Activated` or `Component is not running`.
    """

    name: str
    state: ServiceState
    activated: bool = True
    remark: str = ""

    @property
    def running(self) -> bool:
        """Whether it is up."""
        return self.state is ServiceState.STARTED


def parse_services(text: str) -> tuple[ListedService, ...]:
    """Read the answer to `utils service list`; of a service named twice, the last line counts.

    Lines without brackets are remarks of the command (`Service Manager is running`, `Primary Node =true`).

    Raises:
        Garbled: a line with brackets is no service, or there is none at all.
    """
    found: dict[str, ListedService] = {}
    for line in lines(text):
        if _PROSE.fullmatch(line.text):
            continue
        match = _SERVICE.fullmatch(line.text)
        state = "" if match is None else str(match["state"]).upper()
        if match is None or state not in ServiceState.__members__:
            raise line.unclear("no service with its state")
        remark = match["remark"].strip()
        activated = "not activated" not in remark.casefold()
        found[match["name"]] = ListedService(match["name"], ServiceState(state), activated, remark)
    if not found:
        raise nothing_said("the list of services")
    return tuple(found.values())
