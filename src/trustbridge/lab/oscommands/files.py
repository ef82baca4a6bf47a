"""`file list tftp`, `file get tftp`: what the node's TFTP serves."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import PurePosixPath

from trustbridge.errors import Refused
from trustbridge.exchange.directory import SftpSettings, open_sftp
from trustbridge.exchange.hostkeys import HostKeyPins
from trustbridge.lab.oscommands.view import ANSWER_AGAIN, NodeView, agreed, command
from trustbridge.services.clishell import Ask, Command

_OPTIONS = frozenset({"page", "detail", "reverse", "date", "size"})


def _served(view: NodeView, pattern: str) -> Iterator[tuple[str, int, datetime]]:
    """Names, sizes and dates of files on disk, and of the phones' configurations, which are made on demand."""
    folder = view.cluster.tftp_folder(view.node)
    names = {path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")}
    made = {f"{device}.cnf.xml.sgn" for device in view.cluster.devices}
    wanted = pattern.strip("/") or "*"
    for name in sorted(names | made):
        if fnmatch.fnmatchcase(name, wanted):
            if name in names:
                found = (folder / name).stat()
                yield name, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC)
            else:
                yield name, len(view.services.served(name) or b""), view.started


def _need_tftp(view: NodeView) -> None:
    if not view.cluster.definition.node(view.node).tftp:
        raise Refused("No such file or directory: Cisco Tftp is not activated on this node.")


async def list_files(view: NodeView, rest: str) -> Command:
    """`file list tftp SPEC [detail] [reverse] [date|size]`."""
    _need_tftp(view)
    pattern, *options = rest.split()
    if unknown := set(options) - _OPTIONS:
        raise Refused(f"Invalid option {', '.join(sorted(unknown))}.")
    found = list(_served(view, pattern))
    if "size" in options:
        found.sort(key=lambda file: file[1])
    elif "date" in options:
        found.sort(key=lambda file: file[2])
    if "reverse" in options:
        found.reverse()
    if not found:
        yield "no such file or directory can be found\n"
        return
    for name, size, when in found:
        yield f"{when:%d %b,%Y %H:%M:%S}  {size:>11,}  {name}\n" if "detail" in options else f"{name}\n"
    yield f"dir count = 0, file count = {len(found)}\n"


async def get_files(view: NodeView, rest: str) -> Command:
    """`file get tftp SPEC`: sends the files to an SFTP server that it asks for."""
    _need_tftp(view)
    found = list(_served(view, rest.split()[0]))
    if not found:
        raise Refused("no such file or directory can be found")
    yield "Please wait while the system is gathering files info ...done.\nSub-directories were not traversed.\n"
    yield f"Number of files affected: {len(found)}\nTotal size in Bytes: {sum(size for _, size, _ in found)}\n"
    answer = agreed((yield Ask("Would you like to proceed [y/n]? ")))
    while answer is None:
        answer = agreed((yield Ask(ANSWER_AGAIN)))
    if not answer:
        raise Refused("Operation cancelled: nothing was sent.")
    host = (yield Ask("SFTP server IP: ")).strip()
    port = (yield Ask("SFTP server port [22]: ")).strip() or "22"
    user = (yield Ask("User ID: ")).strip()
    password = yield Ask("Password: ", secret=True)
    directory = (yield Ask("Download directory: ")).strip()
    if not host or not user or not port.isascii() or not port.isdigit():
        raise Refused("Invalid SFTP server: nothing was sent.")
    settings = SftpSettings(
        host=host, port=int(port), username=user, password=password, directory=str(PurePosixPath(directory or "/"))
    )
    pins = HostKeyPins(view.cluster.folder / "known_hosts")
    async with open_sftp(settings, pins, local_address=view.cluster.definition.address(view.node)) as target:
        for name, _, _ in found:
            await target.write_atomic(name, view.services.served(name) or b"")
    yield "Transfer completed.\n"


COMMANDS = (
    command("file list tftp", list_files, "file-spec [options]", fewest=1),
    command("file get tftp", get_files, "file-spec", fewest=1),
)
