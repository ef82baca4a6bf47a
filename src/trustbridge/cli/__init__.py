"""The command line: `trustbridge`. One module a command group; heavy imports wait until a command runs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from trustbridge import __version__
from trustbridge.cli import bulk, cluster, devices, exchange, lab, migrate, option150, remote, sftp, tvs
from trustbridge.cli.check import check
from trustbridge.cli.demo import demo
from trustbridge.cli.diagnose import diagnose
from trustbridge.cli.inspect import inspect_command
from trustbridge.cli.passwords import take_environment
from trustbridge.cli.predict import predict
from trustbridge.cli.report import report
from trustbridge.cli.serve import serve
from trustbridge.errors import TrustbridgeError

#: Exit code for a fault of the program itself (sysexits' EX_SOFTWARE), and for Ctrl-C (128 + SIGINT).
INTERNAL_ERROR, INTERRUPTED = 70, 130

app = typer.Typer(
    name="trustbridge",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="rich",
    help=(
        "Move Cisco IP phones between Unified CM clusters without losing their trust: exchange certificates in bulk, "
        "prove the trust, and rehearse the whole move in a lab.\n\n"
        "Begin with [bold]trustbridge demo[/bold]."
    ),
    epilog=(
        "Exit codes: 0 done; 1 an expectation did not hold; 2 usage or settings; 3 bad input; 4 unreachable; "
        "5 refused; 6 a step before this one is missing; 7 a port is taken."
    ),
)
app.command(rich_help_panel="Rehearse")(demo)
app.add_typer(lab.app, name="lab", rich_help_panel="Rehearse")
app.add_typer(cluster.app, name="cluster", rich_help_panel="Exchange")
app.add_typer(exchange.app, name="exchange", rich_help_panel="Exchange")
app.add_typer(bulk.app, name="bulk", rich_help_panel="Exchange")
app.add_typer(sftp.app, name="sftp", rich_help_panel="Exchange")
app.command(rich_help_panel="Migrate")(check)
app.command(rich_help_panel="Migrate")(predict)
app.add_typer(devices.app, name="devices", rich_help_panel="Migrate")
app.add_typer(option150.app, name="option150", rich_help_panel="Migrate")
app.add_typer(migrate.app, name="migrate", rich_help_panel="Migrate")
app.command(rich_help_panel="Migrate")(diagnose)
app.command(rich_help_panel="Migrate")(report)
app.command(rich_help_panel="Look")(serve)
app.add_typer(remote.app, name="remote", rich_help_panel="Look")
app.add_typer(tvs.app, name="tvs", rich_help_panel="Trust")
app.command("inspect", rich_help_panel="Trust")(inspect_command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"trustbridge {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Options that stand before a command."""
    take_environment()


def main() -> None:
    """Run the command line; every error ends as words and an exit code."""
    try:
        app()
    except TrustbridgeError as error:
        _say(error.message, error.hint)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # Whoever read us has enough (`| head`); nothing is left to flush to.
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        if _debug():
            raise
        _say(
            f"trustbridge itself failed: {type(error).__name__}: {error}",
            "This is a fault of the program. Run it again with TRUSTBRIDGE_DEBUG=1 and report what it shows.",
        )
        sys.exit(INTERNAL_ERROR)


def _debug() -> bool:
    from trustbridge import settings

    try:
        return settings.load().debug
    except TrustbridgeError:
        return False


def _say(message: str, hint: str) -> None:
    typer.secho(f"trustbridge: {message}", err=True, fg=typer.colors.RED)
    if hint:
        typer.secho(f"  {hint}", err=True)
