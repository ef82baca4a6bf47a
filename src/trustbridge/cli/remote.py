"""`trustbridge remote`: what a console on another machine knows and does, over its JSON API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from trustbridge.console.client import ConsoleClient

#: Holds the token, where no file is named.
TOKEN_VARIABLE = "TRUSTBRIDGE_CONSOLE_TOKEN"  # noqa: S105 - the name of a variable

app = typer.Typer(
    no_args_is_help=True,
    help=(
        "Campaigns of a console that runs elsewhere (`trustbridge serve`): look, start, pause, resume, roll back.\n\n"
        "The console's address is --console or the setting console_url; an API token, made there under your account, "
        f"is --token-file or ${TOKEN_VARIABLE}. Its certificate is pinned at first contact. What may be done is what "
        "the token's role may do; each action is in the console's audit."
    ),
)

Console = Annotated[str, typer.Option("--console", metavar="URL", help="Its address; else the setting console_url.")]
TokenFile = Annotated[
    Path | None, typer.Option("--token-file", help="Its first line is the API token; - for standard input.")
]
Campaign = Annotated[str, typer.Argument(metavar="CAMPAIGN", help="The campaign, by name.")]
Json = Annotated[bool, typer.Option("--json", help="JSON instead of tables.")]
Accept = Annotated[
    list[str] | None, typer.Option("--accept", metavar="TBnnn", help="Go on with this finding; may be given again.")
]
Option150 = Annotated[
    bool, typer.Option("--option150-done", help="Say that DHCP option 150 of these phones names the right cluster now.")
]


@contextmanager
def _console(url: str, token_file: Path | None) -> Iterator[ConsoleClient]:
    from trustbridge import settings
    from trustbridge.cli.opened import pinned
    from trustbridge.cli.passwords import password_in
    from trustbridge.console.client import ConsoleClient
    from trustbridge.cucm.access import CERTIFICATES
    from trustbridge.cucm.pins import TlsPins
    from trustbridge.errors import SettingsError
    from trustbridge.storage.passwords import given

    found = settings.load()
    address = url or found.console_url
    if not address:
        raise SettingsError("no console is named", "Use --console, or the setting console_url.")
    token = password_in(token_file) if token_file is not None else given(TOKEN_VARIABLE)
    if token is None:
        raise SettingsError("there is no API token", f"Use --token-file or ${TOKEN_VARIABLE}.")
    pins = TlsPins(found.state_folder / CERTIFICATES, on_first_contact=lambda contact: pinned(str(contact)))
    with ConsoleClient(address, token, pins) as client:
        yield client


@app.command("get")
def get(
    path: Annotated[str, typer.Argument(metavar="PATH", help="Below /api/v1, such as clusters or jobs/7.")],
    console: Console = "",
    token_file: TokenFile = None,
) -> None:
    """Whatever the API answers to a GET, as JSON. What there is: /api/v1/docs of the console."""
    from trustbridge.cli import screen

    with _console(console, token_file) as client:
        screen.print_json(client.get(path.lstrip("/")))


@app.command()
def campaigns(console: Console = "", token_file: TokenFile = None, as_json: Json = False) -> None:
    """Its campaigns, and how far each is."""
    from rich.markup import escape

    from trustbridge.cli import screen

    with _console(console, token_file) as client:
        found = client.get("campaigns")
    if as_json:
        screen.print_json(found)
        return
    rows = [
        (one["name"], f"{one['source']} -> {one['destination']}", one["state"], _states(one), escape(one["reason"]))
        for one in found
    ]
    screen.console().print(screen.table("Campaigns", ("name", "clusters", "state", "phones", "why"), rows))


@app.command()
def status(name: Campaign, console: Console = "", token_file: TokenFile = None, as_json: Json = False) -> None:
    """One campaign: its waves, and what has failed."""
    with _console(console, token_file) as client:
        _show(client, name, as_json)


@app.command()
def start(
    name: Campaign,
    option150_done: Option150 = False,
    accept: Accept = None,
    console: Console = "",
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Check both clusters, and begin. The console works on it; this only waits for the check."""
    from trustbridge.errors import NotNow

    with _console(console, token_file) as client:
        begun = client.post(f"campaigns/{name}/start", {"option150_done": option150_done, "accept": accept or []})
        result = _wait(client, begun)
        if isinstance(result, dict) and result.get("begun") is False:
            stops = ", ".join(result.get("left", ())) or "something"
            raise NotNow(f"{name} was not begun: {stops} stops it", "See the check in the console; or --accept.")
        _show(client, name, as_json)


@app.command()
def pause(name: Campaign, console: Console = "", token_file: TokenFile = None, as_json: Json = False) -> None:
    """Reset no phone from now on; what is under way is watched to its end."""
    with _console(console, token_file) as client:
        client.post(f"campaigns/{name}/pause")
        _show(client, name, as_json)


@app.command()
def resume(
    name: Campaign,
    retry: Annotated[bool, typer.Option("--retry", help="Try what failed or was skipped once more.")] = False,
    console: Console = "",
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Go on with a campaign that was paused or halted."""
    with _console(console, token_file) as client:
        begun = client.post(f"campaigns/{name}/resume", {"retry": retry})
        if begun.get("job") is not None:
            _wait(client, {"id": begun["job"]})
        _show(client, name, as_json)


@app.command()
def rollback(
    name: Campaign,
    wave: Annotated[str | None, typer.Option("--wave", help="Only this wave.")] = None,
    phone: Annotated[list[str] | None, typer.Option("--phone", help="Only this phone; may be given again.")] = None,
    option150_done: Option150 = False,
    accept: Accept = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    console: Console = "",
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Have phones go back to the source, checked and foretold first; the console works on it."""
    import sys

    from trustbridge.errors import SettingsError

    if not yes:
        if as_json or not sys.stdin.isatty():
            raise SettingsError("nobody can be asked here", "Say that you mean it: --yes.")
        if not typer.confirm(f"Bring phones of {name} back to where they came from?", err=True):
            raise typer.Exit(1)
    wanted = {"wave": wave, "phones": phone or [], "option150_done": option150_done, "accept": accept or []}
    with _console(console, token_file) as client:
        _wait(client, client.post(f"campaigns/{name}/rollback", wanted))
        _show(client, name, as_json)


@app.command()
def report(
    name: Campaign,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="A page for a change ticket.")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="A line a phone.")] = None,
    console: Console = "",
    token_file: TokenFile = None,
) -> None:
    """What a campaign came to, into files; without any, as JSON."""
    from trustbridge import atomicfile
    from trustbridge.cli import screen

    with _console(console, token_file) as client:
        for kind, path in (("html", html), ("csv", csv)):
            if path is not None:
                with atomicfile.in_words("the report was not written"):
                    atomicfile.write(path, client.text(f"campaigns/{name}/report", format=kind).encode())
                typer.echo(f"The report is in {path}")
        if html is None and csv is None:
            screen.print_json(client.get(f"campaigns/{name}/report"))


def _wait(client: ConsoleClient, begun: Any) -> Any:
    from trustbridge.cli import screen

    with screen.progress("The console") as told:
        return client.job(begun, told)


def _states(campaign: Any) -> str:
    from collections import Counter

    counts: Counter[str] = Counter()
    for wave in campaign["waves"]:
        counts.update(wave["states"])
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))


def _show(client: ConsoleClient, name: str, as_json: bool) -> None:
    from rich.markup import escape

    from trustbridge.cli import screen

    found = client.get(f"campaigns/{name}")
    failed = client.get(f"campaigns/{name}/phones", kind="failed", sort="since", descending=True, limit=20)
    if as_json:
        screen.print_json(found | {"failed": failed})
        return
    console = screen.console()
    rows = [
        (
            escape(wave["name"]),
            "ended" if wave["ended"] else "begun" if wave["begun"] else "",
            str(wave["phones"]),
            ", ".join(f"{count} {state}" for state, count in sorted(wave["states"].items())),
        )
        for wave in found["waves"]
    ]
    why = f": {found['reason']}" if found["reason"] else ""
    title = escape(f"{found['name']}, {found['source']} -> {found['destination']}: {found['state']}{why}")
    console.print(screen.table(title, ("wave", "", "phones", "states"), rows))
    if failed["phones"]:
        more = failed["total"] - len(failed["phones"])
        bad = [(one["name"], escape(one["wave"]), one["state"], escape(one["reason"])) for one in failed["phones"]]
        caption = f"and {more} more" if more > 0 else ""
        console.print(screen.table("Failed", ("phone", "wave", "state", "why"), bad, caption=caption))
