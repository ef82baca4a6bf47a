"""Releases, nodes, services, and the mode of the cryptography."""

from __future__ import annotations

from trustbridge.errors import Refused
from trustbridge.lab.oscommands.view import NodeView, command, date, date_with_zone, table
from trustbridge.services.clishell import Command

TVS, TFTP, CALLMANAGER = "Cisco Trust Verification Service", "Cisco Tftp", "Cisco CallManager"
#: Services that a lab node really runs, where they are activated; `utils service restart` takes these.
FEATURES = (CALLMANAGER, TFTP, TVS)
#: Services that every node names and a lab does not run.
_PLATFORM = ("System SSH", "Cluster Manager", "Entropy Monitoring Daemon", "Cisco SCSI Watchdog", "Service Manager")
_NAMED = (
    "A Cisco DB",
    "A Cisco DB Replicator",
    "Cisco AXL Web Service",
    "Cisco Certificate Authority Proxy Function",
    "Cisco Certificate Change Notification",
    "Cisco Certificate Expiry Monitor",
    "Cisco Database Layer Monitor",
    "Cisco RIS Data Collector",
    "Cisco Tomcat",
)
_PUBLISHER_ONLY = ("Cisco Certificate Authority Proxy Function",)


def activated(view: NodeView, service: str) -> bool:
    """Whether the node is meant to run a feature service."""
    definition = view.cluster.definition.node(view.node)
    return {TFTP: definition.tftp, CALLMANAGER: definition.callmanager}.get(service, True)


async def show_version(view: NodeView, rest: str) -> Command:
    """`show version active`, `inactive`."""
    which = rest.lower()
    if which == "active":
        yield f"Active Master Version: {view.profile.release}\nActive Version Installed Software Options:\n"
        yield "No Installed Software Options Found.\n"
    elif which == "inactive":
        yield "Inactive Master Version: None\n"
    else:
        raise Refused("Syntax: show version {active|inactive}")


async def show_network_cluster(view: NodeView, rest: str) -> Command:
    """Every node with its address, names and role."""
    definition = view.cluster.definition
    rows = []
    for node in definition.nodes:
        publisher = node.name == definition.publisher
        full = f"{node.name}.{definition.domain}" if definition.domain else node.name
        since = "" if node.name == view.node else f" using TCP since {date(view.started)}"
        rows.append(
            f"{definition.address(node.name)} {full} {node.name} {'Publisher' if publisher else 'Subscriber'} "
            f"callmanager {'DBPub' if publisher else 'DBSub'} authenticated{since}"
        )
    yield table(rows)
    if view.on_publisher:
        yield "\nServer Table (processnode) Entries\n----------------------------------\n"
        yield table(node.name for node in definition.nodes)
    yield "\nSuccessful\n"


async def service_list(view: NodeView, rest: str) -> Command:
    """`utils service list`."""
    yield "Requesting service status, please wait...\n"
    yield table(f"{name} [STARTED]" for name in _PLATFORM)
    yield "Service Manager is running\nGetting list of all services\n>> Return code = 0\n"
    rows = {
        name: "[STARTED]" if name not in _PUBLISHER_ONLY or view.on_publisher else "[STOPPED]  Service Not Activated"
        for name in _NAMED
    }
    for name in FEATURES:
        if not activated(view, name):
            rows[name] = "[STOPPED]  Service Not Activated"
        else:
            rows[name] = "[STARTED]" if view.services.running(name) else "[STOPPED]"
    yield table(f"{name}{rows[name]}" for name in sorted(rows))
    yield f"Primary Node ={str(view.on_publisher).lower()}\n"


async def service_restart(view: NodeView, rest: str) -> Command:
    """`utils service restart NAME`: one of the services that the lab really runs."""
    known = {name.lower(): name for name in FEATURES}
    name = known.get(" ".join(rest.lower().split()))
    if name is None:
        raise Refused(f"{rest} is not a service that can be restarted here", f"It can be {', '.join(FEATURES)}.")
    if not activated(view, name):
        raise Refused(f"Service {name} is not activated on this node.")
    yield (
        "Don't press Ctrl-c while the service is getting RESTARTED.If Service has not Restarted Properly, "
        "execute the same Command Again\n"
    )
    yield f"Service Manager is running\n{name}[STOPPING]\n"
    await view.services.restart(name)
    yield f"{name}[STARTING]\n{name}[STARTED]\n"


async def fips_status(view: NodeView, rest: str) -> Command:
    """`utils fips status`. Its words are UNVERIFIED."""
    if not view.cluster.definition.fips:
        yield "The system is operating in NON-FIPS mode\n"
        return
    yield "The system is operating in FIPS mode. Self test status:\n- S T A R T ---------------------\n"
    yield f"Executing FIPS selftests\nStart time: {date_with_zone(view.started)}\n"
    yield table(f"{part} self tests passed." for part in ("NSS", "Operating System OpenSSL", "OpenSSL", "CryptoJ"))


COMMANDS = (
    command("show version", show_version, "{active|inactive}", fewest=1),
    command("show network cluster", show_network_cluster),
    command("utils fips status", fips_status),
    command("utils service list", service_list),
    command("utils service restart", service_restart, "service-name", fewest=1),
)
