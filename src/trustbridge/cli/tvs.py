"""`trustbridge tvs`: ask a Trust Verification Service, or run one without Unified CM."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trustbridge.errors import SettingsError

if TYPE_CHECKING:
    from trustbridge.clients.ask import TvsReply
    from trustbridge.pki.certificate import Certificate
    from trustbridge.services.tvsfolder import FolderService, IdentityFiles
    from trustbridge.trust.vouch import VouchIndex
    from trustbridge.wire.tvs import TvsMessage

NOT_VOUCHED = 1
#: Phones count their sessions up from about here.
_FIRST_SESSION = 1001

app = typer.Typer(help="Trust Verification Service: ask one, or run one.", no_args_is_help=True)


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What a TVS said about one certificate.

    Attributes:
        file: where the certificate came from.
        subject: whom it names.
        serial: its serial number, hexadecimal.
        vouched: the answer is "valid", and what came back is no other certificate.
        valid: the answer itself.
        roles: vouched for, by name.
        time_to_live: seconds a phone may keep the answer; None when not valid.
        returned: "same", "different" or "none": the certificate in a query's answer.
        seconds: from connecting to the answer.
    """

    file: str
    subject: str
    serial: str
    vouched: bool
    valid: bool
    roles: tuple[str, ...]
    time_to_live: int | None
    returned: str
    seconds: float


@app.command()
def ask(
    host: Annotated[str, typer.Argument(help="A node that runs the service.", show_default=False)],
    certificates: Annotated[
        list[Path],
        typer.Argument(metavar="CERT...", help="Certificates to ask about, PEM or DER.", show_default=False),
    ],
    port: Annotated[int, typer.Option(help="Its TCP port.", min=1, max=65535)] = 2445,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify/--query",
            help="--query: by issuer and serial number, as phones ask about the signer of a new trust list. "
            "--verify: with the certificate itself, as they ask about a web server.",
        ),
    ] = False,
    device: Annotated[str, typer.Option(help="Name of the phone to ask as.")] = "CP-8861-SEP000000000000",
    timeout: Annotated[float, typer.Option(help="Seconds to wait for each answer.", min=0.1)] = 10.0,
    local_address: Annotated[
        str | None, typer.Option(help="Address of this machine to call from.", show_default=False)
    ] = None,
    legacy_tls: Annotated[
        bool, typer.Option("--legacy-tls", help="Also speak TLS 1.0 and accept old keys, as old phones do.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for programs.")] = False,
) -> None:
    """Ask a TVS whether it vouches for certificates, and for what.

    Exit code: 0 vouched for, all of them; 1 at least one is not, or another
    certificate came back; 3 the answer is garbled; 4 nobody answers;
    5 it refuses or hangs up.
    """
    import asyncio

    from trustbridge.clients.ask import ask_tvs
    from trustbridge.clients.tls import client_context

    asked = [(path, certificate) for path in certificates for certificate in _read(path)]
    context = client_context(legacy=legacy_tls)

    async def ask_all() -> list[TvsReply]:
        return [
            await ask_tvs(
                host,
                port,
                _request(_FIRST_SESSION + number, device, certificate, verify=verify),
                local_address=local_address,
                timeout=timeout,
                tls_context=context,
            )
            for number, (_, certificate) in enumerate(asked)
        ]

    replies = asyncio.run(ask_all())
    answers = [_answer(path, certificate, reply) for (path, certificate), reply in zip(asked, replies, strict=True)]
    _tell(host, port, answers, replies[-1], as_json=as_json)
    if not all(answer.vouched for answer in answers):
        raise typer.Exit(NOT_VOUCHED)


def _read(path: Path) -> list[Certificate]:
    from trustbridge.pki.certificate import read_certificates

    try:
        return read_certificates(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"{path} can't be read: {error.strerror}") from error


def _request(session: int, device: str, certificate: Certificate, *, verify: bool) -> TvsMessage:
    from trustbridge.wire.tvs import query_request, verify_request

    if not device.isascii():
        raise SettingsError(f"{device!r} is no name of a phone", "Such as CP-8861-SEP001122334455.")
    if verify:
        return verify_request(session, device, certificate.der)
    return query_request(session, device, certificate.subject, certificate.issuer, certificate.serial)


def _answer(path: Path, certificate: Certificate, reply: TvsReply) -> Answer:
    response = reply.response
    returned = "none"
    if response.certificate is not None:
        returned = "same" if response.certificate == certificate.der else "different"
    return Answer(
        file=str(path),
        subject=certificate.subject,
        serial=f"{certificate.serial:X}",
        vouched=response.valid and returned != "different",
        valid=response.valid,
        roles=tuple(_role(role) for role in response.roles),
        time_to_live=response.time_to_live,
        returned=returned,
        seconds=round(reply.seconds, 6),
    )


def _role(number: int) -> str:
    from trustbridge.wire.trustlist import Role

    try:
        return Role(number).label
    except ValueError:
        return f"role {number}"


def _tell(host: str, port: int, answers: Sequence[Answer], reply: TvsReply, *, as_json: bool) -> None:
    from trustbridge.cli.screen import console, print_json, table
    from trustbridge.errors import InvalidCertificate
    from trustbridge.pki.certificate import Certificate

    presented = Certificate(reply.tvs_certificate)
    try:
        subject = presented.subject
    except InvalidCertificate:
        subject = "unreadable"
    if as_json:
        print_json(
            {
                "host": host,
                "port": port,
                "tls": reply.tls_version,
                "tvs_certificate": {"subject": subject, "sha256": presented.sha256},
                "answers": [dataclasses.asdict(answer) for answer in answers],
            }
        )
        return
    from rich.markup import escape

    say = console().print
    say(
        table(
            f"TVS at {escape(host)} port {port}",
            ("Certificate", "Answer", "Roles", "Kept for", "Returned", "Time"),
            [
                (
                    f"{escape(answer.subject)}\nserial {answer.serial}",
                    "[green]valid[/green]" if answer.valid else "[red]not vouched for[/red]",
                    ", ".join(answer.roles),
                    "" if answer.time_to_live is None else f"{answer.time_to_live} s",
                    {"same": "the very same", "different": "[red]another one[/red]", "none": ""}[answer.returned],
                    f"{answer.seconds * 1000:.1f} ms",
                )
                for answer in answers
            ],
        )
    )
    say(f"The service presented, over {reply.tls_version}:", escape(subject))
    say(f"  SHA-256 {presented.sha256}")
    say("  Phones ask it only if their trust list names this certificate with role TVS.")


@app.command()
def serve(
    directory: Annotated[
        Path,
        typer.Argument(
            help="Holds a folder for each trust store (Phone-SAST-trust, CallManager-trust, tomcat-trust, ...) with "
            "certificates as .pem or .der files.",
            show_default=False,
        ),
    ],
    certificate: Annotated[
        Path | None, typer.Option(help="The service's own certificate, PEM.", show_default=False)
    ] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key, PEM, not encrypted.", show_default=False)] = None,
    listen: Annotated[
        str, typer.Option(help="Address to listen on. Phones on other machines need one they can reach.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="TCP port; 0 takes any.", min=0, max=65535)] = 2445,
    workers: Annotated[int, typer.Option(help="Processes that share the port.", min=1, max=256)] = 1,
    ttl: Annotated[int, typer.Option(help="Seconds phones may keep a positive answer.", min=0, max=0xFFFFFFFF)] = 86400,
    legacy_tls: Annotated[
        bool,
        typer.Option(
            "--legacy-tls",
            help="Also TLS 1.0 and RSA key exchange, for phones that know nothing better. Who records their traffic "
            "can read it once the key leaks, and newer phones can be talked down to it.",
        ),
    ] = False,
    create_identity: Annotated[
        bool,
        typer.Option("--create-identity", help="Make a self-signed certificate at the first start, without asking."),
    ] = False,
) -> None:
    """Serve TVS over a directory of certificates, until Ctrl-C.

    Certificates that are added, replaced or removed count at once; no phone
    is disconnected. A file that is no certificate is named and passed over.
    Phones ask this service only if the trust list they hold names its
    certificate with role TVS.
    """
    from trustbridge.cli.logs import start_logging
    from trustbridge.services import openfiles, servingloop
    from trustbridge.services.tvsfolder import FolderService

    identity = _identity_files(certificate, key, create=create_identity)
    start_logging()
    service = FolderService(directory, identity, ttl, legacy_tls)
    openfiles.raise_limit()
    servingloop.run(_serve(service, (listen, port), workers))


def _identity_files(certificate: Path | None, key: Path | None, *, create: bool) -> IdentityFiles:
    """The files named, or those of this user's own identity, made if wanted.

    Raises:
        SettingsError: only one is named, or there is no identity and none is wanted.
    """
    from trustbridge import settings
    from trustbridge.services.tvsfolder import IdentityFiles

    if certificate is not None and key is not None:
        return IdentityFiles(certificate, key)
    if certificate is not None or key is not None:
        raise SettingsError("--certificate and --key belong together", "Name both, or neither.")
    folder = settings.load().state_folder / "tvs"
    files = IdentityFiles(folder / "certificate.pem", folder / "key.pem")
    if files.exist():
        return files
    if not create:
        hint = "Name them with --certificate and --key, or let --create-identity make a self-signed one."
        if not sys.stdin.isatty():
            raise SettingsError("the service has no certificate and key of its own", hint)
        typer.echo(f"The service has no certificate and key of its own. A self-signed one can be made in {folder}.")
        typer.echo("Phones will accept it only once their trust list names it with role TVS.")
        if not typer.confirm("Make it?"):
            raise SettingsError("the service has no certificate and key of its own", hint)
    _create(files)
    return files


def _create(files: IdentityFiles) -> None:
    from datetime import UTC, datetime

    from trustbridge.services.tvsfolder import host_name

    files.create(host_name(), datetime.now(UTC))
    typer.echo(f"Made {files.certificate} and its key, readable by you only.")


async def _serve(service: FolderService, address: tuple[str, int], count: int) -> None:
    import asyncio
    import signal

    from trustbridge.cli.logs import start_logging
    from trustbridge.services.storefolder import StoreFolder
    from trustbridge.services.tvsfolder import start_folder_tvs, work
    from trustbridge.services.workers import start_workers
    from trustbridge.trust.vouch import VouchIndex

    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    host, port = address
    if count == 1:
        running = await start_folder_tvs(service, host=host, port=port)
        _introduce(service, running.address, running.index, "this process")
        await stopped.wait()
        await running.stop()
    else:
        # What is wrong is found here, and told once, instead of by every worker.
        service.identity.load().server_context(legacy=service.legacy_tls)
        folder = StoreFolder(service.directory)
        folder.refresh()
        workers = await start_workers(count, work, service, host=host, port=port, what="TVS", prepare=start_logging)
        index = VouchIndex.from_stores(folder.contents.certificates)
        _introduce(service, workers.address, index, f"{count} processes ({', '.join(map(str, workers.pids))})")
        await stopped.wait()
        await workers.stop()
    typer.echo("Stopped.")


def _introduce(service: FolderService, address: tuple[str, int], index: VouchIndex, who: str) -> None:
    """Say where the service is, what it vouches for, and what phones need to ask it."""
    import ipaddress
    from collections import Counter

    own = service.identity.load().chain[0]
    host, port = address
    roles = Counter(_role(role) for vouched in index for role in vouched.roles)
    counts = ", ".join(f"{count} {role}" for role, count in sorted(roles.items()))
    typer.echo(f"TVS on {host} port {port}, served by {who}")
    typer.echo(f"  vouches for  {len(index)} certificates{f' ({counts})' if counts else ''} in {service.directory}")
    typer.echo(f"  certificate  {own.subject}\n               SHA-256 {own.sha256}")
    typer.echo("               Phones ask only a service whose certificate their trust list names with role TVS.")
    if ipaddress.ip_address(host.partition("%")[0]).is_loopback:
        typer.echo("  reachable    from this machine only (--listen ADDRESS for phones elsewhere)")
    if service.legacy_tls:
        typer.echo(
            "  TLS          1.0 and RSA key exchange too: who records that traffic can read it once the key leaks"
        )
    typer.echo("Ctrl-C stops it.")
