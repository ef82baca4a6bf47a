"""`trustbridge cluster`: the clusters one works with, what they are made of, and whether they can be reached."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trustbridge.cli.opened import pinned, state_folder

if TYPE_CHECKING:
    from trustbridge.cucm.model import ClusterEntry

app = typer.Typer(
    no_args_is_help=True,
    help=(
        "Clusters by name, and what they are made of.\n\n"
        "Passwords come, for the cluster `source`, from TRUSTBRIDGE_SOURCE_OS_PASSWORD and "
        "TRUSTBRIDGE_SOURCE_APP_PASSWORD, else from the system's keyring (`password` stores them), else from "
        "passwords.json in the state folder (0600; `add --lab` writes it), else from a question at the terminal. Host "
        "keys and TLS certificates are pinned at the first contact, and shown."
    ),
)

Json = Annotated[bool, typer.Option("--json", help="JSON instead of tables.")]
Name = Annotated[str, typer.Argument(help="The cluster.")]


@app.command()
def add(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Ours, for messages; with --lab: the lab's folder.")
    ] = None,
    publisher: Annotated[str | None, typer.Argument(metavar="PUBLISHER", help="Its name or address.")] = None,
    os_user: Annotated[
        str | None, typer.Option("--os-user", help="OS administrator: command line, certificate REST.")
    ] = None,
    app_user: Annotated[
        str | None, typer.Option("--app-user", help="Application user: AXL, RisPort70, Control Center.")
    ] = None,
    lab: Annotated[bool, typer.Option("--lab", help="Take all clusters of a lab that is up, passwords too.")] = False,
    ssh_port: Annotated[int, typer.Option("--ssh-port", help="Port of the command line.")] = 22,
    https_port: Annotated[int, typer.Option("--https-port", help="Port of HTTPS.")] = 8443,
    tvs_port: Annotated[int, typer.Option("--tvs-port", help="Port of TVS.")] = 2445,
    http_port: Annotated[int, typer.Option("--http-port", help="Port of files over HTTP.")] = 6970,
    tftp_port: Annotated[int, typer.Option("--tftp-port", help="Port of TFTP.")] = 69,
    node_address: Annotated[
        list[str] | None,
        typer.Option("--node-address", help="NAME=ADDRESS: where a node is reached, if not where the cluster says."),
    ] = None,
    legacy_ssh: Annotated[
        bool, typer.Option("--legacy-ssh", help="Offer old SSH algorithms too; weakens the connection.")
    ] = False,
    axl_schema: Annotated[
        Path | None, typer.Option("--axl-schema", help="Folder of a newer AXL schema than the one that comes along.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Instead of the one of that name.")] = False,
) -> None:
    """Name a cluster, or take those of a lab: `cluster add --lab [FOLDER]`. Nothing is asked of it yet."""
    from trustbridge.cucm.model import ClusterEntry
    from trustbridge.errors import SettingsError

    if lab:
        if publisher is not None or os_user is not None or app_user is not None:
            raise SettingsError("--lab knows users and publishers: it goes with a folder and nothing else")
        _add_lab(None if name is None else Path(name), replace)
        return
    if name is None or publisher is None or os_user is None or app_user is None:
        raise SettingsError(
            "a cluster is NAME PUBLISHER --os-user USER --app-user USER", "Or take those of a lab: --lab [FOLDER]."
        )
    entry = ClusterEntry(
        name=name,
        publisher=publisher,
        os_user=os_user,
        app_user=app_user,
        ssh_port=ssh_port,
        https_port=https_port,
        tvs_port=tvs_port,
        http_port=http_port,
        tftp_port=tftp_port,
        node_addresses=tuple(_pair(one) for one in node_address or ()),
        legacy_ssh=legacy_ssh,
        axl_schema=None if axl_schema is None else str(axl_schema.absolute()),
    )
    _add([entry], replace)
    typer.echo(f"{name} is known; see whether it can be reached: trustbridge cluster test {name}")


def _add(entries: Sequence[ClusterEntry], replace: bool) -> None:
    from trustbridge.cli.passwords import warned
    from trustbridge.storage.clusterbook import add_clusters

    add_clusters(entries, state_folder(), replace=replace, warn=warned)


def _pair(text: str) -> tuple[str, str]:
    from trustbridge.errors import SettingsError

    name, sign, address = text.partition("=")
    if not sign:
        raise SettingsError(f"--node-address {text}: NAME=ADDRESS is expected")
    return name, address


def _add_lab(folder: Path | None, replace: bool) -> None:
    """The clusters of a lab that is up: as its control socket tells."""
    from trustbridge.cli.lab import ask_lab
    from trustbridge.cucm.credentials import Credentials, Secret
    from trustbridge.storage.inventory import Inventory
    from trustbridge.storage.passwordfile import PasswordFile

    found = ask_lab(folder, "Asking the lab", do="status")
    accounts = {
        cluster["name"]: ask_lab(folder, "Asking the lab", do="credentials", cluster=cluster["name"])
        for cluster in found["clusters"]
    }
    entries = [lab_entry(cluster, found["ports"], accounts[cluster["name"]]) for cluster in found["clusters"]]
    inventory, passwords = Inventory(state_folder()), PasswordFile(state_folder())
    known = inventory.all()
    again = all(entry.name not in known or known[entry.name].publisher == entry.publisher for entry in entries)
    _add(entries, replace or again)
    for entry in entries:
        os_account, app_account = accounts[entry.name]["os"], accounts[entry.name]["application"]
        passwords.keep(entry.name, Credentials(Secret(os_account["password"]), Secret(app_account["password"])))
    typer.echo(f"known now: {', '.join(entry.name for entry in entries)}; passwords are in {passwords.path} (0600)")


def lab_entry(cluster: dict[str, Any], ports: dict[str, int], accounts: dict[str, Any]) -> ClusterEntry:
    from trustbridge.cucm.model import ClusterEntry

    addresses = tuple((node["name"], node["address"]) for node in cluster["nodes"])
    return ClusterEntry(
        name=cluster["name"],
        publisher=next(node["address"] for node in cluster["nodes"] if node["publisher"]),
        os_user=accounts["os"]["user"],
        app_user=accounts["application"]["user"],
        ssh_port=ports["ssh"],
        https_port=ports["https"],
        tvs_port=ports["tvs"],
        http_port=ports["provisioning"],
        tftp_port=ports["tftp"],
        node_addresses=addresses,
    )


@app.command("list")
def list_clusters(as_json: Json = False) -> None:
    """The clusters that are known. Asks nobody."""
    import dataclasses

    from trustbridge.cli import clusterview, screen
    from trustbridge.storage.inventory import Inventory

    known = Inventory(state_folder()).all()
    if as_json:
        screen.print_json([dataclasses.asdict(entry) for entry in known.values()])
    elif known:
        clusterview.show_list(screen.console(), list(known.values()))
    else:
        typer.echo("no cluster is known; name one: trustbridge cluster add --help")


@app.command()
def show(
    name: Name,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="The certificates as CSV.")] = False,
    alone: Annotated[bool, typer.Option("--alone", help="Do not ask the other clusters whom they trust.")] = False,
) -> None:
    """A cluster: nodes, services, and its certificates with who of the other known clusters holds them."""
    import asyncio

    from trustbridge.cli import clusterview, screen
    from trustbridge.errors import SettingsError

    if as_json and as_csv:
        raise SettingsError("--json and --csv exclude each other")
    found = asyncio.run(_collect(name, alone))
    if as_json:
        screen.print_json(found)
    elif as_csv:
        typer.echo(clusterview.as_csv(found["certificates"]), nl=False)
    else:
        clusterview.show_cluster(screen.console(), found)


async def _collect(name: str, alone: bool) -> dict[str, Any]:
    """Everything `show` shows, as JSON has it."""
    import asyncio

    from trustbridge.cli import clusterview
    from trustbridge.cli.passwords import cluster_credentials
    from trustbridge.cucm.cluster import Cluster
    from trustbridge.errors import AuthenticationRefused, IdentityChanged, TrustbridgeError
    from trustbridge.storage.inventory import Inventory

    state = state_folder()
    inventory = Inventory(state)
    entry = inventory.get(name)
    others = [] if alone else [other for other in inventory.all().values() if other.name != name]
    notes: list[str] = []
    asked: list[str] = []

    async def held_by(other: ClusterEntry) -> list[tuple[str, str, str]]:
        """(fingerprint, cluster, store) of what another cluster's publisher trusts."""
        try:
            credentials = cluster_credentials(other, state, ask=False)
            async with Cluster.open(other, credentials, state=state, on_first_contact=pinned) as cluster:
                trusted = await cluster.trusted((await cluster.publisher()).name)
        except TrustbridgeError as error:
            notes.append(f"{other.name} was not asked whom it trusts: {error.message}")
            return []
        asked.append(other.name)
        return [(one.certificate.sha256, other.name, str(one.store)) for one in trusted]

    credentials = cluster_credentials(entry, state)
    async with Cluster.open(entry, credentials, state=state, on_first_contact=pinned) as cluster:
        release, nodes = await cluster.release(), await cluster.nodes()
        services: dict[str, list[dict[str, Any]]] = {}
        for node in nodes:
            try:
                services[node.name] = [
                    {"name": one.name, "running": one.running, "since": one.since}
                    for one in await cluster.services(node.name)
                ]
            except (AuthenticationRefused, IdentityChanged):
                raise
            except TrustbridgeError as error:
                notes.append(f"services of {node.name} are not known: {error.message}")
        mode, rollback = await cluster.security_mode(), await cluster.prepare_for_rollback()
        asking = asyncio.gather(*(held_by(other) for other in others))
        identities, holders = await asyncio.gather(cluster.identities(), asking)
        return {
            "name": name,
            "publisher": entry.publisher,
            "release": str(release),
            "security": mode,
            "prepare_for_rollback": rollback,
            "nodes": [
                {
                    "name": node.name,
                    "address": entry.address_of(node),
                    "publisher": node.publisher,
                    "services": services.get(node.name),
                }
                for node in nodes
            ],
            "certificates": clusterview.certificate_rows(identities, [one for found in holders for one in found]),
            "asked": sorted(asked),
            "notes": notes,
            "ways": [[question, str(interface)] for question, interface in cluster.ways()],
            "detours": list(cluster.detours()),
        }


@app.command("test")
def try_cluster(name: Name, as_json: Json = False) -> None:
    """Try each interface of a cluster's publisher in turn, and say what came of it.

    A password that was refused is not tried again by another interface: too many wrong ones lock an account.
    """
    import asyncio

    from trustbridge.cli import clusterview, screen

    console = screen.console()
    if as_json:
        rows, code = asyncio.run(_try_all(name, lambda row: None))
        screen.print_json(rows)
    else:
        # A line as soon as it is known: some interfaces take their time to fail.
        _, code = asyncio.run(_try_all(name, lambda row: clusterview.show_trial(console, row)))
    if code:
        raise typer.Exit(code)


async def _try_all(name: str, told: Callable[[dict[str, Any]], None]) -> tuple[list[dict[str, Any]], int]:
    from trustbridge.cli.passwords import cluster_credentials
    from trustbridge.cucm.cluster import Cluster
    from trustbridge.cucm.trials import try_interfaces
    from trustbridge.storage.inventory import Inventory

    state = state_folder()
    entry = Inventory(state).get(name)
    async with Cluster.open(entry, cluster_credentials(entry, state), state=state, on_first_contact=pinned) as cluster:
        return await try_interfaces(cluster, told)


@app.command()
def password(
    name: Name,
    of_os: Annotated[
        bool, typer.Option("--os", help="The OS administrator's: command line, certificate REST.")
    ] = False,
    of_app: Annotated[bool, typer.Option("--app", help="The application user's: AXL, RisPort70, ...")] = False,
    forget: Annotated[bool, typer.Option("--forget", help="Take it out of the keyring.")] = False,
    password_file: Annotated[
        Path | None,
        typer.Option("--password-file", help="Its first line, instead of a question; - for standard input."),
    ] = None,
) -> None:
    """Ask for a cluster's passwords and store them in the system's keyring; both, unless one is named.

    A password in the environment goes before the keyring's, and that before one in passwords.json.
    """
    from trustbridge.cli.passwords import new_cluster_password, password_in, system_keyring, user_of
    from trustbridge.cucm.credentials import Realm, Secret
    from trustbridge.errors import SettingsError
    from trustbridge.storage.inventory import Inventory

    entry = Inventory(state_folder()).get(name)
    realms = [realm for realm, wanted in ((Realm.OS, of_os), (Realm.APP, of_app)) if wanted] or list(Realm)
    if password_file is not None and (forget or len(realms) != 1):
        raise SettingsError("--password-file holds one password to store: it goes with either --os or --app")
    for realm in realms:
        user = user_of(entry, realm)
        if forget:
            known = system_keyring().forget(name, realm, user)
            typer.echo(f"{'forgotten' if known else 'not known'}: the password of {user}, {realm.words} of {name}")
            continue
        secret = new_cluster_password(entry, realm) if password_file is None else Secret(password_in(password_file))
        if secret is not None:
            place = system_keyring().keep(name, realm, user, secret)
            typer.echo(f"kept in {place}: the password of {user}, {realm.words} of {name}")


@app.command()
def remove(name: Name) -> None:
    """Forget a cluster, and the passwords kept for it. Pinned identities stay."""
    from trustbridge.cli.passwords import warned
    from trustbridge.storage.clusterbook import remove_cluster

    remove_cluster(name, state_folder(), warn=warned)
    typer.echo(f"forgotten: {name}")
