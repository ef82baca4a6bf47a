"""What a lab that is up does on request: the verbs of its control socket, and what they answer.

Everything a person or a script may want of a running lab is one of these; the command line only words it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trustbridge import atomicfile
from trustbridge.errors import SettingsError
from trustbridge.exchange.directory import SftpSettings
from trustbridge.exchange.manifest import Contents
from trustbridge.lab import faults
from trustbridge.lab.cluster import Cluster
from trustbridge.lab.control import Progress
from trustbridge.lab.lab import Lab
from trustbridge.lab.phone import LabPhone, Standing
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.units import Store, bulk_types

Request = dict[str, Any]

#: The other end of calls: an address for documentation (RFC 5737), where nobody is.
REMOTE = "192.0.2.1/16384"


class LabRequests:
    """Carries out requests on a lab that runs."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.down = asyncio.Event()
        self._all_booted = asyncio.Event()
        self._finished = 0
        self._verbs: dict[str, Callable[[Request, Progress], Any]] = {
            "booted": self._booted,
            "status": self._status,
            "phone": self._phone,
            "reset": self._reset,
            "call": self._call,
            "hang-up": self._hang_up,
            "point": self._point,
            "security": self._security,
            "rollback-parameter": self._rollback_parameter,
            "erase-trust": self._erase_trust,
            "fault": self._fault,
            "sftp": self._sftp,
            "sftp server": self._sftp_server,
            "list": self._list,
            "export": self._export,
            "consolidate": self._consolidate,
            "import": self._import,
            "upload": self._upload,
            "credentials": self._credentials,
            "down": self._down,
        }

    async def __call__(self, request: Request, progress: Progress) -> Any:
        """Carry out one request; see the methods for what each takes and gives.

        Raises:
            TrustbridgeError: what went wrong.
        """
        verb = self._verbs.get(str(request.get("do")))
        if verb is None:
            raise SettingsError(f"a lab can't {request.get('do')!r}")
        with atomicfile.in_words("the lab's folder can't be used"):
            result = verb(request, progress)
            return await result if asyncio.iscoroutine(result) else result

    async def boot_all(self) -> None:
        """Start every phone, as when the power comes back."""

        def count(_: LabPhone) -> None:
            self._finished += 1

        try:
            await self._lab.boot(list(self._lab.fleet.phones.values()), count)
        finally:
            self._all_booted.set()

    async def _booted(self, request: Request, progress: Progress) -> None:
        """Wait until the phones have come to an end after the start."""
        while not self._all_booted.is_set():
            progress({"what": "", "done": self._finished, "total": len(self._lab.fleet.phones)})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_booted.wait(), 0.2)

    def _down(self, request: Request, progress: Progress) -> None:
        self.down.set()

    def _status(self, request: Request, progress: Progress) -> dict[str, Any]:
        return status(self._lab)

    def _phone(self, request: Request, progress: Progress) -> dict[str, Any]:
        (phone,) = self._lab.fleet.chosen([request["name"]])
        return {**phone_row(self._lab, phone), **phone_details(phone)}

    async def _reset(self, request: Request, progress: Progress) -> list[dict[str, Any]]:
        """`names`: phones, or null for all. Gives their rows."""
        names = request.get("names")
        fleet = self._lab.fleet
        phones = list(fleet.phones.values()) if names is None else fleet.chosen(names)
        done = 0

        def count(phone: LabPhone) -> None:
            nonlocal done
            done += 1
            progress({"what": phone.name, "done": done, "total": len(phones)})

        await self._lab.boot(phones, count)
        return [phone_row(self._lab, phone) for phone in phones]

    def _call(self, request: Request, progress: Progress) -> list[dict[str, Any]]:
        """`names`: phones. A call comes on each; gives their rows."""
        phones = self._lab.fleet.chosen(request["names"])
        for phone in phones:
            phone.place_call(str(request.get("remote") or REMOTE))
        return [phone_row(self._lab, phone) for phone in phones]

    def _hang_up(self, request: Request, progress: Progress) -> list[dict[str, Any]]:
        """`names`: phones. Their calls end; gives their rows."""
        phones = self._lab.fleet.chosen(request["names"])
        for phone in phones:
            phone.hang_up()
        return [phone_row(self._lab, phone) for phone in phones]

    def _point(self, request: Request, progress: Progress) -> list[str]:
        """`cluster`, or `servers`: addresses. Gives option 150 as it is now; with neither, changes nothing."""
        if request.get("cluster"):
            return list(self._lab.point_at(request["cluster"]))
        if request.get("servers"):
            self._lab.set_option150([str(server) for server in request["servers"]])
        return list(self._lab.option150)

    def _cluster(self, request: Request) -> Cluster:
        return self._lab.cluster(str(request["cluster"]))

    def _security(self, request: Request, progress: Progress) -> None:
        if request["security"] not in ("mixed", "non-secure"):
            raise SettingsError("a cluster's security mode is mixed or non-secure")
        self._cluster(request).set_security(request["security"])

    def _rollback_parameter(self, request: Request, progress: Progress) -> None:
        self._cluster(request).set_prepare_for_rollback(bool(request["value"]))

    def _erase_trust(self, request: Request, progress: Progress) -> None:
        for phone in self._lab.fleet.chosen(request["names"]):
            phone.flash.erase_trust()

    async def _fault(self, request: Request, progress: Progress) -> dict[str, Any]:
        """`node` or `cluster` with what is to go wrong, `clear`, or neither: what is wrong now."""
        if request.get("clear"):
            return faults.clear(self._lab)
        wanted = dict(request["wanted"])
        if request.get("node"):
            return await faults.spoil_node(self._lab, request["node"], **wanted)
        if request.get("cluster"):
            return faults.spoil_cluster(self._lab, request["cluster"], **wanted)
        return faults.faults(self._lab)

    # Bulk certificate management.

    def _sftp(self, request: Request, progress: Progress) -> dict[str, Any]:
        """Without `host`: the lab's own server. Gives what is set, without the password."""
        cluster = self._cluster(request)
        if request.get("show"):
            settings = cluster.state.sftp
        elif request.get("host"):
            key_file = request.get("key_file")
            settings = SftpSettings(
                host=request["host"],
                port=int(request["port"]),
                username=request["user"],
                password=request.get("password"),
                key_file=None if key_file is None else Path(key_file),
                directory=request["directory"],
            )
            cluster.configure_sftp(settings)
        else:
            settings = self._lab.sftp_settings()
            cluster.configure_sftp(settings)
        return {"server": None if settings is None else settings.describe()}

    def _sftp_server(self, request: Request, progress: Progress) -> dict[str, Any]:
        """The lab's own server with its password, for whoever may ask: only the lab's owner reaches its socket."""
        settings = self._lab.sftp_settings()
        return {name: getattr(settings, name) for name in ("host", "port", "username", "password", "directory")}

    async def _list(self, request: Request, progress: Progress) -> dict[str, Any]:
        return contents_rows(await self._cluster(request).list_exchange())

    async def _export(self, request: Request, progress: Progress) -> list[dict[str, Any]]:
        exported = await self._cluster(request).export(bulk_types(request["type"]), _as_progress(progress))
        return [
            {
                "file": bundle.name.file,
                "node": bundle.name.node,
                "type": bundle.name.type,
                "certificates": [certificate.subject for certificate in bundle.certificates],
                "written": bundle.written,
            }
            for bundle in exported
        ]

    async def _consolidate(self, request: Request, progress: Progress) -> list[dict[str, Any]]:
        done = await self._cluster(request).consolidate(bulk_types(request["type"]), _as_progress(progress))
        return [
            {
                "type": bundle.type,
                "file": bundle.file,
                "clusters": bundle.clusters,
                "certificates": bundle.certificates,
            }
            for bundle in done
        ]

    async def _import(self, request: Request, progress: Progress) -> list[dict[str, Any]]:
        done = await self._cluster(request).import_(bulk_types(request["type"]), _as_progress(progress))
        return [
            {
                "type": item.type,
                "from": item.origin,
                "subject": item.certificate.subject,
                "sha256": item.certificate.sha256,
                "store": item.store,
                "result": item.result,
            }
            for item in done
        ]

    def _upload(self, request: Request, progress: Progress) -> list[str]:
        """`store`, `pem`, and optionally `nodes`. Gives what happened a node."""
        certificate = Certificate.from_pem(request["pem"])
        return [
            str(added)
            for added in self._cluster(request).upload_trust(Store(request["store"]), certificate, request.get("nodes"))
        ]

    def _credentials(self, request: Request, progress: Progress) -> dict[str, Any]:
        """`cluster`. Gives user and password by realm, to whoever may open the control socket."""
        accounts = self._cluster(request).accounts
        return {
            realm: dict(zip(("user", "password"), accounts.credentials(realm), strict=True))
            for realm in ("os", "application")
        }


def _as_progress(progress: Progress) -> Callable[[str, int, int], None]:
    return lambda what, done, total: progress({"what": what, "done": done, "total": total})


def status(lab: Lab) -> dict[str, Any]:
    """A whole lab at a glance: clusters, services, phones."""
    return {
        "name": lab.definition.name,
        "folder": str(lab.folder),
        "ports": {
            "shift": lab.ports.shift,
            "ssh": lab.ports.ssh,
            "https": lab.ports.https,
            "tvs": lab.ports.tvs,
            "tftp": lab.ports.tftp,
            "provisioning": lab.ports.provisioning,
            "sip": lab.ports.sip,
            "sips": lab.ports.sips,
            "dhcp": lab.ports.dhcp,
            "web": lab.ports.web,
        },
        "notices": lab.notices,
        "option150": lab.option150,
        "sftp": {
            "server": lab.sftp_settings().describe(),
            "folder": str(lab.exchange_folder),
        },
        "clusters": [cluster_row(lab, name) for name in lab.clusters],
        "phones": [phone_row(lab, phone) for phone in lab.fleet.phones.values()],
    }


def cluster_row(lab: Lab, name: str) -> dict[str, Any]:
    """A cluster with its nodes and their services."""
    cluster = lab.clusters[name]
    return {
        "name": name,
        "release": cluster.definition.release,
        "security": cluster.state.security,
        "prepare_for_rollback": cluster.state.prepare_for_rollback,
        "registered": len(lab.registrations[name].all()),
        "devices": len(cluster.devices),
        "accounts": {"os": cluster.accounts.user("os"), "application": cluster.accounts.user("application")},
        "sftp": None if cluster.state.sftp is None else cluster.state.sftp.describe(),
        "nodes": [
            {
                "name": node.name,
                "address": cluster.definition.address(node.name),
                "publisher": node.name == cluster.publisher,
                "services": sorted(lab.nodes[name, node.name].services) if (name, node.name) in lab.nodes else [],
                "vouches_for": len(cluster.vouch_index(node.name)),
            }
            for node in cluster.definition.nodes
        ],
    }


def phone_row(lab: Lab, phone: LabPhone) -> dict[str, Any]:
    """A phone, as its clusters and it itself see it."""
    outcome = phone.outcome
    return {
        "name": phone.name,
        "model": phone.identity.model.name,
        "address": phone.identity.address,
        "home": lab.fleet.homes[phone.name],
        "standing": phone.standing,
        "registered_at": lab.cluster_of(phone) if phone.standing is not Standing.OFF else None,
        "registered_with": None if phone.registered_with is None else str(phone.registered_with),
        "secure": phone.registered_with is not None and phone.registered_with.secure,
        "refusal": None if outcome is None or outcome.refusal is None else str(outcome.refusal),
        "reason": "" if outcome is None else outcome.reason,
        "status": phone.status[-1][1] if phone.status else "",
        "in_call": phone.in_call,
        "calls_cut": phone.calls_cut,
    }


def phone_details(phone: LabPhone) -> dict[str, Any]:
    """What a phone would show and tell."""
    return {
        "tftp_servers": phone.tftp_servers,
        "status_messages": [[f"{when:%Y-%m-%d %H:%M:%S}", message] for when, message in phone.status],
        "transcript": [[line.ok, line.text] for line in phone.transcript],
        "trust_lists": phone.trust_lists(),
    }


def contents_rows(there: Contents) -> dict[str, Any]:
    """What is on the SFTP server."""
    return {
        "exports": [
            {
                "file": export.file.name,
                "cluster": export.name.cluster,
                "node": export.name.node,
                "type": export.name.type,
                "size": export.file.size,
                "modified": export.file.modified.isoformat(),
                "certificates": None if export.note is None else sorted(export.note.certificates.values()),
                "unfinished": export.unfinished,
            }
            for export in there.exports
        ],
        "consolidated": [
            {
                "file": item.file.name,
                "type": item.type,
                "size": item.file.size,
                "modified": item.file.modified.isoformat(),
                "by": None if item.note is None else item.note.by,
                "inputs": [] if item.note is None else sorted(item.note.inputs),
                "stale": item.stale,
            }
            for item in there.consolidations.values()
        ],
        "garbled": list(there.garbled),
        "others": [file.name for file in there.others],
    }
