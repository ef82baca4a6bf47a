"""`trustbridge report`: what a campaign came to, from its database alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trustbridge.errors import SettingsError


def report(
    name: Annotated[str, typer.Argument(metavar="CAMPAIGN", help="The campaign, as `migrate status` lists it.")],
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write a page to keep, or to attach to a change ticket."),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write a line a phone, for a spreadsheet.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON, the whole journal too.")] = False,
) -> None:
    """What a campaign came to: what moved, when, how long it took, what failed and why, and how to undo it.

    Without an option a summary at the terminal. Everything comes from the
    database, so that it works while the campaign runs and when clusters are
    away. The page is one file that loads nothing and runs nothing.
    """
    import sys
    from datetime import UTC, datetime

    from trustbridge import atomicfile
    from trustbridge.cli import reportview, screen
    from trustbridge.cli.migrate import campaigns_at_hand
    from trustbridge.migration.report import report as made_of
    from trustbridge.storage.campaignsnapshot import snapshot

    for option, path in (("--html", html), ("--csv", csv)):
        if path is not None and not path.absolute().parent.is_dir():
            raise SettingsError(f"{option} {path}: there is no such folder", "Name a file in a folder that exists.")
    with campaigns_at_hand() as campaigns, snapshot(campaigns, name) as seen:
        found = made_of(
            seen.campaign,
            seen.waves,
            seen.phones,
            seen.journal(evidence=False),
            datetime.now(UTC),
            clusters=seen.clusters,
            scopes=seen.scopes,
        )
        with atomicfile.in_words("the report was not written"):
            if html is not None:
                from trustbridge.migration.reportpage import as_html

                atomicfile.write(html, as_html(found).encode())
            if csv is not None:
                from trustbridge.migration.reportviews import as_csv

                # With the mark that tells spreadsheets it is UTF-8.
                atomicfile.write(csv, as_csv(found).encode("utf-8-sig"))
        if as_json:
            from trustbridge.migration.reportviews import as_json as parts

            sys.stdout.writelines(parts(found, seen.journal()))
            return
    for path in (html, csv):
        if path is not None:
            typer.echo(f"The report is in {path}")
    if html is None and csv is None:
        reportview.show(screen.console(), found)
