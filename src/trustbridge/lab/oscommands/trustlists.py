"""`show itl`, `show ctl`, `utils ctl`, `utils itl`: the node's real files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

from trustbridge import atomicfile
from trustbridge.errors import DecodeError, InvalidCertificate, Refused, SignatureRefused
from trustbridge.lab.nodefiles import CTL_FILE, ITL_FILE
from trustbridge.lab.oscommands.view import ANSWER_AGAIN, NodeView, agreed, command, date_with_zone
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.units import Unit
from trustbridge.services.clishell import Ask, Command
from trustbridge.trust.inspection.values import WireLine
from trustbridge.trust.inspection.wireview import header_lines, record_lines
from trustbridge.trust.lists import Signer, check_signature
from trustbridge.wire import trustlist
from trustbridge.wire.signedheader import PADDING, TRUST_LIST_VERSION, HeaderTag
from trustbridge.wire.trustlist import TrustListFile

_TABLE = "BYTEPOS\tTAG\t\tLENGTH\tVALUE\n-------\t---\t\t------\t-----\n"
_PLACE = "\t\t\t\t"
#: Characters of a name on one line at the most, and bytes of a dump.
_NAME_WIDTH, _DUMP_WIDTH = 60, 8
#: Elements of a header that stand above its table, or nowhere.
_NO_ROW = frozenset({HeaderTag.VERSION, HeaderTag.HEADER_LENGTH, PADDING})


async def show_itl(view: NodeView, rest: str) -> Command:
    """`show itl`."""
    async for said in _show(view, "ITL", ITL_FILE, "ITL File not found. Check that Cisco Tftp is activated."):
        yield said


async def show_ctl(view: NodeView, rest: str) -> Command:
    """`show ctl`."""
    missing = "CTL File not found. Please run CTLClient plugin or run the CLI - utils ctl.. to generate the CTL file."
    async for said in _show(view, "CTL", CTL_FILE, missing):
        yield said


async def _show(view: NodeView, kind: str, name: str, missing: str) -> Command:
    path = view.cluster.tftp_folder(view.node) / name
    try:
        data = path.read_bytes()
        modified = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except FileNotFoundError:
        yield f"Length of {kind} file: 0\n{missing}\nError parsing the {kind} File.\n"
        return
    # What identifies the file here, as phones and pages show it; neither digest protects anything.
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    sha1 = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    yield f"The checksum value of the {kind} file:\n{md5}(MD5)\n{sha1}(SHA1)\n\n"
    yield f"Length of {kind} file: {len(data)}\nThe {kind} File was last modified on {date_with_zone(modified)}\n\n"
    yield f"\tParse {kind} File\n\t----------------\n\n"
    try:
        file = trustlist.decode(data)
    except DecodeError:
        yield f"Error parsing the {kind} File.\n"
        return
    version = ".".join(map(str, file.header.version))
    yield f"Version:\t{version}\nHeaderLength:\t{file.header.length} (BYTES)\n\n"
    below = [line for line in header_lines(file.header) if line.tag not in _NO_ROW]
    yield _TABLE + "".join(_rows(below, file.header.signature))
    at = file.header.length
    for number, record in enumerate(file.records, start=1):
        yield f"\n\t{kind} Record #:{number}\n\t\t  ----\n{_TABLE}" + "".join(_rows(record_lines(record, number, at)))
        if record.serial == file.header.serial and record.issuer == file.header.ca_name:
            yield f"This etoken was used to sign the {kind} file.\n"
        elif record.role == trustlist.Role.SAST:
            yield f"This etoken was not used to sign the {kind} file.\n"
        at += record.length
    verdict = "The {0} file was verified successfully." if _verifies(view, file, data) else _REFUSED
    yield f"\n{verdict.format(kind)}\n"


_REFUSED = "Verification of the {0} file failed."


def _rows(lines: Iterable[WireLine], signature: bytes = b"") -> Iterator[str]:
    for line in lines:
        first, *others = _broken(line.value)
        yield f"{line.tag}\t{line.name}\t{line.length}\t{first}".rstrip() + "\n"
        yield from (f"{_PLACE}{other}\n" for other in others)
        if signature and line.tag == HeaderTag.SIGNATURE:
            for at in range(0, len(signature), _DUMP_WIDTH):
                # Without leading zeros, as nodes print it.
                yield "  ".join(f"{byte:x}" for byte in signature[at : at + _DUMP_WIDTH]) + "\n"


def _broken(value: str) -> list[str]:
    """A long value on several lines: names after a `;`, digests after twelve bytes."""
    if value.endswith("(SHA1 Hash HEX)"):
        words = value.split(" ")
        return [" ".join(words[:12]), " ".join(words[12:])]
    parts = [""]
    for piece in value.split(";"):
        if parts[-1] and len(parts[-1]) + len(piece) > _NAME_WIDTH:
            parts.append("")
        parts[-1] += f"{piece};"
    parts[-1] = parts[-1][:-1]
    return parts


def _verifies(view: NodeView, file: TrustListFile, data: bytes) -> bool:
    """Whether the signature holds for the certificate that the header names, out of the file or of the cluster."""
    candidates = [record.certificate for record in file.records if record.serial == file.header.serial]
    certificates = [identity.certificate for identity in view.cluster.identities.values()]
    try:
        certificates += [Certificate.from_der(der) for der in candidates if der is not None]
    except InvalidCertificate:
        return False
    for certificate in certificates:
        if certificate.serial == file.header.serial:
            try:
                check_signature(file.header, data, certificate)
            except SignatureRefused:
                continue
            return True
    return False


_CONTINUE = "Do you want to continue? (y/n):"
_RESET_PHONES = (
    "You must reset all phones to ensure they received the updated CTL file.\n"
    "You must restart Cisco CTIManager services on all the nodes in the cluster that have the service activated.\n"
)
_RESTART = (
    "Please Restart the TFTP and Cisco CallManager services on all nodes in the cluster that run these services\n"
)


def _changing(
    warning: str, doing: str, done: str, act: Callable[[NodeView], None]
) -> Callable[[NodeView, str], Command]:
    """A command that asks before it acts."""

    async def run(view: NodeView, rest: str) -> Command:
        view.need_publisher()
        answer = agreed((yield Ask(f"{warning}\n\n{_CONTINUE}")))
        while answer is None:
            answer = agreed((yield Ask(ANSWER_AGAIN)))
        if not answer:
            raise Refused("Operation cancelled: nothing was changed.")
        yield f"\n{doing}\n"
        act(view)
        yield f"{done}\n" + (_RESET_PHONES if view.profile.one_itl_recovery else _RESTART)

    return run


def _mixed(view: NodeView) -> None:
    view.cluster.set_security("mixed")


def _non_secure(view: NodeView) -> None:
    view.cluster.set_security("non-secure")


def _update(view: NodeView) -> None:
    if not view.cluster.mixed_mode:
        raise Refused("The cluster is in non-secure mode: there is no CTL file to update.")
    # The lists of a lab follow each change; whatever lags behind is brought up now.
    for listener in view.cluster.changed:
        listener()


async def reset_itl(view: NodeView, rest: str) -> Command:
    """`utils itl reset localkey`: sign every ITL with the other of the two keys a cluster has for it.

    Phones that no longer trust the usual signer may trust that one. It lasts until Cisco Tftp makes the file anew.
    """
    if rest.lower() != "localkey":
        raise Refused("Syntax: utils itl reset localkey", "A lab keeps no key elsewhere.")
    view.need_publisher()
    cluster = view.cluster
    nodes = [node.name for node in cluster.definition.nodes if node.tftp]
    yield "Locating active Tftp servers in the cluster.....\n"
    yield f"Following is the list of Active tftp servers in the cluster\n{nodes}\n"
    for node in nodes:
        usual = Unit.ITLRECOVERY if cluster.definition.signs_with_itl_recovery else Unit.CALLMANAGER
        other = (
            cluster.identity(node, Unit.CALLMANAGER)
            if usual is Unit.ITLRECOVERY
            else cluster.identity(cluster.publisher, Unit.ITLRECOVERY)
        )
        path = cluster.tftp_folder(node) / ITL_FILE
        there = trustlist.decode(path.read_bytes())
        signer = Signer(other.certificate, other.private_key)
        header = signer.header(
            version=TRUST_LIST_VERSION, file_name=ITL_FILE, now=cluster.clock(), digest=cluster.definition.digest
        )
        made = TrustListFile(signer.sign(header, trustlist.encode_records(there.records)), there.records)
        atomicfile.write(path, trustlist.encode(made))
    yield "The reset ITL file was generated successfully\n"
    yield "Transferred new reset ITL file to the TFTP server nodes in the cluster.\n"


COMMANDS = (
    command("show itl", show_itl),
    command("show ctl", show_ctl),
    command(
        "utils ctl set-cluster mixed-mode",
        _changing(
            "This operation will set the cluster to Mixed mode.",
            "Moving Cluster to Mixed Mode",
            "Cluster set to Mixed Mode",
            _mixed,
        ),
    ),
    command(
        "utils ctl set-cluster non-secure-mode",
        _changing(
            "This operation will set the cluster to non secure mode.",
            "Moving Cluster to Non Secure Mode",
            "Cluster set to Non Secure Mode",
            _non_secure,
        ),
    ),
    command(
        "utils ctl update ctlfile",
        _changing(
            "This operation will update the CTL file.",
            "Updating CTL file",
            "CTL file Updated successfully",
            _update,
        ),
    ),
    command("utils itl reset", reset_itl, "localkey", fewest=1),
)
