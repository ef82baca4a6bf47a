"""What can be wrong with a move, each with a stable id: what was seen, what it leads to, what to do.

Ids and meanings are those of `failure-modes`; an id is never reused. A finding is raised only on evidence: what could
not be looked at is *unknown*, and says what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final


class Severity(StrEnum):
    """How much a finding matters."""

    STOP = "stop"
    WARN = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Kind:
    """What every finding of one id has in common.

    Attributes:
        title: in a few words.
        consequence: what it leads to, where nobody acts.
        remedy: what to do.
    """

    title: str
    consequence: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        id: such as TB101.
        severity: whether to go on.
        subject: what it is about: a cluster, or `cluster/node`.
        evidence: what was observed, with names and fingerprints.
        consequence, remedy: as in `Kind`, or more exact.
    """

    id: str
    severity: Severity
    subject: str
    evidence: str
    consequence: str
    remedy: str

    @property
    def title(self) -> str:
        """The kind's."""
        return KINDS[self.id].title

    def as_json(self) -> dict[str, Any]:
        """For programs: every attribute, and the title."""
        return {**asdict(self), "severity": str(self.severity), "title": self.title}


def finding(
    kind: str,
    severity: Severity,
    subject: str,
    evidence: str,
    *,
    consequence: str | None = None,
    remedy: str | None = None,
) -> Finding:
    """A finding with its kind's words, where nothing more exact is known.

    Raises:
        KeyError: there is no such id.
    """
    common = KINDS[kind]
    return Finding(
        kind,
        severity,
        subject,
        evidence,
        common.consequence if consequence is None else consequence,
        common.remedy if remedy is None else remedy,
    )


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Sorted for people: what stops first, then by id and subject; each once."""
    order = list(Severity)
    return tuple(
        sorted(dict.fromkeys(findings), key=lambda one: (order.index(one.severity), one.id, one.subject, one.evidence))
    )


_EXCHANGE_AGAIN: Final = "Exchange the certificates: trustbridge exchange run."

#: Every id that is raised, in the order of the reference.
KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "TB101": Kind(
            "the TVS does not know the signer: nothing was imported",
            "Phones that ask this TVS keep `Trust List Update Failed` and stay where they are.",
            _EXCHANGE_AGAIN,
        ),
        "TB102": Kind(
            "the import did not replicate to a node",
            "Phones that ask this node strand; phones that ask another one move.",
            "Repair database replication and Certificate Change Notification, then restart TVS on that node.",
        ),
        "TB103": Kind(
            "the store is right, TVS still serves what it knew before",
            "Phones that ask this node strand.",
            "Restart Cisco Trust Verification Service on the node.",
        ),
        "TB104": Kind(
            "ITLRecovery signs the files, and only CallManager certificates were exchanged",
            "All phones strand.",
            "Import ITLRecovery to Phone-SAST-trust and CallManager-trust: trustbridge exchange run.",
        ),
        "TB105": Kind(
            "not every TFTP node's CallManager certificate was imported",
            "Phones of that TFTP server strand.",
            "Import every TFTP node's CallManager certificate: trustbridge exchange run.",
        ),
        "TB106": Kind(
            "the signer is known, but not with role SAST",
            "Phones do not take a trust list from it.",
            "Import the signer to Phone-SAST-trust, not to CallManager-trust alone.",
        ),
        "TB107": Kind(
            "the signer was renewed since the exchange",
            "The TVS vouches for a certificate that signs nothing any more; phones strand.",
            "Export, consolidate and import again: trustbridge exchange run.",
        ),
        "TB108": Kind(
            "two certificates share issuer and serial number",
            "TVS looks certificates up by that pair: it may answer with the other one.",
            "Reissue one of them.",
        ),
        "TB109": Kind(
            "only the issuer of the signer was imported",
            "TVS looks for the signer itself: phones strand.",
            "Import the signer's own certificate to Phone-SAST-trust and CallManager-trust.",
        ),
        "TB110": Kind(
            "the TVS certificate is not the one in the cluster's own ITL",
            "Phones refuse the TLS connection to this TVS, and ask nobody.",
            "Let phones take the new ITL where they are (restart Cisco Tftp, reset them), then move.",
        ),
        "TB111": Kind(
            "a TVS can't be reached",
            "Phones of its Unified CM group that reach no other TVS can't ask anybody.",
            "Open tcp 2445, keep the node up; name it by address.",
        ),
        "TB112": Kind(
            "the TVS does not speak the TLS version that was offered",
            "Models that know nothing newer can't ask it.",
            "Set the minimum TLS version for the time of the move, or move those phones by hand.",
        ),
        "TB113": Kind(
            "a TVS certificate is not valid now",
            "Phones refuse the TLS connection.",
            "Renew it, then let phones take the new ITL before they move (TB110).",
        ),
        "TB114": Kind(
            "the certificates phones trust were renewed together",
            "Phones find neither the TVS nor the signer in the ITL they hold: they refuse all that the cluster sends.",
            "See that phones take the new ITL before they move, else `utils itl reset localkey`. Next time: TVS first, "
            "wait, CallManager last.",
        ),
        "TB115": Kind(
            "answers live longer than the exchange",
            "A phone that got a positive answer keeps it for its time to live.",
            "Wait, or reset the phones, after trust was withdrawn.",
        ),
        "TB120": Kind(
            "the cluster is prepared for rollback to pre 8.0",
            "Its ITL is blank: secure phones find no TVS certificate in it, and strand.",
            "Set `Prepare Cluster for Rollback to pre 8.0` to False, let phones take a full ITL, then move.",
        ),
        "TB121": Kind(
            "a CTL file on a non-secure cluster",
            "Phones that have it must verify an ITL against it.",
            "Delete the stale file and exchange for its signer.",
        ),
        "TB122": Kind(
            "phones do not hold the source's trust list",
            "Without one they take the first that comes; with another one they trust neither side.",
            "None needed without one. With another one, let them take the source's ITL (reset), or delete it by hand.",
        ),
        "TB123": Kind(
            "models that keep their old CTL for ever",
            "They know no Security by Default, and refuse a CTL whose signer has changed.",
            "Delete the CTL of these phones by hand, before the move.",
        ),
        "TB124": Kind(
            "the CTL is not what the release makes today",
            "Secure phones lack the certificate that will sign or serve what they load.",
            "utils ctl update CTLFile, restart Cisco Tftp and CallManager, reset the phones, then move.",
        ),
        "TB130": Kind(
            "a trust list over 64 KiB",
            "Phones do not load it.",
            "Remove nodes or certificates that are not needed.",
        ),
        "TB131": Kind(
            "a trust-list file does not hold",
            "Phones refuse it, whoever vouches for its signer.",
            "Restart Cisco Tftp on the node, and look at the file: trustbridge inspect.",
        ),
        "TB132": Kind(
            "old models can't verify the file's signature",
            "Models that know neither SHA-512 nor RSA keys above 2048 bits refuse it.",
            "Use SHA-1 for the time of the move, or handle those models apart.",
        ),
        "TB133": Kind(
            "ITLRecovery has a shorter key than the others",
            "It can't serve as recovery.",
            "Regenerate it in the documented order.",
        ),
        "TB140": Kind(
            "another certificate of the same name is in the store",
            "The one that begins later wins: the import fails, or replaces the other one.",
            "Resolve it by hand before importing: remove or reissue one.",
        ),
        "TB141": Kind(
            "an issuer is missing on the other side",
            "The chain of a CA-signed certificate is not trusted.",
            "Upload the CA certificates first.",
        ),
        "TB142": Kind(
            "a certificate is not valid now",
            "An import of a bundle with it stops.",
            "Renew it, or leave it out.",
        ),
        "TB143": Kind(
            "the clusters' bulk pages do not work together",
            "Consolidating or importing fails in the page.",
            "Exchange certificate by certificate: --by certificates.",
        ),
        "TB144": Kind(
            "a cluster's export is not where the others' are",
            "It is missing from the consolidation that somebody does in the page.",
            "One server, one directory for all clusters: `trustbridge exchange run` sets the same on all of them.",
        ),
        "TB145": Kind(
            "the import restarts phones",
            "Phones of the cluster restart when CallManager or CAPF certificates arrive.",
            "Import in a window, and say so: --accept TB145.",
        ),
        "TB146": Kind(
            "bundles of an earlier try lie in the directory",
            "They would be consolidated and imported, too.",
            "Empty the directory, or name another one.",
        ),
        "TB147": Kind(
            "CAPF-trust differs from node to node",
            "Secure phones with an LSC do not register on some nodes.",
            "Upload the CAPF certificate on each node.",
        ),
        "TB148": Kind(
            "a removed certificate may come back, or goes from all nodes",
            "Before 11.0 nodes copy it back; from 11.0 one deletion acts on all, with no undo.",
            "Keep copies; they are in the record of the exchange.",
        ),
        "TB149": Kind(
            "a service still uses a certificate that was replaced",
            "Whoever trusts the new certificate alone refuses the service.",
            "Restart the service on the node.",
        ),
        "TB150": Kind(
            "phones take their TFTP servers from elsewhere",
            "They do not see a change of option 150, and stay where they are.",
            "Clear Alternate TFTP on the phone, or change the scope it really uses; then reset.",
        ),
        "TB151": Kind(
            "the destination does not know the device",
            "Trust works, and the registration is rejected.",
            "Create or export the devices to the destination first.",
        ),
        "TB152": Kind(
            "the other cluster's CAPF certificate is not in CAPF-trust",
            "Phones with an LSC of that cluster do not register securely.",
            "Upload it to CAPF-trust on every node, or issue new LSCs.",
        ),
        "TB153": Kind(
            "the firmware that phones are told to load is not on the TFTP server",
            "Phones ask for it again and again, and loop upgrading or stay on what they have.",
            "Install the firmware on every TFTP node and restart Cisco Tftp there, or name a load that is there.",
        ),
        "TB154": Kind(
            "the signer of the file is no certificate of the cluster",
            "Who serves this file is not the cluster that was exchanged with.",
            "Exchange for that signer, too, or go round the proxy.",
        ),
        "TB155": Kind(
            "a key is shorter than a FIPS cluster takes",
            "The cluster refuses the certificate, and phones with it.",
            "Renew it with a key of at least 2048 bits.",
        ),
        "TB160": Kind(
            "models that ignore trust lists",
            "They move without being asked; what they load is not verified.",
            "None: know that nothing protects them, or stops them.",
        ),
        "TB161": Kind(
            "the outcome of phones is not known",
            "Nobody can tell what they trust: they are not registered, and show no page.",
            "Visit them, or accept what comes.",
        ),
        "TB162": Kind(
            "the estate is larger than a minute's RisPort70 calls",
            "Following the move is slower than it; whoever asks more often is refused (`Exceeded allowed rate`).",
            "Pace: 1000 names a call, 15 calls a minute for all that ask. Move in waves.",
        ),
        "TB170": Kind(
            "the destination does not vouch for the source",
            "Phones that have moved can't go back.",
            "Import on both sides: trustbridge exchange run.",
        ),
        "TB171": Kind(
            "a certificate that Extension Mobility Cross Cluster needs is not where it belongs",
            "EMCC log-ins fail.",
            _EXCHANGE_AGAIN,
        ),
    }
)
