"""Tables of real clusters: the list, one cluster with its certificates, the trial of its interfaces."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from trustbridge.cli import screen

if TYPE_CHECKING:
    from rich.console import Console

    from trustbridge.cucm.model import ClusterEntry, NodeIdentity

_CSV = ("node", "unit", "subject", "issuer", "serial", "key", "not_after", "days_left", "sha256", "held_by")


def show_list(console: Console, entries: Sequence[ClusterEntry]) -> None:
    """What is known, without asking anybody."""
    rows = [(escape(one.name), escape(one.publisher), escape(one.os_user), escape(one.app_user)) for one in entries]
    columns = ("cluster", "publisher", "OS administrator", "application user")
    console.print(screen.table("Clusters", columns, rows))


def certificate_rows(
    identities: Iterable[NodeIdentity], holders: Iterable[tuple[str, str, str]], now: datetime | None = None
) -> list[dict[str, Any]]:
    """Certificates as JSON has them.

    Args:
        holders: (fingerprint, cluster, store) of what other clusters trust.
    """
    moment = now or datetime.now(UTC)
    held: dict[str, dict[str, list[str]]] = {}
    for sha256, cluster, store in holders:
        held.setdefault(sha256, {}).setdefault(cluster, []).append(store)
    rows = []
    for one in identities:
        certificate = one.certificate
        rows.append(
            {
                "node": one.node,
                "unit": str(one.unit),
                "subject": certificate.subject,
                "issuer": certificate.issuer,
                "serial": f"{certificate.serial:X}",
                "key": f"{certificate.key_kind} {certificate.key_bits}",
                "not_after": certificate.not_after.isoformat(),
                "days_left": (certificate.not_after - moment).days,
                "sha256": certificate.sha256,
                "problems": list(certificate.problems(moment)),
                "held_by": held.get(certificate.sha256, {}),
            }
        )
    return rows


def as_csv(rows: Iterable[dict[str, Any]]) -> str:
    """Certificates as CSV, with a line of names."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _CSV, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({**row, "held_by": _holders(row)})
    return text.getvalue()


def _holders(row: dict[str, Any]) -> str:
    return "; ".join(f"{cluster}: {', '.join(stores)}" for cluster, stores in row["held_by"].items())


def _expiry(row: dict[str, Any]) -> str:
    from trustbridge.migration.clusterreading import LATER, SOON

    days = int(row["days_left"])
    colour = "red" if days < SOON else "yellow" if days < LATER else "green"
    left = "expired" if days < 0 else f"{days} days"
    return f"{row['not_after'][:10]} [{colour}]({left})[/]"


def show_cluster(console: Console, found: dict[str, Any]) -> None:
    """A whole cluster."""
    rollback = "; prepared for rollback to pre 8.0" if found["prepare_for_rollback"] else ""
    console.print(
        f"[bold]{escape(found['name'])}[/]: release {escape(found['release'])}, {found['security']}{rollback}\n"
    )
    nodes = [
        (
            escape(node["name"]) + (" (publisher)" if node["publisher"] else ""),
            escape(node["address"]),
            _services(node["services"]),
        )
        for node in found["nodes"]
    ]
    console.print(screen.table("Nodes", ("node", "address", "services of phones' trust"), nodes))
    # "Nobody" is said only of those who were asked.
    nobody = f"[dim]{escape('none of ' + ', '.join(found['asked'])) if found['asked'] else 'nobody was asked'}[/]"
    certificates = [
        (
            escape(row["node"]),
            row["unit"],
            escape(row["subject"].partition(";")[0]),
            row["key"],
            _expiry(row),
            escape(_holders(row)) or nobody,
        )
        for row in found["certificates"]
    ]
    columns = ("node", "unit", "subject", "key", "expires", "held by other clusters in")
    console.print(screen.table("Certificates", columns, certificates))
    for note in (*found["notes"], *found["detours"]):
        console.print(f"[yellow]{escape(note)}[/]")


_OF_INTEREST = ("Cisco CallManager", "Cisco Tftp", "Cisco Trust Verification Service")


def _services(services: list[dict[str, Any]] | None) -> str:
    if services is None:
        return "[yellow]not known[/]"
    marks = {True: "[green]✓[/]", False: "[red]✗[/]"}
    shown = [f"{marks[one['running']]} {escape(one['name'])}" for one in services if one["name"] in _OF_INTEREST]
    return "\n".join(shown) or "[dim]none[/]"


def show_trial(console: Console, row: dict[str, Any]) -> None:
    """What came of one interface."""
    marks = {True: "[green]✓[/]", False: "[red]✗[/]", None: "[dim]·[/]"}
    console.print(f"{marks[row['works']]} {row['interface']}: {escape(row['words'])}", soft_wrap=True)
    if row["hint"] and row["works"] is False:
        console.print(f"    [dim]{escape(row['hint'])}[/]", soft_wrap=True)
