"""The files a TFTP node serves: its trust lists, and each phone's configuration, signed on demand."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

from trustbridge import atomicfile
from trustbridge.errors import DecodeError
from trustbridge.lab.cluster import Cluster, Device
from trustbridge.pki.units import Unit
from trustbridge.services.files import FolderSource
from trustbridge.trust import configuration as configurations
from trustbridge.trust.configuration import (
    SECURITY_AUTHENTICATED,
    TRANSPORT_TCP,
    TRANSPORT_TLS,
    CallManagerMember,
    Configuration,
    TvsServer,
)
from trustbridge.trust.lists import ListedCertificate, Signer, build_trust_list, ctl_entries, itl_entries, sign_file
from trustbridge.wire import signedfile, trustlist
from trustbridge.wire.trustlist import TrustListFile

ITL_FILE, CTL_FILE = "ITLFile.tlv", "CTLFile.tlv"
#: Signed configurations kept; with 3 KB each, some tens of megabytes whatever the number of phones.
KEPT_SIGNED = 4096

_PER_PHONE = re.compile(r"(?P<kind>CTL|ITL)(?P<device>SEP[0-9A-F]{12})\.tlv")
_CONFIGURATION = re.compile(r"(?P<device>SEP[0-9A-F]{12}|XMLDefault)\.cnf\.xml(?P<signed>\.sgn)?")


class NodeFiles:
    """A `FileSource`: what one TFTP node answers for a name."""

    def __init__(self, cluster: Cluster, node: str) -> None:
        self._cluster = cluster
        self._node = node
        self._folder = cluster.tftp_folder(node)
        self._static = FolderSource(self._folder)
        self._signer: Signer = cluster.file_signer(node)
        #: Trust lists as they were read last, each with what tells that file from another one.
        self._lists: dict[str, tuple[tuple[int, int, int], TrustListFile]] = {}
        self._signed = lru_cache(maxsize=KEPT_SIGNED)(self._sign)
        self.rebuild()

    def __call__(self, name: str) -> bytes | None:
        """The content of a file, or None."""
        match = _PER_PHONE.fullmatch(name)
        if match is not None:
            return self._static(ITL_FILE if match["kind"] == "ITL" else CTL_FILE)
        match = _CONFIGURATION.fullmatch(name)
        if match is None:
            return self._static(name)
        plain = self._configuration(match["device"])
        if plain is None or match["signed"] is None:
            return plain
        return self._signed(name, plain)

    def _sign(self, name: str, plain: bytes) -> bytes:
        cluster = self._cluster
        return signedfile.encode(
            sign_file(plain, self._signer, file_name=name, now=cluster.clock(), digest=cluster.definition.digest)
        )

    def _configuration(self, name: str) -> bytes | None:
        device = self._cluster.devices.get(name)
        if device is None and name != "XMLDefault":
            return None
        return configurations.build(configuration_of(self._cluster, device))

    # Trust lists.

    def rebuild(self) -> None:
        """Bring the trust lists on disk up to date, as a restart of Cisco Tftp does.

        A list whose content and signer would be the same stays as it is, so that phones see no new file for nothing.
        """
        cluster = self._cluster
        nodes = cluster.node_certificates()
        address = cluster.definition.address
        publisher = address(cluster.publisher)
        signer = cluster.list_signer(self._node)
        recovery = cluster.identity(cluster.publisher, Unit.ITLRECOVERY).certificate
        capf = cluster.capf.certificate
        own = next(node for node in nodes if node.name == address(self._node))
        self._keep(
            ITL_FILE,
            itl_entries(
                own,
                nodes,
                publisher=publisher,
                signer=signer.certificate,
                itl_recovery=recovery,
                capf=capf,
                blank=cluster.state.prepare_for_rollback,
            ),
            signer,
        )
        if cluster.mixed_mode:
            entries = ctl_entries(nodes, publisher=publisher, itl_recovery=recovery, capf=capf)
            self._keep(CTL_FILE, entries, cluster.list_signer(cluster.publisher))
        else:
            (self._folder / CTL_FILE).unlink(missing_ok=True)

    def _keep(self, name: str, entries: list[ListedCertificate], signer: Signer) -> None:
        records = tuple(entry.record() for entry in entries)
        there = self._list(name)
        digest = self._cluster.definition.digest
        if (
            there is not None
            and there.records == records
            and there.header.serial == signer.certificate.serial
            and there.header.digest == digest
        ):
            return
        file = build_trust_list(entries, signer, file_name=name, now=self._cluster.clock(), digest=digest)
        atomicfile.write(self._folder / name, trustlist.encode(file))

    def _list(self, name: str) -> TrustListFile | None:
        """A trust list as it is on disk, where somebody may have put another one; None for none that can be read."""
        path = self._folder / name
        try:
            status = path.stat()
            mark = (status.st_ino, status.st_mtime_ns, status.st_size)
            known = self._lists.get(name)
            if known is None or known[0] != mark:
                known = self._lists[name] = (mark, trustlist.decode(path.read_bytes()))
        except (FileNotFoundError, DecodeError):
            return None
        return known[1]


def configuration_of(cluster: Cluster, device: Device | None) -> Configuration:
    """What a cluster tells a phone; None is a phone it does not know (`XMLDefault`)."""
    definition, ports = cluster.definition, cluster.ports
    groups = definition.unified_cm_groups
    group = next((item for item in groups if device is not None and item.name == device.group), groups[0])
    addresses = [definition.address(member) for member in group.members]
    security_mode = cluster.security_of(device)
    secure = security_mode >= SECURITY_AUTHENTICATED
    stamp = hashlib.sha256(f"{cluster.name}/{device}/{security_mode}/{group}".encode())
    return Configuration(
        call_managers=tuple(CallManagerMember(address, ports.sip, ports.sips) for address in addresses),
        tvs=tuple(TvsServer(address, ports.tvs) for address in addresses),
        security_mode=security_mode,
        transport=TRANSPORT_TLS if secure else TRANSPORT_TCP,
        capf=(definition.address(definition.publisher), ports.capf) if secure else None,
        version_stamp=stamp.hexdigest()[:16],
        device_pool=group.name,
    )
