"""What `trustbridge exchange plan` and `run` may be told, and what it means."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from trustbridge.exchange.directory import SftpSettings
    from trustbridge.migration.exchangerecord import ExchangeRecord

Clusters = Annotated[list[str], typer.Argument(metavar="CLUSTER...", help="Two clusters or more.")]
Pairs = Annotated[
    list[str] | None, typer.Option("--pair", help="A:B: only these two exchange; may be given again. Else all pairs.")
]
Into = Annotated[str | None, typer.Option("--into", help="Each other cluster exchanges with this one, no other pair.")]
Types = Annotated[
    list[str] | None, typer.Option("--type", "-t", help="all, tftp, tomcat, capf or itlrecovery; may be given again.")
]
By = Annotated[
    str | None,
    typer.Option(
        "--by",
        help="bulk: the clusters' own bulk commands over SFTP. certificates: one by one, over REST or the command "
        "line. Else what fits, and the plan says why.",
    ),
]
Sftp = Annotated[
    str | None,
    typer.Option(
        "--sftp",
        metavar="USER@HOST[:PORT][/DIRECTORY]",
        help="The SFTP server that all publishers reach, for bulk; `lab` or `lab:FOLDER` is that of a lab that is up.",
    ),
]
PasswordFile = Annotated[
    Path | None,
    typer.Option(
        "--sftp-password-file", help="Its first line is the password. Else $TRUSTBRIDGE_SFTP_PASSWORD, or a question."
    ),
]
Accept = Annotated[
    list[str] | None, typer.Option("--accept", metavar="ID", help="A finding that is not to stop it, such as TB145.")
]
CapfTrust = Annotated[
    bool,
    typer.Option(
        help="Take CAPF to CAPF-trust of every node as well, where both clusters are in mixed mode (TB152); bulk "
        "leaves that out."
    ),
]
Authorities = Annotated[
    bool, typer.Option("--authorities", help="Take along the authorities that CA-signed certificates need (TB141).")
]
RestartTvs = Annotated[bool, typer.Option("--restart-tvs", help="Restart TVS on every node afterwards (TB103).")]
Json = Annotated[bool, typer.Option("--json", help="JSON instead of tables.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def sftp_settings(
    where: str | None, password_file: Path | None, *, known: ExchangeRecord | None = None
) -> SftpSettings | None:
    """The SFTP server, with its password; None where there is none to speak of."""
    from trustbridge.cli import exchangeview
    from trustbridge.cli.passwords import read_password
    from trustbridge.exchange.directory import SftpSettings

    if where is not None and (where == "lab" or where.startswith("lab:")):
        from trustbridge.cli.lab import ask_lab

        folder = where.partition(":")[2]
        found = ask_lab(Path(folder) if folder else None, "Asking the lab", do="sftp server")
        return SftpSettings(**found)
    if where is None:
        if known is None or known.plan.sftp is None:
            return None
        address = known.plan.sftp
    else:
        address = exchangeview.parse_sftp(where)
    return SftpSettings(
        host=address.host,
        port=address.port,
        username=address.username,
        password=read_password(f"{address.username}@{address.host}", password_file),
        directory=address.directory,
    )
