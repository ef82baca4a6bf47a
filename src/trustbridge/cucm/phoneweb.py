"""A phone's own web pages: status messages, TFTP servers, Unified CMs, what trust lists it says it has.

Pages are tables of name and value, HTML or XML, in the phone's language; firmware families lay them out in their own
ways. The parsers are total: what a page does not say, or says in words nobody knows, is missing from what they give.
Values are found by what they are (an address, a hash, `SEP` and a MAC address) as far as that goes, by name otherwise.
"""

from __future__ import annotations

import html
import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from html.parser import HTMLParser
from typing import Final

from trustbridge.cucm.https import Patience
from trustbridge.cucm.phoneconnection import PATIENCE, PhoneConnection
from trustbridge.errors import NotSupported

#: Pages by what they tell; the first that answers is read.
NETWORK_PAGES: Final = (
    "/NetworkConfigurationX",
    "/CGI/Java/Serviceability?adapter=device.statistics.configuration",
    "/NetworkConfiguration",
)
STATUS_PAGES: Final = ("/CGI/Java/Serviceability?adapter=device.settings.status.messages", "/DeviceLog?2")
DEVICE_PAGES: Final = ("/DeviceInformationX", "/CGI/Java/Serviceability?adapter=device.statistics.device", "/")

_HASH = re.compile(r"\b(?:[0-9A-Fa-f]{2}[:\s]?){15,31}[0-9A-Fa-f]{2}\b")
_DEVICE = re.compile(r"\bSEP[0-9A-Fa-f]{12}\b", re.IGNORECASE)
_MODEL = re.compile(r"\bCP-[0-9A-Za-z][\w-]*")
_CLOCK: Final = r"\d{1,2}:\d{2}(?::\d{2})?(?:\s*[ap](?:\.?m)?\b\.?)?"
_DATE: Final = r"\d{1,4}[/.-]\d{1,2}[/.-]\d{1,4}"
_STAMP = re.compile(rf"\s*[\[(]?\s*({_CLOCK}(?:\s+{_DATE})?|{_DATE}\s+{_CLOCK})\s*[\])]?\s*", re.IGNORECASE)
_DIGITS = re.compile(r"(\d+)\s*$")
#: What names of rows begin with, letters and digits alone, in lower case.
_TFTP: Final = ("tftpserver", "serveurtftp", "servidortftp", "servertftp", "tftpserverip")
_CUCM: Final = ("unifiedcm", "cucmserver", "callmanager", "cucm", "server")
_TVS: Final = ("tvs",)
_ALTERNATE: Final = ("alternatetftp", "alttftp", "tftpalternatif", "tftpalternativo", "alternativertftp")
_YES: Final = frozenset({"yes", "true", "1", "on", "oui", "ja", "si", "sí", "sim", "tak", "enabled"})
#: "Active" in the languages of phones.
ACTIVE = re.compile(r"\b(?:active|actif|aktiv|activo|attivo|ativo|aktywny)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PhoneNetwork:
    """What a phone says of its network settings.

    Attributes:
        tftp_servers: in the phone's order; none where the page does not say.
        alternate_tftp: whether servers typed in by hand count (TB150); None where the page does not say.
        call_managers: names or addresses, in order; `active` is the one it is registered with.
        tvs: as the page writes them.
        ctl, itl: hash of the installed file, upper case; "" when the phone says it has none; None when it says
            nothing.
    """

    tftp_servers: tuple[str, ...] = ()
    alternate_tftp: bool | None = None
    call_managers: tuple[str, ...] = ()
    active: str = ""
    tvs: tuple[str, ...] = ()
    ctl: str | None = None
    itl: str | None = None


@dataclass(frozen=True, slots=True)
class StatusMessage:
    """A line of the status messages; `when` as the phone writes it, which has no time zone, and "" without one."""

    when: str
    text: str


@dataclass(frozen=True, slots=True)
class PhonePages:
    """What a phone tells on its pages.

    Attributes:
        name: `SEP` and the MAC address, as the phone says; "" where it does not.
        messages: oldest first.
        missing: pages that could not be read, with why.
    """

    address: str
    name: str = ""
    model: str = ""
    network: PhoneNetwork = field(default_factory=PhoneNetwork)
    messages: tuple[StatusMessage, ...] = ()
    missing: tuple[str, ...] = ()


class _Cells(HTMLParser):
    """Rows of cells of a page: table rows in HTML, elements that hold only text in XML."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.rows: list[list[str]] = []
        self.lines: list[str] = []
        self._row: list[str] | None = None
        self._text: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "style"):
            self._hidden += 1
        elif tag == "tr":
            self._end_row()
            self._row, self._text = [], []
        elif tag in ("td", "th"):
            self._end_cell()
        elif tag in ("br", "p", "div", "li", "pre"):
            self._text.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._hidden = max(0, self._hidden - 1)
        elif tag in ("td", "th"):
            self._end_cell()
        elif tag in ("tr", "table"):
            self._end_row()
        elif tag in ("p", "div", "li", "pre"):
            self._text.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self._text.append(data)

    def _end_cell(self) -> None:
        whole = "".join(self._text)
        self._text = []
        text = " ".join(whole.split())
        if self._row is not None and text:
            self._row.append(text)
        self.lines += [" ".join(line.split()) for line in whole.splitlines() if line.strip()]

    def _end_row(self) -> None:
        self._end_cell()
        if self._row:
            self.rows.append(self._row)
        self._row = None

    def finish(self) -> None:
        """Take what is left."""
        self.close()
        self._end_row()


_XML_ELEMENT = re.compile(r"<([A-Za-z][\w.:-]{0,80})(?:\s[^<>]*)?>([^<>]*)</\1\s*>")


def parse_rows(page: str) -> list[tuple[str, str]]:
    """(name, value) of every row of a page, HTML or XML. Total on any text."""
    if "<table" not in page.lower():
        return [(name, _unescaped(value)) for name, value in _XML_ELEMENT.findall(page)]
    rows = _plain_rows(page)
    return [(row[0].rstrip(" :"), " ".join(row[1:])) for row in (_read(page).rows if rows is None else rows)]


#: A table of names and values with nothing in its cells but text and marks such as <b>, as phones write it.
_PLAIN_ROW = re.compile(
    r"<tr>\s*<td>((?:[^<]|</?(?:b|i|u|strong|em)>)*)</td>\s*<td>((?:[^<]|</?(?:b|i|u|strong|em)>)*)</td>\s*</tr>",
    re.IGNORECASE,
)
_MARKS = re.compile(r"</?(?:b|i|u|strong|em)>", re.IGNORECASE)


def _plain_rows(page: str) -> list[list[str]] | None:
    """Rows of a page whose tables are that plain; None of any other. What `_Cells` finds, in a tenth of its time."""
    lower = page.lower()
    found = _PLAIN_ROW.findall(page)
    if len(found) != lower.count("<tr") or len(found) * 2 != lower.count("<td") or "<th" in lower:
        return None
    if any(odd in lower for odd in ("<script", "<style", "<!--", "<![", "<?")):
        return None
    cells = ([_unescaped(_MARKS.sub("", cell)) for cell in row] for row in found)
    return [row for row in ([cell for cell in row if cell] for row in cells) if row]


def _read(page: str) -> _Cells:
    cells = _Cells()
    cells.feed(page)
    cells.finish()
    return cells


def _unescaped(text: str) -> str:
    return " ".join(html.unescape(text).split())


def parse_network(page: str) -> PhoneNetwork:
    """A network configuration page. Total on any text."""
    tftp: list[tuple[int, str]] = []
    managers: list[tuple[int, str]] = []
    tvs: list[tuple[int, str]] = []
    alternate: bool | None = None
    active = ""
    lists: dict[str, str] = {}
    for name, value in parse_rows(page):
        key, stem, number = _name_of_row(name)
        if "ctl" in key or "itl" in key:
            which = "itl" if "itl" in key else "ctl"
            digest = _hash(value)
            if digest or which not in lists:
                lists[which] = digest
        elif stem in _ALTERNATE:
            alternate = value.strip().lower() in _YES
        elif stem in _TFTP or (stem.startswith("tftp") and number):
            if value and not _unset(value):
                tftp.append((number, value.split()[0]))
        elif stem in _TVS and value:
            tvs.append((number, value))
        elif (stem in _CUCM or stem.startswith(("unifiedcm", "callmanager"))) and number and value:
            server = value.split()[0]
            managers.append((number, server))
            if not active and ACTIVE.search(value):
                active = server
    return PhoneNetwork(
        tftp_servers=_in_order(tftp),
        alternate_tftp=alternate,
        call_managers=_in_order(managers),
        active=active,
        tvs=_in_order(tvs),
        ctl=lists.get("ctl"),
        itl=lists.get("itl"),
    )


@lru_cache(maxsize=1024)
def _name_of_row(name: str) -> tuple[str, str, int]:
    """Its letters and digits in lower case, the same without a number at its end, and that number. Phones of a model
    name their rows alike."""
    key = "".join(one for one in name.lower() if one.isalnum())
    return key, key.rstrip("0123456789"), int(found[1][:3]) if (found := _DIGITS.search(name)) else 0


def _unset(value: str) -> bool:
    try:
        return ipaddress.ip_address(value.strip()).is_unspecified
    except ValueError:  # a name
        return False


def _in_order(numbered: Iterable[tuple[int, str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value for _, value in sorted(numbered, key=lambda item: item[0])))


def _hash(value: str) -> str:
    found = _HASH.search(value)
    digest = "" if found is None else re.sub(r"[^0-9A-F]", "", found[0].upper())
    return digest if len(digest) in (32, 40, 64) else ""


def parse_status(page: str) -> tuple[StatusMessage, ...]:
    """A page of status messages, in the page's order. Total on any text.

    A message is a line that begins with a time, in one cell or in two; lines without one are headings and menus.
    """
    if plain := _messages_of(_plain_rows(page) or ()):
        return plain
    cells = _read(page)
    found: list[StatusMessage] = []
    if rows := _messages_of(cells.rows):
        return rows
    lines = cells.lines or [" ".join(line.split()) for line in page.splitlines()]
    for line in lines:
        stamp = _STAMP.match(line)
        if stamp is not None and line[stamp.end() :].strip():
            found.append(StatusMessage(stamp[1].strip(), line[stamp.end() :].strip()))
    return tuple(found)


def _messages_of(rows: Iterable[Sequence[str]]) -> tuple[StatusMessage, ...]:
    return tuple(StatusMessage(row[0], " ".join(row[1:])) for row in rows if len(row) > 1 and _only_time(row[0]))


def _only_time(text: str) -> bool:
    stamp = _STAMP.match(text)
    return stamp is not None and not text[stamp.end() :].strip()


def parse_device(page: str) -> tuple[str, str]:
    """Name and model of a phone, from any of its pages: found by what they look like. Total on any text."""
    device, model = _DEVICE.search(page), _MODEL.search(page)
    return (device[0].upper() if device else "", model[0] if model else "")


async def read_phone(
    address: str,
    *,
    port: int = 80,
    patience: Patience = PATIENCE,
    connection: PhoneConnection | None = None,
    kinds: Sequence[tuple[str, ...]] = (NETWORK_PAGES, STATUS_PAGES, DEVICE_PAGES),
) -> PhonePages:
    """Read a phone's pages; a page that can't be read is named in `missing`.

    Args:
        connection: to this phone; otherwise one is made, of `port` and `patience`.
        kinds: which pages.

    Raises:
        Unreachable: nobody answers there, or the phone's web access is off.
        NotSupported: it answers, and shows none of the pages.
        Garbled: what answers is no HTTP.
    """
    made = connection or PhoneConnection(address, port, patience)
    missing: list[str] = []

    async def page(paths: tuple[str, ...]) -> str:
        failures = []
        for path in paths:
            status, text = await made.get(path)
            if status == 200 and text.strip():
                return text
            failures.append(f"{path}: HTTP {status}")
        missing.append("; ".join(failures))
        return ""

    try:
        found = {paths: await page(paths) for paths in kinds}
    finally:
        if connection is None:
            made.close()
    if not any(found.values()):
        raise NotSupported(
            f"phone {address} shows none of its pages ({'; '.join(missing)})",
            "Its web access may be off: the phone's configuration says so, in Web Access.",
        )
    network, status, device = (found.get(paths, "") for paths in (NETWORK_PAGES, STATUS_PAGES, DEVICE_PAGES))
    name, model = parse_device(device or network or status)
    return PhonePages(address, name, model, parse_network(network), parse_status(status), tuple(missing))
