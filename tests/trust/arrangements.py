"""The two clusters of `world`, with or without the exchange, and what can be wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from tests.trust.world import DEVICE, NOW, Ended, World, cluster, stranger

from trustbridge.pki.units import Store, Unit
from trustbridge.trust.events import Flash
from trustbridge.trust.lists import Signer
from trustbridge.trust.models import MODELS
from trustbridge.trust.vouch import Vouched, VouchIndex

A, B = cluster("src"), cluster("dst")
CTL, ITL, CONFIGURATION = f"CTL{DEVICE}.tlv", f"ITL{DEVICE}.tlv", f"{DEVICE}.cnf.xml"


def world(*, exchanged: bool = True, secure: bool = False) -> World:
    """Source and destination, with or without the seed's exchange."""
    made = World()
    made.add(A, *(B.offered() if exchanged else ()), secure=secure)
    made.add(B, *(A.offered() if exchanged else ()), secure=secure)
    return made


def move(made: World, flash: Flash, *, model: str = "CP-8861", now: datetime = NOW) -> Ended:
    """Point the phone at the destination's TFTP servers and reset it."""
    return made.boot(flash, ("dst1", "dst2"), model=MODELS[model], now=now)


def serve(content: bytes, name: str = ITL) -> Callable[[World], None]:
    """Both TFTP servers of the destination have this file."""

    def arrange(made: World) -> None:
        for server in ("dst1", "dst2"):
            made.tftp[server][name] = content

    return arrange


def withdraw(*names: str) -> Callable[[World], None]:
    def arrange(made: World) -> None:
        for server in ("dst1", "dst2"):
            for name in names:
                made.tftp[server].pop(name)

    return arrange


def vouch(*held: tuple[Store, Unit]) -> Callable[[World], None]:
    """The source's TVS servers hold these certificates of the destination's publisher, and no others of it."""

    def arrange(made: World) -> None:
        index = VouchIndex.from_stores([*A.stores(), *((store, B.certificate(unit)) for store, unit in held)])
        for name in ("src1", "src2"):
            made.tvs[name].index = index

    return arrange


def lose(*names: str, where: str = "tvs") -> Callable[[World], None]:
    """These servers do not answer."""

    def arrange(made: World) -> None:
        for name in names:
            getattr(made, where).pop(name)

    return arrange


def renew_tvs(*names: str) -> Callable[[World], None]:
    """These nodes' TVS certificates were regenerated since the phone got its ITL (TB110)."""

    def arrange(made: World) -> None:
        for name in names:
            made.tvs[name].certificate = stranger().certificate

    return arrange


def confuse_tvs(made: World) -> None:
    """Two certificates share issuer and serial number, and TVS finds the other one (TB108)."""
    key, other = B.certificate(Unit.ITLRECOVERY).key, B.certificate(Unit.CALLMANAGER)
    for name in ("src1", "src2"):
        made.tvs[name].index = VouchIndex({key: Vouched(other, (0, 3))})


def replicate_late(made: World) -> None:
    """The import has not reached the node the phone asks first (TB102)."""
    made.tvs["src1"].index = VouchIndex.from_stores(A.stores())


BIG = A.itl(nodes=A.nodes * 20)
FORGED = B.itl(signer=Signer(B.certificate(Unit.ITLRECOVERY), stranger().private_key))
LONG_KEY = B.itl(signer=Signer(stranger("rsa4096").certificate, stranger("rsa4096").private_key))
