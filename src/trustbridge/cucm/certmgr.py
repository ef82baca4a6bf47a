"""Certificate Management REST of a node (release 14 and later): certificates read, trust uploaded, signing requests.

The parsers are pure and total: any JSON gives a value or `Garbled`. They take both spellings that are known of every
list. What a node calls a store, by its own name or by its unit's, is asked of `GET /options` and else tried.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from cryptography import x509

from trustbridge.cucm.https import Answer, NodeHttps
from trustbridge.cucm.model import NodeIdentity, TrustedCertificate
from trustbridge.errors import Garbled, InvalidCertificate, NotSupported, Refused, TrustbridgeError
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.units import Store, Unit

_log = logging.getLogger(__name__)

BASE: Final = "/platformcom/api/v1/certmgr/config"
#: Lists of certificates are under one of these, or stand alone.
_LISTS: Final = ("certificate_data", "certificates", "certificate")
#: Seconds between looks whether an upload has arrived.
_LOOKS: Final = (0.0, 0.5, 2.0, 5.0)
_ABSENT: Final = (400, 404, 405, 501)


@dataclass(frozen=True, slots=True)
class Listed:
    """A certificate a node listed; `service` and `name` are its own words, "" where it gave none."""

    service: str
    name: str
    certificate: Certificate


@dataclass(frozen=True, slots=True)
class Listing:
    """What a node listed. `unreadable` names entries that hold no certificate anybody here can read."""

    listed: tuple[Listed, ...]
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All certificates of a node. `server` is what it calls itself."""

    server: str
    identities: Listing
    trusts: Listing


# Parsers.


def parse_json(body: bytes) -> object:
    """A body as JSON.

    Raises:
        Garbled: it is none.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Garbled("the answer is not JSON", "Is that a node's certificate management, or a proxy?") from None


def parse_snapshot(value: object) -> Snapshot:
    """Read `GET /snapshot/server`.

    Raises:
        Garbled: it has another shape; the message says where.
    """
    if not isinstance(value, dict):
        raise _garbled("a snapshot is an object", value)
    server = value.get("server", "")
    if not isinstance(server, str):
        raise _garbled("a snapshot's server is a text", server)
    if "identities" not in value and "trusts" not in value:
        raise _garbled("a snapshot holds identities and trusts", sorted(value))
    identities = _collected(_objects(value.get("identities", []), "identities"))
    trusts = _collected(_objects(value.get("trusts", []), "trusts"))
    if not all(one.service for one in (*identities.listed, *trusts.listed)):
        raise _garbled("each certificate of a snapshot has a service", "one without")
    return Snapshot(server, identities, trusts)


def parse_certificates(value: object, service: str = "") -> Listing:
    """Read a list of certificates: alone, in an object, or a single one.

    Args:
        service: whose they are, where the entries do not say it.

    Raises:
        Garbled: it has another shape; the message says where.
    """
    if isinstance(value, dict):
        return _collected([value], service)
    return _collected(_objects(value, "certificates"), service)


def parse_options(value: object) -> frozenset[str]:
    """Every name in `GET /options`. Its shape is UNVERIFIED, so all texts in it count, keys included. Total."""
    names: set[str] = set()
    waiting = [value]
    while waiting:
        this = waiting.pop()
        if isinstance(this, str):
            names.add(this)
        elif isinstance(this, dict):
            names.update(key for key in this if isinstance(key, str))
            waiting += this.values()
        elif isinstance(this, list | tuple):
            waiting += this
    return frozenset(names)


def parse_signing_request(value: object) -> str:
    """Read the answer to `POST /csr`: a signing request as PEM, whose signature holds.

    Raises:
        Garbled: anything else.
    """
    pem = value.get("csr") if isinstance(value, dict) else None
    if not isinstance(pem, str):
        raise _garbled("a signing request stands under csr", value)
    try:
        valid = x509.load_pem_x509_csr(pem.encode("utf-8", "replace")).is_signature_valid
    except Exception:  # the library raises many kinds; none tells more than that it can't be used
        valid = False
    if not valid:
        raise Garbled("the node's signing request can't be read, or its signature does not hold", _HINT)
    return pem


def store_named(name: str) -> Store | None:
    """The store a node means by a name of its own or of its unit; None for one this product does not know."""
    wanted = name.strip().casefold()
    return next((store for store in Store if wanted in (store.casefold(), unit_name(store).casefold())), None)


def unit_name(store: Store) -> str:
    """What a store is called by its unit: `tomcat-trust` is `tomcat`."""
    return store.removesuffix("-trust")


_HINT: Final = "Report it with the node's release: this shape has not been met before."


def _garbled(expected: str, found: object) -> Garbled:
    shown = f"{found!r:.60}" if not isinstance(found, dict | list) else type(found).__name__
    plain = "".join(sign if sign.isprintable() else "?" for sign in shown)
    return Garbled(f"{expected}, and the node's answer is not like that: {plain}", _HINT)


def _objects(value: object, what: str) -> list[dict[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise _garbled(f"{what} are a list", value)
    for entry in value:
        if not isinstance(entry, dict):
            raise _garbled(f"entries of {what} are objects", entry)
    return value


def _collected(entries: Sequence[Mapping[str, Any]], service: str = "") -> Listing:
    listed: list[Listed] = []
    unreadable: list[str] = []
    for owner, entry in _entries(entries, service):
        name = entry.get("filename", entry.get("fileName", ""))
        name = name if isinstance(name, str) else ""
        try:
            listed.append(Listed(owner, name, Certificate.from_pem(entry["certificate"])))
        except InvalidCertificate:
            unreadable.append("/".join(filter(None, (owner, name))) or "an entry without a name")
    return Listing(tuple(listed), tuple(unreadable))


def _entries(entries: Sequence[Mapping[str, Any]], service: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Entries that hold a PEM text, with whose they are; lists within an entry belong to its service."""
    for entry in entries:
        owner = entry.get("service", service)
        if not isinstance(owner, str):
            raise _garbled("a service is a text", owner)
        inner = next((entry[key] for key in _LISTS if isinstance(entry.get(key), list)), None)
        if inner is not None:
            for one in inner:
                if isinstance(one, str):
                    yield owner, {"certificate": one}
                elif isinstance(one, dict) and isinstance(one.get("certificate"), str):
                    yield owner, one
                else:
                    raise _garbled("a certificate is an object with its PEM text", one)
        elif isinstance(entry.get("certificate"), str):
            yield owner, entry
        elif any(entry.get(key, 0) is None for key in _LISTS):
            continue  # a service that has none
        else:
            raise _garbled("an entry holds a certificate or a list of them", sorted(map(str, entry)))


# The node.


class CertificateRest:
    """Certificate management of one node. Every method raises what `NodeHttps.request` raises, and:

    Raises:
        NotSupported: the node's release has no such interface.
        Refused: the node says no; with its words.
        Garbled: its answer has a shape never met before.
    """

    def __init__(self, https: NodeHttps) -> None:
        self._https = https
        self._options: frozenset[str] | None = None

    def __repr__(self) -> str:
        return f"<CertificateRest {self._https!r}>"

    async def snapshot(self) -> Snapshot:
        """All certificates of the node."""
        found = await self._get("/snapshot/server")
        with _at(self._https.here):
            snapshot = parse_snapshot(parse_json(found.body))
        self._warn(snapshot.identities)
        self._warn(snapshot.trusts)
        return snapshot

    async def identities(self) -> tuple[NodeIdentity, ...]:
        """The node's identity certificates; those of services this product does not know are left out."""
        units = {unit.casefold(): unit for unit in Unit}
        return tuple(
            NodeIdentity(self._https.node, units[one.service.casefold()], one.certificate)
            for one in (await self.snapshot()).identities.listed
            if one.service.casefold() in units
        )

    async def trusted(self, store: Store | None = None) -> tuple[TrustedCertificate, ...]:
        """What the node's trust stores hold, or one of them."""
        if store is None:
            listed = (await self.snapshot()).trusts.listed
            named = [(store_named(one.service), one) for one in listed]
        else:
            named = [(store, one) for one in (await self._trusted(store)).listed]
        return tuple(
            TrustedCertificate(self._https.node, found, one.certificate, one.name)
            for found, one in named
            if found is not None
        )

    async def upload_trust(
        self,
        store: Store,
        certificates: Sequence[Certificate],
        *,
        description: str = "trustbridge",
        looks: Sequence[float] = _LOOKS,
    ) -> None:
        """Put certificates into a trust store, and see them there. Those that are there already are passed over.

        Args:
            looks: seconds to wait before each look whether they have arrived.

        Raises:
            Refused: the node takes one not, or says it did and does not hold it.
        """
        missing = await self._missing(store, certificates)
        if not missing:
            return
        body = {"certificates": [one.pem() for one in missing], "description": description}
        answer = await self._named(store, "POST", "/trust/certificates", body)
        said = "" if answer.status < 300 else self._https.said(answer) or f": status {answer.status}"
        # What it holds decides, whatever it said: "there already" has many wordings, and some may have been taken.
        for pause in (0.0,) if said else looks:
            await asyncio.sleep(pause)
            missing = await self._missing(store, missing)
            if not missing:
                return
        names = ", ".join(one.subject for one in missing)
        raise Refused(
            f"{self._https.here}: {store} does not hold what was uploaded{said} ({names})",
            "A store keeps one certificate of a common name, the later one: see what it holds under that name (TB140).",
        )

    async def csr(
        self,
        unit: Unit,
        *,
        common_name: str | None = None,
        key_type: str = "rsa",
        key_length: int = 2048,
        hash_algorithm: str = "sha256",
        names: Sequence[str] = (),
    ) -> str:
        """Have the node make a key and a signing request for it, as PEM. It replaces an earlier request."""
        body: dict[str, object] = {
            "service": str(unit),
            "distribution": "this-server",
            "keyType": key_type,
            "keyLength": key_length,
            "hashAlgorithm": hash_algorithm,
        }
        if common_name is not None:
            body["commonName"] = common_name
        if names:
            body["altNames"] = list(names)
        answer = await self._https.request("POST", f"{BASE}/csr", again=False, value=body)
        self._accepted(answer, "/csr")
        with _at(self._https.here):
            return parse_signing_request(parse_json(answer.body))

    async def _missing(self, store: Store, certificates: Sequence[Certificate]) -> tuple[Certificate, ...]:
        held = {one.certificate for one in (await self._trusted(store)).listed}
        return tuple(one for one in dict.fromkeys(certificates) if one not in held)

    async def _trusted(self, store: Store) -> Listing:
        answer = await self._named(store, "GET", "/trust/certificate")
        self._accepted(answer, f"/trust/certificate of {store}")
        with _at(self._https.here):
            listing = parse_certificates(parse_json(answer.body), str(store))
        self._warn(listing)
        return listing

    async def _named(self, store: Store, method: str, path: str, body: Mapping[str, object] | None = None) -> Answer:
        """Ask about a store by the name the node knows it by; where it does not tell, by one and then the other.

        An upload may be sent again: a certificate that is there already is passed over.
        """
        answer = Answer(404)
        for name in await self._names(store):
            if body is None:
                answer = await self._https.request(method, BASE + path, again=True, query={"service": name})
            else:
                value = {"service": [name], **body}
                answer = await self._https.request(method, BASE + path, again=True, value=value)
            if answer.status not in _ABSENT:
                return answer
        return answer

    async def _names(self, store: Store) -> tuple[str, ...]:
        if self._options is None:
            answer = await self._https.request("GET", f"{BASE}/options", again=True)
            try:
                self._options = parse_options(parse_json(answer.body)) if answer.status < 300 else frozenset()
            except Garbled:
                self._options = frozenset()
        both = (str(store), unit_name(store))
        # A unit's name is there for its identity too: only a store's own name tells the two apart.
        return both if both[0] in self._options else both[::-1] if both[1] in self._options else both

    async def _get(self, path: str) -> Answer:
        answer = await self._https.request("GET", BASE + path, again=True)
        self._accepted(answer, path)
        return answer

    def _accepted(self, answer: Answer, what: str) -> None:
        here = self._https.here
        if answer.status < 300:
            return
        if answer.status in (404, 405, 501):
            raise NotSupported(
                f"{here}: the node does not know {what}",
                "Releases before 14 have no certificate REST: use the command line.",
            )
        if answer.status < 400:
            raise Garbled(f"{here}: the node sends us elsewhere for {what} (status {answer.status})", _HINT)
        raise Refused(
            f"{here}: the node refused {what} with status {answer.status}{self._https.said(answer)}",
            "Its log of Cisco Tomcat and of the platform says more.",
        )

    def _warn(self, listing: Listing) -> None:
        for name in listing.unreadable:
            _log.warning("%s: the certificate %s can't be read and is left out", self._https.here, _plain(name))


def _plain(text: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in text)[:120]


@contextmanager
def _at(here: str) -> Iterator[None]:
    """Put node and interface before the words of a parser's error."""
    try:
        yield
    except TrustbridgeError as error:
        error.message = f"{here}: {error.message}"
        error.args = (error.message,)
        raise
