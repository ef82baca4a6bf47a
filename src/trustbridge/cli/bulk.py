"""`trustbridge bulk`: bulk certificate management on the publishers of a lab that is up."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trustbridge.cli.lab import FolderOption, Json, ask_lab
from trustbridge.cli.passwords import PASSWORD_VARIABLE, read_password

app = typer.Typer(
    no_args_is_help=True,
    help=(
        "Bulk certificate management on a lab's publishers: what OS Administration > Security > Bulk Certificate "
        "Management does.\n\n"
        "The order: configure and export on every cluster, consolidate on one, import on every cluster."
    ),
)

Cluster = Annotated[str, typer.Argument(help="The cluster on whose publisher this runs.")]
Type = Annotated[str, typer.Option("--type", "-t", help="all, tftp, tomcat, capf or itlrecovery.")]


@app.command()
def configure(
    cluster: Cluster,
    host: Annotated[
        str | None, typer.Option("--host", help="The SFTP server; the lab's own when absent.", show_default=False)
    ] = None,
    port: Annotated[int, typer.Option("--port", min=1, max=65535)] = 22,
    user: Annotated[str | None, typer.Option("--user", show_default=False)] = None,
    password_file: Annotated[
        Path | None,
        typer.Option(help=f"File whose first line is the password. Else: ${PASSWORD_VARIABLE}, or a question."),
    ] = None,
    key: Annotated[Path | None, typer.Option("--key", help="A private key instead.", show_default=False)] = None,
    directory: Annotated[str, typer.Option("--directory", help="The same for all clusters.")] = "/",
    folder: FolderOption = None,
) -> None:
    """Tell a publisher its SFTP server. All clusters take the same server and the same directory."""
    from trustbridge.errors import SettingsError

    request: dict[str, object] = {}
    if host is not None:
        if user is None:
            raise SettingsError("--host goes with --user")
        request = {"host": host, "port": port, "user": user, "directory": directory}
        if key is not None:
            request["key_file"] = str(key.absolute())
        else:
            request["password"] = read_password(f"{user}@{host}", password_file)
    found = ask_lab(folder, "Configuring", do="sftp", cluster=cluster, **request)
    typer.echo(f"{cluster} uses {found['server']}")


@app.command("list")
def list_(cluster: Cluster, folder: FolderOption = None, as_json: Json = False) -> None:
    """What lies on the SFTP server: each cluster's bundles, and whether they are consolidated."""
    from rich.markup import escape

    from trustbridge.cli import screen

    found = ask_lab(folder, "Listing", do="list", cluster=cluster)
    if as_json:
        screen.print_json(found)
        return
    console = screen.console()
    rows = [
        (
            item["cluster"],
            item["node"],
            item["type"],
            item["file"],
            str(item["size"]),
            item["modified"][:19].replace("T", " "),
            ("?" if item["certificates"] is None else str(len(item["certificates"])))
            + (" [red]unfinished[/]" if item["unfinished"] else ""),
        )
        for item in found["exports"]
    ]
    columns = ("cluster", "node", "type", "file", "bytes", "exported (UTC)", "certificates")
    console.print(screen.table("Exported", columns, rows))
    joined = [
        (
            item["type"],
            item["file"],
            item["by"] or "?",
            item["modified"][:19].replace("T", " "),
            f"[red]stale: {escape(item['stale'])}[/]" if item["stale"] else "[green]current[/]",
        )
        for item in found["consolidated"]
    ]
    if joined:
        console.print(screen.table("Consolidated", ("type", "file", "by", "when (UTC)", ""), joined))
    else:
        console.print("Nothing is consolidated yet.")
    for name in found["garbled"]:
        console.print(f"[red]{escape(name)} can't be read: export (or consolidate) again on its cluster[/]")
    for name in found["others"]:
        console.print(f"[dim]also there: {escape(name)}[/]")


@app.command()
def export(cluster: Cluster, type: Type = "all", folder: FolderOption = None, as_json: Json = False) -> None:
    """Write a PKCS#12 bundle for each node and type. Certificates only; keys never leave a node."""
    from trustbridge.cli import screen
    from trustbridge.pki.names import short_name

    rows = ask_lab(folder, "Exporting", do="export", cluster=cluster, type=type)
    if as_json:
        screen.print_json(rows)
        return
    cells = [
        (
            row["type"],
            row["node"],
            row["file"],
            "\n".join(short_name(name) for name in row["certificates"]),
            "" if row["written"] else "unchanged",
        )
        for row in rows
    ]
    screen.console().print(screen.table(f"Exported by {cluster}", ("type", "node", "file", "certificates", ""), cells))


@app.command()
def consolidate(cluster: Cluster, type: Type = "all", folder: FolderOption = None, as_json: Json = False) -> None:
    """Join what the clusters exported into one bundle a type. Once, on one cluster, is enough."""
    from trustbridge.cli import screen

    rows = ask_lab(folder, "Consolidating", do="consolidate", cluster=cluster, type=type)
    if as_json:
        screen.print_json(rows)
        return
    cells = [(row["type"], row["file"], ", ".join(row["clusters"]), str(row["certificates"])) for row in rows]
    screen.console().print(screen.table("Consolidated", ("type", "file", "clusters", "certificates"), cells))


@app.command("import")
def import_(cluster: Cluster, type: Type = "all", folder: FolderOption = None, as_json: Json = False) -> None:
    """Import the other clusters' certificates into the right trust stores, on every node.

    Exit code 1 when a certificate was left out because of another one of the same name.
    """
    from trustbridge.cli import screen
    from trustbridge.errors import TrustbridgeError

    rows = ask_lab(folder, "Importing", do="import", cluster=cluster, type=type)
    refused = [row for row in rows if row["result"].startswith("not added")]
    if as_json:
        screen.print_json(rows)
    else:
        cells = [
            (row["type"], row["from"], row["store"], f"[red]{row['result']}[/]" if row in refused else row["result"])
            for row in rows
        ]
        columns = ("type", "certificate of", "store", "result")
        screen.console().print(screen.table(f"Imported by {cluster}", columns, cells))
    if refused:
        raise TrustbridgeError(
            f"{len(refused)} certificates were not added to {cluster}: another one of the same common name is there",
            "Phones whose files these certificates sign would strand. Rename, or renew the certificate, and exchange "
            "again (TB140).",
        )


@app.command()
def upload(
    cluster: Cluster,
    store: Annotated[str, typer.Argument(help="CallManager-trust, Phone-SAST-trust, CAPF-trust, tomcat-trust, ...")],
    certificate: Annotated[Path, typer.Argument(help="PEM or DER.", exists=True, dir_okay=False)],
    node: Annotated[
        list[str] | None, typer.Option("--node", help="Only these nodes; CAPF-trust never replicates.")
    ] = None,
    folder: FolderOption = None,
) -> None:
    """Add one certificate to a trust store: the manual method, for what the bulk import leaves out (TB152)."""
    from trustbridge.errors import SettingsError
    from trustbridge.pki.certificate import read_certificates
    from trustbridge.pki.units import Store

    if store not in set(Store):
        raise SettingsError(f"there is no trust store {store}", f"There are {', '.join(Store)}.")
    for found in read_certificates(certificate.read_bytes()):
        results = ask_lab(folder, "Uploading", do="upload", cluster=cluster, store=store, pem=found.pem(), nodes=node)
        typer.echo(f"{found.subject} to {store} of {cluster}: {', '.join(sorted(set(results)))}")
