"""Whether somebody talks on a phone: by the pages of its media streams, which are open to whoever may see its pages.

Sources: the administration guides of the phones (7961G, 7970G, 7942G, 6900 series; chapter "Monitoring the Cisco
Unified IP Phone Remotely", section "Streaming Statistics"): a phone has up to five streams, streams "when it is on a
call or running a service that sends or receives audio or data", and *Stream Status* says whether it does; most calls
use stream 1 alone, a barged call 1 and 2. The paths and the words *Active* and *Not Ready* are those that programs go
by which read the pages of 7900, 7800 and 8800 series; they are the row status of an SNMP table, so its other words for
"idle" are known too. An ended call leaves its addresses and counts on the page: they say nothing about now.

UNVERIFIED: that a phone which only rings, or whose one call is on hold, shows no active stream: so it is expected, and
such a phone passes for idle. Music on a paging channel passes for a call. The words in other languages than English.
That streams are taken in their order, so that none beyond one that was never used is in use. Phones that want a
password for their pages, or HTTPS (9800 series), tell nothing.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final

from trustbridge.cucm.https import Patience
from trustbridge.cucm.phoneconnection import PATIENCE, PhoneConnection
from trustbridge.cucm.phoneweb import ACTIVE, parse_rows
from trustbridge.errors import TrustbridgeError

#: Streams that a phone has, at the most.
STREAMS: Final = 5
#: Where stream `number`, from 1, is shown: `index` counts from 0. The first that tells is read.
STREAM_PAGES: Final = (
    "/CGI/Java/Serviceability?adapter=device.statistics.streaming.{index}",
    "/StreamingStatisticsX?{number}",
    "/StreamingStatistics?{number}",
)

#: Names of the row with the status, and its words for "idle"; letters and digits alone, in lower case.
_STATUS: Final = ("streamstatus", "rowstatus")
_IDLE: Final = frozenset({"notready", "notinservice", "inactive", "notactive"})


@dataclass(frozen=True, slots=True)
class Stream:
    """What a phone's page says of one of its media streams.

    Attributes:
        active: whether it runs now; None where the page does not say, or in words nobody knows.
        used: whether it has run since the phone started; True where the page does not say.
    """

    active: bool | None = None
    used: bool = True


def parse_stream(page: str) -> Stream:
    """A page of one stream, HTML or XML. Total on any text."""
    active: bool | None = None
    traces: list[bool] = []
    for name, value in parse_rows(page):
        key = _plain(name)
        if key.endswith(_STATUS):
            active = _running(value)
        elif active is None and ACTIVE.fullmatch(value.strip()):
            active = True  # a label in another language, and a word that is known
        if key.startswith("remoteaddr"):
            traces.append(_somewhere(value))
        elif key.endswith("packets") and "lost" not in key and value.strip().isdecimal():
            traces.append(bool(value.strip().strip("0")))
    return Stream(active, any(traces) if traces else True)


def _plain(text: str) -> str:
    return "".join(one for one in text.lower() if one.isalnum())


def _running(value: str) -> bool | None:
    if _plain(value) in _IDLE:
        return False
    return True if ACTIVE.fullmatch(value.strip()) else None


def _somewhere(value: str) -> bool:
    """Whether `address/port` is an address of somebody: nobody's is 0.0.0.0/0."""
    address = value.split("/")[0].strip()
    try:
        return not ipaddress.ip_address(address).is_unspecified
    except ValueError:
        return bool(address)


async def read_in_call(
    address: str, *, port: int = 80, patience: Patience = PATIENCE, connection: PhoneConnection | None = None
) -> bool | None:
    """Whether a phone is in a call, as far as its pages tell; raises nothing.

    An idle phone costs one request where its first stream was never used, and at most `STREAMS` where it tells of
    them under the first of `STREAM_PAGES`.

    Args:
        connection: to this phone; otherwise one is made, of `port` and `patience`.

    Returns:
        None where nobody can tell: its web access is off, it shows no such page, or in words nobody knows.
    """
    made = connection or PhoneConnection(address, port, patience)
    pages: tuple[str, ...] = STREAM_PAGES
    try:
        for number in range(1, STREAMS + 1):
            found: Stream | None = None
            for page in pages:
                status, text = await made.get(page.format(number=number, index=number - 1))
                if status == 200 and text.strip():
                    found = parse_stream(text)
                    if found.active is not None:
                        pages = (page,)
                        break
            if found is None and number > 1:
                return False  # it has no more streams, and those before were idle
            if found is None or found.active is None:
                return None
            if found.active or not found.used:
                return found.active
        return False
    except TrustbridgeError:
        return None
    finally:
        if connection is None:
            made.close()
