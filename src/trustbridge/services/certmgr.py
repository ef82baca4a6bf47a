"""Certificate Management REST as a node of release 14 or later answers it: requests in, answers out, over a backend.

Source: `cucm-interfaces`, section 2. What differs between releases or is UNVERIFIED is a `Style`, so that clients can
be tried against each: names of lists, whether stores are called by their own name or by their unit's, `GET /options`.

Left out: `POST /identity/certificates`, the installation of a certificate that answers a signing request.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeGuard

from trustbridge.errors import InvalidCertificate, TrustbridgeError
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.units import Store, Unit
from trustbridge.services.asgi import Endpoint, Request, Response

BASE: Final = "/platformcom/api/v1/certmgr/config"
#: What a 401 asks for. UNVERIFIED.
REALM: Final = "Platform Communication Web Service"

KeyType = Literal["rsa", "ec"]
#: Key lengths that can be asked for; the first is the default.
KEY_LENGTHS: Final[Mapping[KeyType, tuple[int, ...]]] = {"rsa": (2048, 3072, 4096), "ec": (384, 256, 521)}
HASHES: Final = ("sha256", "sha384", "sha512")
#: Names in a certificate at most; a node's own limit is not public.
_MAX_NAMES: Final = 100


@dataclass(frozen=True, slots=True)
class Style:
    """How a release spells. All of it UNVERIFIED but the two names of the inner list.

    Attributes:
        inner_list: the list of certificates of a store, in a snapshot.
        wrapped: lists of trusted certificates stand in an object, not alone.
        written: how answers call a store: by its name, `tomcat-trust`, or by its unit, `tomcat`.
        read: what requests may call it.
        options: whether `GET /options` is there.
    """

    inner_list: Literal["certificate_data", "certificates"] = "certificate_data"
    wrapped: bool = False
    written: Literal["store", "unit"] = "store"
    read: Literal["both", "store", "unit"] = "both"
    options: bool = True


@dataclass(frozen=True, slots=True)
class TrustedFile:
    """A certificate in a store, and the file name the node knows it by."""

    name: str
    certificate: Certificate


@dataclass(frozen=True, slots=True)
class SigningRequest:
    """What a certificate is asked for; `names` are further DNS names."""

    unit: Unit
    common_name: str
    names: tuple[str, ...]
    key_type: KeyType
    key_length: int
    hash_name: str


class CertificateBackend(Protocol):
    """What a node holds."""

    @property
    def server(self) -> str:
        """The node's own name, with its domain."""

    def identities(self) -> Sequence[tuple[Unit, Certificate]]:
        """Its identity certificates."""

    def trusted(self, store: Store) -> Sequence[TrustedFile]:
        """What a store holds."""

    def upload_trust(self, store: Store, certificates: Sequence[Certificate], description: str) -> None:
        """Put certificates into a store; one that is there is passed over. Raises TrustbridgeError."""

    def signing_request(self, wanted: SigningRequest) -> str:
        """A new key's signing request as PEM. Called outside the event loop: a key takes time."""


class _Bad(Exception):
    """The request makes no sense: 400, with these words."""


def certificate_management(backend: CertificateBackend, style: Style = Style()) -> Endpoint:
    """The endpoint that answers for `backend`; its paths begin with `BASE`."""
    routes: dict[tuple[str, str], Callable[[Request], object]] = {
        ("GET", "/snapshot/server"): lambda request: _snapshot(backend, style),
        ("GET", "/identity/certificates"): lambda request: _identities(backend, request),
        ("GET", "/identity/certificate"): lambda request: _identity(backend, request),
        ("GET", "/trust/certificate"): lambda request: _trusted(backend, style, request),
        ("POST", "/trust/certificates"): lambda request: _upload(backend, style, request),
    }
    if style.options:
        routes["GET", "/options"] = lambda request: _options(backend, style)
    paths = {path for _, path in routes} | {"/csr"}

    async def answer(request: Request) -> Response:
        path = request.path.removeprefix(BASE).rstrip("/")
        if path not in paths:
            return _says(404, "The requested resource is not available.")
        try:
            if (request.method, path) == ("POST", "/csr"):
                wanted = _wanted(backend, request)
                return Response.of_json({"csr": await asyncio.to_thread(backend.signing_request, wanted)})
            route = routes.get((request.method, path))
            if route is None:
                return _says(405, "Method Not Allowed")
            return Response.of_json(route(request))
        except _Bad as error:
            return _says(400, str(error))
        except TrustbridgeError as error:
            return _says(500, error.message)

    return answer


def _says(status: int, message: str) -> Response:
    return Response.of_json({"message": message}, status)


# Reads.


def _snapshot(backend: CertificateBackend, style: Style) -> object:
    return {
        "trackingId": f"trustbridge_{uuid.uuid4()}",
        "server": backend.server,
        "identities": [_identity_value(unit, certificate) for unit, certificate in backend.identities()],
        "trusts": [
            {"service": _written(store, style), style.inner_list: [_trusted_value(file) for file in held]}
            for store in Store
            if (held := backend.trusted(store))
        ],
        "revokedCertificates": [],
    }


def _identities(backend: CertificateBackend, request: Request) -> object:
    wanted = request.query.get("service")
    found = [(unit, certificate) for unit, certificate in backend.identities() if wanted in (None, str(unit))]
    if not found:
        raise _Bad(f"There is no service {wanted}.")
    return [_identity_value(unit, certificate) for unit, certificate in found]


def _identity(backend: CertificateBackend, request: Request) -> object:
    wanted = request.query.get("service")
    for unit, certificate in backend.identities():
        if wanted == unit:
            return _identity_value(unit, certificate)
    raise _Bad(f"There is no service {wanted}." if wanted else "A service must be named.")


def _identity_value(unit: Unit, certificate: Certificate) -> dict[str, str]:
    return {"service": str(unit), "certificate": certificate.pem()}


def _trusted(backend: CertificateBackend, style: Style, request: Request) -> object:
    held = [_trusted_value(file) for file in backend.trusted(_store(request.query.get("service"), style))]
    return {"certificates": held} if style.wrapped else held


def _trusted_value(file: TrustedFile) -> dict[str, str]:
    return {"filename": file.name, "certificate": file.certificate.pem()}


def _options(backend: CertificateBackend, style: Style) -> object:
    return {
        "identity": {"services": [str(unit) for unit, _ in backend.identities()]},
        "trust": {"services": [_written(store, style) for store in Store]},
        "csr": {"keyTypes": {kind: list(lengths) for kind, lengths in KEY_LENGTHS.items()}, "hashAlgorithms": HASHES},
    }


# Writes.


def _upload(backend: CertificateBackend, style: Style, request: Request) -> object:
    body = _object(request)
    named = body.get("service")
    services = named if isinstance(named, list) else [named]
    pems = body.get("certificates")
    if not isinstance(pems, list) or not pems:
        raise _Bad("Certificates must be given.")
    stores = [_store(service, style) for service in services]
    if not stores:
        raise _Bad("A service must be named.")
    # All of them are read before the first is kept.
    certificates = [_certificate(pem, place) for place, pem in enumerate(pems, start=1)]
    description = body.get("description", "")
    for store in stores:
        backend.upload_trust(store, certificates, description if isinstance(description, str) else "")
    return {"message": "Certificates were uploaded.", "service": services}


def _certificate(pem: object, place: int) -> Certificate:
    try:
        if isinstance(pem, str):
            return Certificate.from_pem(pem)
    except InvalidCertificate:
        pass
    raise _Bad(f"Certificate {place} is not valid.")


def _wanted(backend: CertificateBackend, request: Request) -> SigningRequest:
    body = _object(request)
    unit = next((unit for unit, _ in backend.identities() if body.get("service") == unit), None)
    if unit is None:
        raise _Bad(f"There is no service {_quoted(body.get('service'))}.")
    if body.get("distribution", "this-server") != "this-server":
        raise _Bad(f"Distribution {_quoted(body.get('distribution'))} is not available here.")
    key_type: KeyType = "ec" if str(body.get("keyType", "rsa")).lower() in ("ec", "ecdsa") else "rsa"
    if str(body.get("keyType", "rsa")).lower() not in ("rsa", "ec", "ecdsa"):
        raise _Bad(f"There is no key type {_quoted(body.get('keyType'))}.")
    length = body.get("keyLength", KEY_LENGTHS[key_type][0])
    hash_name = str(body.get("hashAlgorithm", HASHES[0])).lower().replace("-", "")
    common_name = body.get("commonName", backend.server)
    names = body.get("altNames", [])
    if length not in KEY_LENGTHS[key_type]:
        raise _Bad(f"There are no {key_type} keys of {_quoted(length)} bits.")
    if hash_name not in HASHES:
        raise _Bad(f"There is no hash algorithm {_quoted(body.get('hashAlgorithm'))}.")
    if not _is_name(common_name):
        raise _Bad(f"{_quoted(common_name)} is no common name.")
    if not isinstance(names, list) or len(names) > _MAX_NAMES or not all(map(_is_name, names)):
        raise _Bad("altNames is not a list of names.")
    return SigningRequest(unit, common_name, tuple(names), key_type, int(length), hash_name)


def _is_name(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= 64 and value.isascii() and value.isprintable()


def _object(request: Request) -> dict[str, object]:
    try:
        value = json.loads(request.body)
    except (ValueError, RecursionError):
        raise _Bad("The request is not JSON.") from None
    if not isinstance(value, dict):
        raise _Bad("The request is not a JSON object.")
    return value


# Names of stores.


def unit_name(store: Store) -> str:
    """What a store is called by its unit: `tomcat-trust` is `tomcat`."""
    return store.removesuffix("-trust")


def _written(store: Store, style: Style) -> str:
    return str(store) if style.written == "store" else unit_name(store)


def _store(name: object, style: Style) -> Store:
    for store in Store:
        if (style.read != "unit" and name == store) or (style.read != "store" and name == unit_name(store)):
            return store
    raise _Bad(f"There is no service {_quoted(name)}." if name else "A service must be named.")


def _quoted(value: object) -> str:
    return str(value)[:80]
