"""What is wrong with the trust lists a cluster serves, as downloaded. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from trustbridge.migration.findings import Finding, Severity, finding
from trustbridge.migration.proofseen import ClusterSeen, ServedFile, Signer
from trustbridge.wire.signedheader import MODULUS_BYTES, Digest
from trustbridge.wire.trustlist import MAX_PHONE_FILE

#: Longest RSA key old models verify a signature with, bits.
OLD_MODELS_BITS = 2048


def file_findings(cluster: ClusterSeen) -> tuple[Finding, ...]:
    """Findings about a cluster's trust lists, and about the cluster as far as it decides what becomes of them."""
    found = [one for file in cluster.files for one in _of_file(cluster, file)]
    found += [one for signer in cluster.signers() for one in _of_signer(cluster, signer)]
    found += _of_cluster(cluster)
    return tuple(found)


def _of_file(cluster: ClusterSeen, file: ServedFile) -> Iterator[Finding]:
    subject = f"{cluster.name}/{file.node}"
    what = f"{file.name}, {file.size} bytes, SHA-256 {file.sha256}"
    if file.problem:
        yield finding("TB131", Severity.STOP, subject, f"{what}: {file.problem}")
    if file.size > MAX_PHONE_FILE:
        yield finding("TB130", Severity.STOP, subject, f"{what}: phones load at most {MAX_PHONE_FILE} bytes")
    header = file.header
    if header is None:
        return
    bits = 8 * MODULUS_BYTES.get(header.modulus, len(header.signature))
    reasons = []
    if header.digest == Digest.SHA512:
        reasons.append("signed with SHA-512")
    if bits > OLD_MODELS_BITS:
        reasons.append(f"signed with an RSA key of {bits} bits")
    if reasons:
        yield finding("TB132", Severity.WARN, subject, f"{what}: {' and '.join(reasons)}")


def _of_signer(cluster: ClusterSeen, signer: Signer) -> Iterator[Finding]:
    """A signer that is no certificate of the cluster; said only where all of its certificates are known."""
    if signer.identity is not None or signer.certificate is None or not cluster.identities_whole:
        return
    sha256 = signer.certificate.sha256
    name = signer.common_name.casefold()
    renewed = [one for one in cluster.identities if one.certificate.common_name.casefold() == name]
    for node in dict.fromkeys(file.node for file in signer.files):
        names = ", ".join(file.name for file in signer.files if file.node == node)
        evidence = f"{names}: signed by {signer.subject}, serial {signer.serial:X}, SHA-256 {sha256}"
        if renewed:
            yield finding(
                "TB131",
                Severity.WARN,
                f"{cluster.name}/{node}",
                f"{evidence}; that {renewed[0].unit} certificate was renewed: now {renewed[0].certificate.sha256}",
                consequence="After the next start of Cisco Tftp files have another signer, for whom nobody vouches.",
                remedy="Restart Cisco Tftp on the node, exchange again, verify again.",
            )
        else:
            yield finding(
                "TB154",
                Severity.WARN,
                f"{cluster.name}/{node}",
                f"{evidence}; it is none of the {len(cluster.identities)} certificates of the cluster's nodes",
            )


def _of_cluster(cluster: ClusterSeen) -> Iterator[Finding]:
    blank = [file.node for file in cluster.files if file.of_itl and file.blank]
    if cluster.rollback or blank:
        told = "Prepare Cluster for Rollback to pre 8.0 is True" if cluster.rollback else ""
        seen = f"the ITL of {', '.join(blank)} is blank" if blank else ""
        # Where nothing is secure, phones with a blank ITL take whatever comes, and move.
        severity = Severity.WARN if cluster.mixed is False else Severity.STOP
        mode = {True: "mixed mode", False: "non-secure", None: "security mode not known"}[cluster.mixed]
        yield finding("TB120", severity, cluster.name, "; ".join(filter(None, (told, seen, mode))))
    if cluster.mixed is False:
        for file in cluster.files:
            if not file.of_itl:
                yield finding(
                    "TB121",
                    Severity.WARN,
                    f"{cluster.name}/{file.node}",
                    f"{file.name}, {file.size} bytes, SHA-256 {file.sha256}, while ClusterSecurityMode is 0",
                )
