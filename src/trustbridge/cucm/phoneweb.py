"""A phone's own web pages: status messages, TFTP servers, Unified CMs, what trust lists it says it has.

Pages are tables of name and value, HTML or XML, in the phone's language; firmware families lay them out in their own
ways. The parsers are total: what a page does not say, or says in words nobody knows, is missing from what they give.
Values are found by what they are (an address, a hash, `SEP` and a MAC address) as far as that goes, by name otherwise.
"""

from __future__ import annotations

import asyncio
import html
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Final

import httpx

from trustbridge.cucm.https import Patience, translated
from trustbridge.errors import Garbled, NotSupported, TrustbridgeError, Unreachable

#: Pages by what they tell; the first that answers is read.
NETWORK_PAGES: Final = (
    "/NetworkConfigurationX",
    "/CGI/Java/Serviceability?adapter=device.statistics.configuration",
    "/NetworkConfiguration",
)
STATUS_PAGES: Final = ("/CGI/Java/Serviceability?adapter=device.settings.status.messages", "/DeviceLog?2")
DEVICE_PAGES: Final = ("/DeviceInformationX", "/CGI/Java/Serviceability?adapter=device.statistics.device", "/")
#: Bytes of a page that are read.
MAX_PAGE: Final = 256 * 1024
#: What a phone is given: seconds until it takes a connection, and until it has answered.
PATIENCE: Final = Patience(connect=5.0, answer=10.0)

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
    cells = _read(page)
    return [(row[0].rstrip(" :"), " ".join(row[1:])) for row in cells.rows]


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
        key = "".join(one for one in name.lower() if one.isalnum())
        number = int(found[1][:3]) if (found := _DIGITS.search(name)) else 0
        stem = key.rstrip("0123456789")
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
    cells = _read(page)
    found: list[StatusMessage] = []
    seen_rows = [(row[0], " ".join(row[1:])) for row in cells.rows if len(row) > 1 and _only_time(row[0])]
    if seen_rows:
        return tuple(StatusMessage(when, text) for when, text in seen_rows)
    lines = cells.lines or [" ".join(line.split()) for line in page.splitlines()]
    for line in lines:
        stamp = _STAMP.match(line)
        if stamp is not None and line[stamp.end() :].strip():
            found.append(StatusMessage(stamp[1].strip(), line[stamp.end() :].strip()))
    return tuple(found)


def _only_time(text: str) -> bool:
    stamp = _STAMP.match(text)
    return stamp is not None and not text[stamp.end() :].strip()


def parse_device(page: str) -> tuple[str, str]:
    """Name and model of a phone, from any of its pages: found by what they look like. Total on any text."""
    device, model = _DEVICE.search(page), _MODEL.search(page)
    return (device[0].upper() if device else "", model[0] if model else "")


async def read_phone(
    address: str, *, port: int = 80, patience: Patience = PATIENCE, client: httpx.AsyncClient | None = None
) -> PhonePages:
    """Read a phone's pages; a page that can't be read is named in `missing`.

    Args:
        client: shared by reads of many phones, to which it may hold one connection each; otherwise one is made.

    Raises:
        Unreachable: nobody answers there, or the phone's web access is off.
        NotSupported: it answers, and shows none of the pages.
        Garbled: what answers is no HTTP.
    """
    host = f"[{address}]" if ":" in address else address
    made = client or one_at_a_time(patience)
    missing: list[str] = []

    async def page(paths: tuple[str, ...]) -> str:
        failures = []
        for path in paths:
            status, text = await fetch_page(made, f"http://{host}:{port}{path}", address, patience)
            if status == 200 and text.strip():
                return text
            failures.append(f"{path}: HTTP {status}")
        missing.append("; ".join(failures))
        return ""

    try:
        network, status, device = await page(NETWORK_PAGES), await page(STATUS_PAGES), await page(DEVICE_PAGES)
    finally:
        if client is None:
            await made.aclose()
    if not (network or status or device):
        raise NotSupported(
            f"phone {address} shows none of its pages ({'; '.join(missing)})",
            "Its web access may be off: the phone's configuration says so, in Web Access.",
        )
    name, model = parse_device(device or network or status)
    return PhonePages(address, name, model, parse_network(network), parse_status(status), tuple(missing))


def one_at_a_time(patience: Patience) -> httpx.AsyncClient:
    """A client for the pages of one phone."""
    return httpx.AsyncClient(
        timeout=httpx.Timeout(patience.answer, connect=patience.connect),
        follow_redirects=False,
        trust_env=False,
        limits=httpx.Limits(max_connections=1),  # phones serve one client at a time
    )


async def fetch_page(client: httpx.AsyncClient, url: str, address: str, patience: Patience) -> tuple[int, str]:
    """Status and text of one page of the phone at `address`; at most `MAX_PAGE` bytes are read.

    Raises:
        Unreachable: nobody answers, or not in time.
        Garbled: what answers is no HTTP, or the page has no end.
    """
    try:
        async with asyncio.timeout(patience.answer), client.stream("GET", url) as response:
            content = bytearray()
            async for part in response.aiter_bytes():
                content += part
                if len(content) > MAX_PAGE:
                    raise Garbled(f"phone {address}: a page that never ends ({url})")
            try:
                return response.status_code, bytes(content).decode(response.encoding or "utf-8", "replace")
            except LookupError:  # an encoding nobody knows
                return response.status_code, bytes(content).decode("utf-8", "replace")
    except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError, ValueError) as error:
        found = translated(error, f"GET {url}", patience)
        raise _of_phone(found, address) from error


def _of_phone(error: TrustbridgeError, address: str) -> TrustbridgeError:
    kind = type(error)
    hint = error.hint
    if kind is Unreachable:
        hint = "Is the phone up, and its web access on? The database's last known state tells something without it."
    return kind(f"phone {address}: {error.message}", hint)
