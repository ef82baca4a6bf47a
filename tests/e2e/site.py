"""A lab a test can start, stop and start again, with keys or files changed in between."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.lab.prepared import LiveLab, Prepared, lab_definition

from trustbridge import atomicfile
from trustbridge.lab.definition import PhonesDefinition
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.issue import KeyName, Organisation, self_signed
from trustbridge.pki.units import Unit

SOURCE, DESTINATION = "source", "destination"


class Site:
    """Two clusters of two nodes each; nothing runs until `up`."""

    def __init__(self, prepared: Prepared, folder: Path) -> None:
        self._prepared = prepared
        self.folder = folder

    def up(self, *kinds: PhonesDefinition, exchanged: bool = False, **changes: Any) -> LiveLab:
        """The lab, to be used as a context. The first time it is made: of these phones, these changes to a cluster's
        definition, and after the exchange or before."""
        if not self.folder.exists():
            prepared = self._prepared.exchanged() if exchanged else self._prepared
            prepared.lab(self.folder, lab_definition(*kinds, **changes))
        return LiveLab(self.folder)

    def path(self, cluster: str, node: str, *rest: str) -> Path:
        """In a node's folder."""
        return self.folder.joinpath("clusters", cluster, "nodes", node, *rest)

    def renew(
        self,
        cluster: str,
        node: str,
        unit: Unit = Unit.TVS,
        *,
        now: datetime | None = None,
        days: int = 1826,
        key: KeyName = "rsa2048",
    ) -> Certificate:
        """Regenerate one certificate while the lab is down, as an administrator does; give the new one."""
        place = self.path(cluster, node, "identity")
        old = Certificate.from_pem((place / f"{unit}.pem").read_bytes())
        made = self_signed(
            node=node,
            unit=unit,
            common_name=old.common_name,
            organisation=Organisation(ou="UC", o="renewed", l="Krakow", st="Malopolska", c="PL"),
            now=now or datetime.now(UTC) - timedelta(days=1),
            days=days,
            key=key,
        )
        atomicfile.write(place / f"{unit}.key", made.key_pem())
        atomicfile.write(place / f"{unit}.pem", made.certificate.pem().encode())
        return made.certificate
