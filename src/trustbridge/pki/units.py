"""Units, bulk types and trust stores of a cluster, and the one table of where an import lands.

Source: `domain`, "Cluster, nodes, certificates" and "The bulk procedure" (the vendor's procedure restated).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from trustbridge.errors import SettingsError


class Unit(StrEnum):
    """What an identity certificate is for; the names of the vendor's certificate page."""

    CALLMANAGER = "CallManager"
    CALLMANAGER_ECDSA = "CallManager-ECDSA"
    TOMCAT = "tomcat"
    TOMCAT_ECDSA = "tomcat-ECDSA"
    CAPF = "CAPF"
    TVS = "TVS"
    ITLRECOVERY = "ITLRecovery"
    IPSEC = "ipsec"


class BulkType(StrEnum):
    """What bulk certificate management exchanges. TVS and ipsec are not part of it."""

    TFTP = "tftp"
    TOMCAT = "tomcat"
    CAPF = "capf"
    ITLRECOVERY = "itlrecovery"


class Store(StrEnum):
    """A trust store; each node holds its own copy, replicated from the publisher."""

    CALLMANAGER_TRUST = "CallManager-trust"
    PHONE_SAST_TRUST = "Phone-SAST-trust"
    TOMCAT_TRUST = "tomcat-trust"
    CAPF_TRUST = "CAPF-trust"
    TVS_TRUST = "TVS-trust"
    IPSEC_TRUST = "ipsec-trust"


#: The identities each bulk type carries.
UNITS_OF: Final[Mapping[BulkType, tuple[Unit, ...]]] = MappingProxyType(
    {
        BulkType.TFTP: (Unit.CALLMANAGER, Unit.CALLMANAGER_ECDSA),
        BulkType.TOMCAT: (Unit.TOMCAT, Unit.TOMCAT_ECDSA),
        BulkType.CAPF: (Unit.CAPF,),
        BulkType.ITLRECOVERY: (Unit.ITLRECOVERY,),
    }
)

#: Where the *other* cluster's certificates land on import. Every rule about imports is read from here.
IMPORT_STORES: Final[Mapping[BulkType, tuple[Store, ...]]] = MappingProxyType(
    {
        BulkType.TFTP: (Store.PHONE_SAST_TRUST, Store.CALLMANAGER_TRUST),
        BulkType.TOMCAT: (Store.TOMCAT_TRUST,),
        BulkType.CAPF: (Store.CALLMANAGER_TRUST,),
        BulkType.ITLRECOVERY: (Store.PHONE_SAST_TRUST, Store.CALLMANAGER_TRUST),
    }
)

#: Where a cluster keeps the certificates of its own identities.
OWN_STORES: Final[Mapping[Unit, tuple[Store, ...]]] = MappingProxyType(
    {
        Unit.CALLMANAGER: (Store.PHONE_SAST_TRUST, Store.CALLMANAGER_TRUST),
        Unit.CALLMANAGER_ECDSA: (Store.PHONE_SAST_TRUST, Store.CALLMANAGER_TRUST),
        Unit.TOMCAT: (Store.TOMCAT_TRUST,),
        Unit.TOMCAT_ECDSA: (Store.TOMCAT_TRUST,),
        Unit.CAPF: (Store.CALLMANAGER_TRUST, Store.CAPF_TRUST),
        Unit.TVS: (Store.TVS_TRUST,),
        Unit.ITLRECOVERY: (Store.PHONE_SAST_TRUST, Store.CALLMANAGER_TRUST),
        Unit.IPSEC: (Store.IPSEC_TRUST,),
    }
)

#: The vendor's page offers this beside the types.
ALL: Final = "all"


def bulk_types(name: str) -> tuple[BulkType, ...]:
    """The types a person means by `name`: one of them, or all of them for "all"; case does not matter.

    Raises:
        SettingsError: no such type.
    """
    wanted = name.strip().lower()
    if wanted == ALL:
        return tuple(BulkType)
    try:
        return (BulkType(wanted),)
    except ValueError:
        raise SettingsError(
            f"{name!r} is no type of bulk certificate", f"use one of: {ALL}, {', '.join(BulkType)}"
        ) from None
