"""Certificates: of all clusters, of one, its trust stores, and one certificate with all that is in it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from cryptography import x509
from fastapi import APIRouter, Request
from fastapi.responses import Response

from trustbridge.console import clusterwork
from trustbridge.console.certificatelists import WITHIN, Expiry, Wanted, identities, trusted
from trustbridge.console.faults import NotThere
from trustbridge.console.guard import DeskHere, Viewer
from trustbridge.console.routes.clusters import cluster_page
from trustbridge.console.views import fragment, page
from trustbridge.console.words import N_
from trustbridge.errors import InvalidCertificate
from trustbridge.migration.clusterreading import held_by, owners
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.units import Store, Unit
from trustbridge.trust.inspection.certificates import certificate_problems

router = APIRouter()

#: What "expiry" may be filtered by, as it is called.
WITHIN_WORDS: Final = {
    "expired": N_("expired"),
    "30": N_("within 30 days"),
    "90": N_("within 90 days"),
    "365": N_("within a year"),
}
assert tuple(WITHIN_WORDS) == WITHIN


def wanted_of(query: Mapping[str, str], cluster: str = "") -> Wanted:
    """What an address asks for."""
    number = query.get("page", "")
    return Wanted(
        cluster=cluster or query.get("cluster", "")[:63],
        node=query.get("node", "")[:255],
        unit=query.get("unit", "")[:63],
        store=query.get("store", "")[:63],
        text=query.get("text", "")[:200],
        within=query.get("within", "")[:10],
        sort=query.get("sort", "")[:20] or "until",
        page=int(number) if number.isdecimal() and len(number) < 6 else 1,
    )


@router.get("/certificates")
def certificates(request: Request, desk: DeskHere, who: Viewer) -> Response:
    readings = clusterwork.all_readings(desk)
    wanted = wanted_of(request.query_params)
    return page(
        request,
        "clusters/certificates",
        path="/clusters",
        entry=None,
        clusters=list(readings),
        nodes=[],
        units=list(Unit),
        within=WITHIN_WORDS,
        wanted=wanted,
        found=identities(readings, wanted, desk.now()),
        here="/certificates",
        unread=[name for name in desk.inventory.all() if name not in readings],
    )


@router.get("/clusters/{name}/certificates")
def of_cluster(request: Request, desk: DeskHere, who: Viewer, name: str) -> Response:
    readings = clusterwork.all_readings(desk)
    wanted = wanted_of(request.query_params, name)
    own = {name: readings[name]} if name in readings else {}
    return cluster_page(
        request,
        desk,
        name,
        "certificates",
        "certificates",
        clusters=[],
        nodes=[one["name"] for one in own[name]["nodes"]] if own else [],
        units=list(Unit),
        within=WITHIN_WORDS,
        wanted=wanted,
        found=identities(own, wanted, desk.now(), holding=readings),
        here=f"/clusters/{name}/certificates",
        unread=[],
    )


@router.get("/clusters/{name}/stores")
def stores(request: Request, desk: DeskHere, who: Viewer, name: str) -> Response:
    readings = clusterwork.all_readings(desk)
    wanted = wanted_of(request.query_params, name)
    known = name in readings
    return cluster_page(
        request,
        desk,
        name,
        "stores",
        "stores",
        nodes=[one["name"] for one in readings[name]["nodes"] if one["stores"]] if known else [],
        stores=list(Store),
        within=WITHIN_WORDS,
        wanted=wanted,
        found=trusted(readings, name, wanted, desk.now()) if known else None,
        here=f"/clusters/{name}/stores",
    )


@router.get("/certificates/{sha256}")
def certificate(request: Request, desk: DeskHere, who: Viewer, sha256: str) -> Response:
    """One certificate: a page, or for htmx what a dialogue shows."""
    readings = clusterwork.all_readings(desk)
    kept = next((one["certificates"][sha256] for one in readings.values() if sha256 in one["certificates"]), None)
    if kept is None:
        raise NotThere("no cluster that was read has this certificate")
    dates: list[str] = []
    lasting: list[str] = []
    extensions: tuple[tuple[str, bool, str], ...] = ()
    try:
        parsed = Certificate.from_pem(kept["pem"].encode())
        dates, lasting = certificate_problems(parsed, desk.now())
        extensions = extensions_of(parsed)
    except InvalidCertificate as error:
        lasting = [error.message]
    htmx = request.headers.get("hx-request") == "true"
    answer = fragment if htmx else page
    return answer(
        request,
        "clusters/certificate_part" if htmx else "clusters/certificate",
        one=kept,
        expiry=Expiry.of(kept["not_after"], desk.now()),
        starts=_moment(kept["not_before"]),
        problems=[*dates, *lasting],
        extensions=extensions,
        owners=owners(readings).get(sha256, []),
        holders=held_by(readings).get(sha256, {}),
        asked=list(readings),
    )


def extensions_of(certificate: Certificate) -> tuple[tuple[str, bool, str], ...]:
    """Name, whether it is critical, and words of each extension; what can't be read is none."""
    try:
        found = certificate.x509.extensions
    except ValueError:
        return ()
    return tuple((one.oid._name, one.critical, _extension(one.value)) for one in found)


def _extension(value: Any) -> str:
    """An extension in words; where there are none for it, as its bytes."""
    match value:
        case x509.SubjectAlternativeName():
            return ", ".join(str(one.value) for one in value)
        case x509.BasicConstraints():
            return f"CA: {'yes' if value.ca else 'no'}" + (
                "" if value.path_length is None else f", path length {value.path_length}"
            )
        case x509.ExtendedKeyUsage():
            return ", ".join(one._name for one in value)
        case x509.KeyUsage():
            names = [
                "digital_signature",
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "key_cert_sign",
                "crl_sign",
            ]
            return ", ".join(one.replace("_", " ") for one in names if getattr(value, one))
        case x509.SubjectKeyIdentifier():
            return value.digest.hex(":").upper()
        case x509.AuthorityKeyIdentifier():
            return (value.key_identifier or b"").hex(":").upper()
    try:
        return str(value.public_bytes().hex())
    except (AttributeError, NotImplementedError, ValueError):
        return ""


def _moment(at: str | None) -> datetime | None:
    return datetime.fromisoformat(at) if at else None
