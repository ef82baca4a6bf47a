"""AXL as a node answers it: the element of a request in, the element of its answer out. Pure, over a backend.

Source: `cucm-interfaces`, section 3, and the vendor's schema: elements stand in its order. Error codes and wordings are
those that public clients know; UNVERIFIED ones are marked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from lxml import etree

from trustbridge.services.axlkinds import KINDS, Kind
from trustbridge.services.soap import Busy, SoapFault, child, local_name, text_of, xml_text

NAMESPACE: Final = "http://www.cisco.com/AXL/API/"
PATH: Final = "/axl/"
#: What a browser sees there.
PAGE: Final = "The AXL Web Service is working and accepting requests. Use HTTP POST to send a request."
#: Bytes an answer has at the most.
MAX_ANSWER: Final = 8 * 1024 * 1024

#: Error codes in `axlError`.
NOT_FOUND, DUPLICATE, INVALID, NOT_KEPT = 5007, -239, 5003, -1


@dataclass(frozen=True, slots=True)
class Reference:
    """Another object, by its name: an element of type XFkType."""

    name: str
    uuid: str = ""


@dataclass(frozen=True, slots=True)
class Inner:
    """An element with fields of its own."""

    fields: Row


Value = str | int | bool | Reference | Inner | Mapping[str, Sequence["Row"]]
#: An object: its fields by name, and its uuid, in braces, under `uuid`.
Row = Mapping[str, Value]


class AxlFault(SoapFault):
    """A fault with the vendor's `axlError` as its detail; `operation` is put in by whoever answers."""

    def __init__(self, text: str, axl_code: int) -> None:
        super().__init__(text)
        self.axl_code = axl_code


class AxlBackend(Protocol):
    """What a cluster knows and does. Each may raise `AxlFault`."""

    @property
    def schemas(self) -> Sequence[str]:
        """Releases of the schema it understands, such as `12.5`."""

    def release(self, node: str | None) -> str:
        """The release that runs on a node, or on this one."""

    def rows(self, kind: str) -> Sequence[Row]:
        """All objects of a kind: `processNode`, `phone`, ..., in the order of their names."""

    def phone(self, name: str) -> Row | None:
        """A phone by its name, in either case."""

    def query(self, sql: str) -> Sequence[Mapping[str, str]]:
        """The rows a query gives: columns by name, in order."""

    def line(self, pattern: str, partition: str) -> Row | None:
        """A directory number."""

    def add_phone(self, fields: Mapping[str, str], lines: Sequence[Mapping[str, str]] = ()) -> str:
        """Create a phone; its uuid. A line's fields are its own, and `pattern` and `routePartitionName`."""

    def remove_phone(self, name: str) -> None:
        """Remove a phone that exists."""

    def add_line(self, fields: Mapping[str, str]) -> str:
        """Create a directory number; its uuid."""

    def update_phone(self, name: str, changes: Mapping[str, str]) -> None:
        """Change a phone that exists."""

    def reset(self, name: str, how: str) -> None:
        """Reset a device that exists: `Reset`, `Restart` or `Apply Configuration`; returns at once."""

    def update_dhcp_subnet(self, uuid: str, changes: Mapping[str, str]) -> None:
        """Change a subnet that exists."""


@dataclass(slots=True)
class AxlLimits:
    """How much a service bears; to be changed while it runs, to see what clients do.

    Attributes:
        busy: so many of the next requests are turned away with HTTP 503.
        max_rows: rows an answer may have; None for as many as fit `max_bytes`.
        max_bytes: of an answer.
    """

    busy: int = 0
    max_rows: int | None = None
    max_bytes: int = MAX_ANSWER


_LISTS: Final = {f"list{kind[0].upper()}{kind[1:]}": kind for kind in KINDS}
_GETS: Final = {f"get{kind[0].upper()}{kind[1:]}": kind for kind, shape in KINDS.items() if shape.got}
_NAMESPACE_FORM: Final = re.compile(re.escape(NAMESPACE) + r"(\d+(?:\.\d+)*)")


def answer(request: etree._Element, backend: AxlBackend, limits: AxlLimits | None = None) -> etree._Element:
    """The answer to a request, as the element that stands in the envelope.

    Raises:
        SoapFault: the request can't be carried out, and why.
        Busy: asked to turn requests away.
    """
    limits = limits or AxlLimits()
    if limits.busy > 0:
        limits.busy -= 1
        raise Busy
    operation = local_name(request)
    version = _version(request, backend)
    work = _Work(request, backend, limits, version)
    try:
        if operation in _LISTS and KINDS[_LISTS[operation]].since <= _numbers(version):
            return work.list(_LISTS[operation])
        if operation in _GETS:
            return work.get(_GETS[operation])
        found = _OTHERS.get(operation)
        if found is None:
            raise SoapFault(f"The endpoint reference (EPR) for the Operation not found is {operation}", code="Client")
        return found(work)
    except AxlFault as fault:
        fault.detail = _axl_error(fault, operation)
        raise


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _version(request: etree._Element, backend: AxlBackend) -> str:
    form = _NAMESPACE_FORM.fullmatch(etree.QName(request).namespace or "")
    if form is None:
        raise SoapFault("the request is not in AXL's namespace", code="soapenv:Client")
    if form[1] not in backend.schemas:
        # UNVERIFIED: the status of a schema the node does not know.
        raise SoapFault(f"AXL schema {form[1]} is not supported here", code="soapenv:Client", status=599)
    return form[1]


def _axl_error(fault: AxlFault, operation: str) -> etree._Element:
    error = etree.Element("axlError")
    etree.SubElement(error, "axlcode").text = str(fault.axl_code)
    etree.SubElement(error, "axlmessage").text = xml_text(fault.text)
    etree.SubElement(error, "request").text = operation
    return error


class _Work:
    """One request."""

    def __init__(self, request: etree._Element, backend: AxlBackend, limits: AxlLimits, version: str) -> None:
        self.request = request
        self.backend = backend
        self.limits = limits
        self.version = version

    def response(self) -> tuple[etree._Element, etree._Element]:
        """The answer's element, and the one inside it where the result stands."""
        namespace = NAMESPACE + self.version
        root = etree.Element(f"{{{namespace}}}{local_name(self.request)}Response", nsmap={"ns": namespace})
        sequence = self.request.get("sequence")
        if sequence is not None and sequence.isascii() and sequence.isdigit():
            root.set("sequence", sequence)
        return root, etree.SubElement(root, "return")

    def standard(self, uuid: str) -> etree._Element:
        """The answer of what changes something: the object's uuid."""
        root, result = self.response()
        result.text = uuid
        return root

    # Reading.

    def list(self, kind: str) -> etree._Element:
        """Objects that fit the criteria, those fields of each that were asked for."""
        shape = KINDS[kind]
        rows = self._matching(kind, shape)
        matched = len(rows)
        skip, first = self._number("skip") or 0, self._number("first")
        rows = rows[skip:] if first is None else rows[skip : skip + first]
        if self.limits.max_rows is not None and len(rows) > self.limits.max_rows:
            raise _too_large(matched, self.limits.max_rows + 1)
        root, result = self.response()
        tags = child(self.request, "returnedTags")
        for row in rows:
            _write(result, kind, row, shape.listed, tags)
        size = len(etree.tostring(root))
        if size > self.limits.max_bytes:
            raise _too_large(matched, max(2, len(rows) * self.limits.max_bytes // size))
        return root

    def _matching(self, kind: str, shape: Kind) -> Sequence[Row]:
        criteria = child(self.request, "searchCriteria")
        if criteria is None:
            raise SoapFault("searchCriteria is missing", code="soapenv:Client")
        wanted = [
            (local_name(element), _like(element.text or ""))
            for element in criteria
            if local_name(element) in shape.criteria
        ]
        return [
            row
            for row in self.backend.rows(kind)
            if all(pattern.fullmatch(_text(row.get(name, ""))) for name, pattern in wanted)
        ]

    def _number(self, name: str) -> int | None:
        text = text_of(self.request, name)
        if not text:
            return None
        if not (text.isascii() and text.isdigit()):
            raise SoapFault(f"{name} is not a number: {text}", code="soapenv:Client")
        return int(text)

    def find(self, kind: str) -> Row:
        """The one object a request names."""
        shape = KINDS[kind]
        by = ("uuid",) if child(self.request, "uuid") is not None else shape.keys
        wanted = {name: text_of(self.request, name) or "" for name in by}
        if kind == "phone" and by == ("name",):
            phone = self.backend.phone(wanted["name"])  # not by looking through tens of thousands
            if phone is None:
                raise AxlFault(f"Item not valid: The specified {shape.words} was not found", NOT_FOUND)
            return phone
        if kind == "line" and by == shape.keys:
            line = self.backend.line(wanted["pattern"], wanted["routePartitionName"])
            if line is None:
                raise AxlFault(f"Item not valid: The specified {shape.words} was not found", NOT_FOUND)
            return line
        folded = {name: text.casefold() for name, text in wanted.items()}
        for row in self.backend.rows(kind):
            if all(_text(row.get(name, "")).casefold() == text for name, text in folded.items()):
                return row
        raise AxlFault(f"Item not valid: The specified {shape.words} was not found", NOT_FOUND)

    def get(self, kind: str) -> etree._Element:
        """One object; all its fields unless some were asked for."""
        row = self.find(kind)
        root, result = self.response()
        _write(result, kind, row, KINDS[kind].got, child(self.request, "returnedTags"), all_without_tags=True)
        return root

    def version_of(self) -> etree._Element:
        """getCCMVersion."""
        release = self.backend.release(text_of(self.request, "processNodeName"))
        root, result = self.response()
        etree.SubElement(etree.SubElement(result, "componentVersion"), "version").text = release
        return root

    def query(self) -> etree._Element:
        """executeSQLQuery."""
        rows = self.backend.query(text_of(self.request, "sql") or "")
        if self.limits.max_rows is not None and len(rows) > self.limits.max_rows:
            raise _too_large(len(rows), self.limits.max_rows + 1)
        root, result = self.response()
        for row in rows:
            element = etree.SubElement(result, "row")
            for column, value in row.items():
                etree.SubElement(element, column).text = xml_text(value)
        size = len(etree.tostring(root))
        if size > self.limits.max_bytes:
            raise _too_large(len(rows), max(2, len(rows) * self.limits.max_bytes // size))
        return root

    # Changing.

    def add_phone(self) -> etree._Element:
        """addPhone."""
        phone = child(self.request, "phone")
        if phone is None:
            raise SoapFault("phone is missing", code="soapenv:Client")
        lines = child(phone, "lines")
        found = [] if lines is None else [_line_fields(one) for one in lines if local_name(one) == "line"]
        return self.standard(self.backend.add_phone(_simple_fields(phone), found))

    def remove_phone(self) -> etree._Element:
        """removePhone."""
        row = self.find("phone")
        self.backend.remove_phone(_text(row["name"]))
        return self.standard(_text(row["uuid"]))

    def add_line(self) -> etree._Element:
        """addLine."""
        line = child(self.request, "line")
        if line is None:
            raise SoapFault("line is missing", code="soapenv:Client")
        return self.standard(self.backend.add_line(_simple_fields(line)))

    def update_phone(self) -> etree._Element:
        """updatePhone."""
        row = self.find("phone")
        changes = _simple_fields(self.request)
        for name in ("name", "uuid"):
            changes.pop(name, None)
        self.backend.update_phone(_text(row["name"]), changes)
        return self.standard(_text(row["uuid"]))

    def reset(self) -> etree._Element:
        """doDeviceReset."""
        row = self.backend.phone(text_of(self.request, "deviceName") or "")
        how = text_of(self.request, "deviceResetType")
        if how is None:
            hard = text_of(self.request, "isHardReset")
            if hard is None:
                raise SoapFault("neither isHardReset nor deviceResetType is given", code="soapenv:Client")
            how = "Reset" if hard in ("true", "t", "1") else "Restart"
        if how not in ("Reset", "Restart", "Apply Configuration"):
            raise SoapFault(f"there is no deviceResetType {how}", code="soapenv:Client")
        if row is None:
            raise AxlFault("Item not valid: The specified Device was not found", NOT_FOUND)
        self.backend.reset(_text(row["name"]), how)
        return self.standard(_text(row["uuid"]))

    def update_dhcp_subnet(self) -> etree._Element:
        """updateDhcpSubnet."""
        row = self.find("dhcpSubnet")
        changes = _simple_fields(self.request)
        for name in ("uuid", "dhcpServerName", "subnetIpAddress"):
            changes.pop(name, None)
        uuid = _text(row["uuid"])
        self.backend.update_dhcp_subnet(uuid, changes)
        return self.standard(uuid)


_OTHERS: Final[Mapping[str, Callable[[_Work], etree._Element]]] = {
    "getCCMVersion": _Work.version_of,
    "executeSQLQuery": _Work.query,
    "addPhone": _Work.add_phone,
    "removePhone": _Work.remove_phone,
    "addLine": _Work.add_line,
    "updatePhone": _Work.update_phone,
    "doDeviceReset": _Work.reset,
    "updateDhcpSubnet": _Work.update_dhcp_subnet,
}


def _too_large(matched: int, bound: int) -> AxlFault:
    return AxlFault(
        f"Query request too large. Total rows matched: {matched} rows. Suggestive Row Fetch: less than {bound} rows",
        INVALID,
    )


def _like(pattern: str) -> re.Pattern[str]:
    """SQL's LIKE: `%` for any characters, `_` for one."""
    parts = {"%": ".*", "_": "."}
    return re.compile("".join(parts.get(one) or re.escape(one) for one in pattern), re.IGNORECASE | re.DOTALL)


def _text(value: Value) -> str:
    match value:
        case Reference(name):
            return name
        case bool():
            return "true" if value else "false"
        case int() | str():
            return str(value)
    return ""


def _simple_fields(element: etree._Element) -> dict[str, str]:
    """Children without children of their own."""
    return {local_name(one): (one.text or "").strip() for one in element if isinstance(one.tag, str) and not len(one)}


def _line_fields(element: etree._Element) -> dict[str, str]:
    """A phone's line, its directory number among its fields."""
    number = child(element, "dirn")
    return _simple_fields(element) | ({} if number is None else _simple_fields(number))


def _write(
    parent: etree._Element,
    name: str,
    row: Row,
    order: Sequence[str],
    tags: etree._Element | None,
    *,
    all_without_tags: bool = False,
) -> None:
    """An object with its uuid and the fields that `tags` names; all of them where it names none and that is meant."""
    wanted = {local_name(tag) for tag in tags} if tags is not None else set()
    everything = all_without_tags and not wanted
    element = etree.SubElement(parent, name)
    if row.get("uuid"):
        element.set("uuid", _text(row["uuid"]))
    for field in order:
        if field not in row or not (everything or field in wanted):
            continue
        value = row[field]
        if isinstance(value, Inner):
            fields = [key for key in value.fields if key != "uuid"]
            _write(element, field, value.fields, fields, None, all_without_tags=True)
            continue
        inner = etree.SubElement(element, field)
        if isinstance(value, Mapping):
            for item, rows in value.items():
                for one in rows:
                    _write(inner, item, one, [key for key in one if key != "uuid"], None, all_without_tags=True)
            continue
        inner.text = xml_text(_text(value))
        if isinstance(value, Reference) and value.uuid:
            inner.set("uuid", value.uuid)
