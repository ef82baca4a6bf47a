"""`trustbridge inspect FILE...`: what files are, whether they hold, and where they go wrong."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from trustbridge.trust.inspection import Inspection, KnownSigner

#: No file of these kinds comes near this many bytes; more is not read.
MAX_SIZE = 64 * 1024 * 1024
STANDARD_INPUT = "-"

EXIT_WRONG, EXIT_NOT_OPENED, EXIT_BAD = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Opened:
    """A file's name and content, or why it could not be read."""

    name: str
    data: bytes = b""
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Inspected:
    """A file with what was found; `inspection` is None when it could not be read."""

    name: str
    inspection: Inspection | None
    failure: str = ""


def inspect_command(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Files to look at; - is standard input.")],
    signer: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="CERT",
            help="Check signatures with this certificate: PEM, DER, a bundle or a trust list that holds it. "
            "Can be given several times. Certificates in the files inspected are tried by themselves.",
        ),
    ] = None,
    password_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar="TRUSTBRIDGE_BUNDLE_PASSWORD_FILE",
            help="Password of PKCS#12 bundles, in the first line of a file; without it, the one trustbridge exports "
            "with is tried. No option takes the password itself: everybody on the machine can read a command line.",
        ),
    ] = None,
    ask_password: Annotated[bool, typer.Option("--ask-password", help="Ask for that password.")] = False,
    wire: Annotated[
        bool, typer.Option("--wire", help="Also every element of a signed file, as `show itl` prints them.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for programs, keys as below.")] = False,
) -> None:
    """Decode and verify trust lists, signed files, bundles, certificates,
    TVS messages and phone configurations, by content and not by name.

    Exit code: 0 all good; 1 well formed, but something does not hold
    (a signature, a record that contradicts its certificate, an expired
    certificate in a bundle); 2 a file can't be opened; 3 a file is garbled,
    refused or nothing known here. Every file is shown all the same; the
    highest code wins.

    JSON: an object with "exit_code" and "files", each of these with
    file, kind (trust-list, signed-file, encrypted-file, bundle,
    certificates, tvs-messages, configuration, unknown),
    verdict (good, wrong, bad, unopened),
    facts (size, md5, sha1, sha256; of signed files: signer, signature,
    which is holds, refused or unchecked, timestamp, ...),
    rows (records, certificates or messages: number, offset, role, subject,
    serial, not_after, ...),
    problems (severity error, warning or note; text, offset, row, hint),
    content (what a signed file carries, with the same keys) and,
    with --wire, wire (row, 0 being the header; offset, tag, name, length,
    value). Offsets are bytes from the start of the file; what is not there
    is null.
    """
    from trustbridge.cli import inspectview
    from trustbridge.trust.inspection import Verdict, inspect

    password = _password(password_file, ask_password)
    now = datetime.now(UTC)
    opened = [_opened(name) for name in files]
    signers = _signers(signer or [], opened, password)
    results = [
        Inspected(
            file.name,
            None if file.failure else inspect(file.data, now=now, password=password, signers=signers),
            file.failure,
        )
        for file in opened
    ]
    codes = {Verdict.GOOD: 0, Verdict.WRONG: EXIT_WRONG, Verdict.BAD: EXIT_BAD}
    exit_code = max(
        EXIT_NOT_OPENED if result.inspection is None else codes[result.inspection.verdict] for result in results
    )
    if as_json:
        inspectview.print_json(results, exit_code, wire=wire)
    else:
        inspectview.print_tables(results, wire=wire)
    raise typer.Exit(exit_code)


def _password(file: Path | None, ask: bool) -> str:
    from trustbridge.errors import SettingsError
    from trustbridge.exchange.bulk import BUNDLE_PASSWORD

    if file is not None:
        try:
            return file.read_text("utf-8").split("\n", 1)[0].removesuffix("\r")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise SettingsError(f"can't read a password from {file}: {reason}") from None
    if ask:
        answer: str = typer.prompt("Password of the bundles", hide_input=True, err=True)
        return answer
    return BUNDLE_PASSWORD


def _opened(name: str) -> Opened:
    try:
        if name == STANDARD_INPUT:
            data = sys.stdin.buffer.read(MAX_SIZE + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(MAX_SIZE + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return Opened(name, failure=f"can't be opened: {reason}")
    if len(data) > MAX_SIZE:
        return Opened(name, failure=f"is larger than {MAX_SIZE // 2**20} MiB: no file of these kinds is")
    return Opened(name, data)


def _signers(given: list[Path], opened: list[Opened], password: str) -> list[KnownSigner]:
    """The certificates signatures may be checked with: those given, then those in the files inspected."""
    from trustbridge.errors import SettingsError
    from trustbridge.trust.inspection import KnownSigner, certificates_in

    found = []
    for path in given:
        file = _opened(str(path))
        certificates = certificates_in(file.data, password=password)
        if not certificates:
            raise SettingsError(
                f"--signer {path} {file.failure or 'holds no certificate'}",
                "Give a certificate as PEM or DER, or a bundle or trust list that holds it.",
            )
        found += [KnownSigner(certificate, str(path)) for certificate in certificates]
    for file in opened:
        found += [KnownSigner(item, file.name) for item in certificates_in(file.data, password=password)]
    return found
