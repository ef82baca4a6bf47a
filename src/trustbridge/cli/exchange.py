"""`trustbridge exchange`: certificates between clusters: planned, exchanged, proven, taken back."""

from __future__ import annotations

import typer

from trustbridge.cli.verify import verify

app = typer.Typer(
    no_args_is_help=True,
    help=(
        "Exchange certificates between clusters that `trustbridge cluster add` has named, and prove that phones will "
        "be told so.\n\n"
        "Begin with [bold]trustbridge exchange plan SOURCE DESTINATION[/bold]: nothing is changed by it."
    ),
)
app.command()(verify)
