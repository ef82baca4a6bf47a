"""Whether a TFTP node has the firmware that phones are told to load (TB153)."""

from __future__ import annotations

from typing import Final

from trustbridge.cucm.https import Patience
from trustbridge.cucm.model import ClusterEntry
from trustbridge.cucm.nodefiles import over_http, over_tftp

#: What phones ask for to learn what firmware consists of: its name and this. UNVERIFIED for the oldest models.
SUFFIX: Final = ".loads"


async def has_firmware(entry: ClusterEntry, node: str, host: str, load: str, patience: Patience) -> bool:
    """It has not only where both HTTP and TFTP say that there is no such file.

    Args:
        load: as `loadInformation` names it.

    Raises:
        Unreachable, Garbled, Refused: the node does not tell.
    """
    for get in (over_http, over_tftp):
        if await get(entry, node, host, f"{load}{SUFFIX}", patience) is not None:
            return True
    return False
