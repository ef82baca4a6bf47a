"""Clusters as a survey finds them, made of certificates with quick keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from trustbridge.cucm.model import NodeIdentity, NodeInfo, Release, TrustedCertificate
from trustbridge.migration.survey import ClusterSurvey
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.issue import Identity, KeyName, Organisation, authority, self_signed, signed_by
from trustbridge.pki.units import OWN_STORES, Store, Unit

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
BEGUN = NOW - timedelta(days=100)


def organisation(name: str) -> Organisation:
    return Organisation(ou="UC", o=name, l="Krakow", st="Malopolska", c="PL")


@cache
def issued(
    cluster: str,
    common_name: str,
    unit: Unit,
    *,
    now: datetime = BEGUN,
    days: int = 1000,
    key: KeyName = "p256",
    serial: int | None = None,
) -> Certificate:
    """A self-signed certificate; the same for the same words."""
    return self_signed(
        node="",
        unit=unit,
        common_name=common_name,
        organisation=organisation(cluster),
        now=now,
        days=days,
        key=key,
        serial=serial,
    ).certificate


def identity(cluster: str, node: str, unit: Unit, **changes: Any) -> NodeIdentity:
    """An identity as a cluster of this name has it."""
    names = {Unit.CAPF: f"CAPF-{cluster}", Unit.ITLRECOVERY: f"ITLRECOVERY_{node}"}
    return NodeIdentity(node, unit, issued(cluster, names.get(unit, f"{node}.{cluster}"), unit, **changes))


def surveyed(
    name: str,
    *,
    release: str = "14.0.1",
    nodes: int = 2,
    mixed_mode: bool = True,
    fips: bool | None = False,
    identities: Sequence[NodeIdentity] = (),
    without: Sequence[NodeIdentity] = (),
    trusted: Sequence[tuple[Store, Certificate]] = (),
) -> ClusterSurvey:
    """A cluster with CallManager and tomcat on each node, CAPF and ITLRecovery on the publisher, and what it trusts.

    `identities` stand in place of those of the same node and unit.
    """
    infos = tuple(NodeInfo(f"{name}{place}", f"192.0.2.{place}", place == 1) for place in range(1, nodes + 1))
    own = {
        (info.name, unit): identity(name, info.name, unit) for info in infos for unit in (Unit.CALLMANAGER, Unit.TOMCAT)
    }
    own |= {(infos[0].name, unit): identity(name, infos[0].name, unit) for unit in (Unit.CAPF, Unit.ITLRECOVERY)}
    own |= {(one.node, one.unit): one for one in identities}
    held = [(store, one.certificate) for one in own.values() for store in OWN_STORES[one.unit]]
    return ClusterSurvey(
        name=name,
        release=Release.parse(release),
        nodes=infos,
        mixed_mode=mixed_mode,
        fips=fips,
        identities=tuple(one for one in own.values() if one not in without),
        trusted=tuple(TrustedCertificate(infos[0].name, store, one) for store, one in [*held, *trusted]),
        capf_trust={info.name: (own[infos[0].name, Unit.CAPF].certificate,) for info in infos} if mixed_mode else {},
    )


@cache
def root(name: str) -> Identity:
    """An authority."""
    return authority(name, organisation(name), BEGUN, key="p256")


@cache
def ca_signed(ca: str, cluster: str, node: str, unit: Unit) -> NodeIdentity:
    """An identity that an authority signed."""
    made = signed_by(
        root(ca),
        node=node,
        unit=unit,
        common_name=f"{node}.{cluster}",
        organisation=organisation(cluster),
        now=BEGUN,
        days=1000,
        key="p256",
    )
    return NodeIdentity(node, unit, made.certificate)
