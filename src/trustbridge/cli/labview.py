"""Tables of a lab: clusters, phones, one phone."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.console import Console
from rich.markup import escape

from trustbridge.cli import screen

#: More phones than this are counted instead of listed.
LISTED_PHONES = 60
_COLOURS = {"registered": "green", "not registered": "red", "booting": "yellow", "off": "dim"}


def show_status(console: Console, status: dict[str, Any]) -> None:
    """A whole lab."""
    console.print(f"[bold]{escape(status['name'])}[/] in {escape(status['folder'])}")
    for notice in status["notices"]:
        console.print(f"[yellow]{escape(notice)}[/]")
    console.print(f"option 150: {', '.join(status['option150'])}    SFTP: {escape(status['sftp']['server'])}")
    users = sorted({cluster["accounts"]["os"] for cluster in status["clusters"]})
    console.print(f"command line of each node: SSH on port {status['ports']['ssh']}, user {escape(', '.join(users))}\n")
    rows = []
    for cluster in status["clusters"]:
        for place, node in enumerate(cluster["nodes"]):
            rows.append(
                (
                    f"[bold]{cluster['name']}[/]" if place == 0 else "",
                    f"{cluster['release']} {cluster['security']}" if place == 0 else "",
                    f"{node['name']}{' (publisher)' if node['publisher'] else ''}",
                    node["address"],
                    f"{node['vouches_for']} certificates",
                    f"{cluster['registered']} of {cluster['devices']}" if place == 0 else "",
                )
            )
    console.print(
        screen.table("Clusters", ("cluster", "release, mode", "node", "address", "TVS vouches for", "registered"), rows)
    )
    show_phones(console, status["phones"])


def show_phones(console: Console, phones: list[dict[str, Any]]) -> None:
    """Phones, or how many of each kind when they are many."""
    places = Counter(phone["registered_at"] or phone["standing"] for phone in phones)
    counted = ", ".join(f"{count} {place}" for place, count in sorted(places.items()))
    if len(phones) > LISTED_PHONES:
        console.print(f"{len(phones)} phones: {counted}  [dim](--json lists them)[/]")
        refusals = Counter(phone["refusal"] for phone in phones if phone["refusal"])
        for refusal, count in refusals.most_common():
            console.print(f"  {count}: {refusal}")
        return
    rows = [
        (
            phone["name"],
            phone["model"],
            phone["address"],
            f"[{_COLOURS[phone['standing']]}]{phone['registered_at'] or phone['standing']}[/]"
            + (" (TLS)" if phone["secure"] else "")
            + (", in a call" if phone["in_call"] else ""),
            escape(phone["status"]),
            escape(phone["refusal"] or ""),
        )
        for phone in phones
    ]
    console.print(
        screen.table(
            "Phones", ("phone", "model", "address", "registered", "last status", "refused"), rows, caption=counted
        )
    )


def show_phone(console: Console, phone: dict[str, Any]) -> None:
    """One phone and all it tells."""
    where = phone["registered_at"] or "nowhere"
    console.print(f"[bold]{phone['name']}[/] {phone['model']} {phone['address']}: {phone['standing']} at {where}")
    if phone["in_call"] or phone["calls_cut"]:
        console.print(f"{'in a call; ' if phone['in_call'] else ''}calls that a reset has cut: {phone['calls_cut']}")
    console.print(f"trust lists: {escape(phone['trust_lists'])}")
    console.print(f"TFTP servers: {', '.join(phone['tftp_servers'])}")
    if phone["refusal"]:
        console.print(f"[red]{escape(phone['refusal'])}[/]: {escape(phone['reason'])}")
    console.print(screen.table("Status messages", ("when", "message"), phone["status_messages"]))
    console.print("What it decided, and why:")
    marks = {True: "[green]✓[/]", False: "[red]✗[/]", None: "[dim]·[/]"}
    for held, text in phone["transcript"]:
        console.print(f"  {marks[held]} {escape(text)}")
