"""Commands to paste where no API is used: Windows, Cisco IOS, Infoblox; for each the change and the way back.

Values go into them quoted, or are refused: what is pasted runs with an administrator's rights.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from trustbridge.dhcp.scope import OPTION_150, check_servers
from trustbridge.errors import SettingsError


class System(StrEnum):
    """What the DHCP server is."""

    WINDOWS = "windows"
    IOS = "ios"
    INFOBLOX = "infoblox"


@dataclass(frozen=True, slots=True)
class Manual:
    """What a person pastes.

    Attributes:
        where: into what.
        look: shows what there is; read it before, and keep it.
        change: sets option 150.
        back: takes that back.
        verify: shows what there is afterwards.
    """

    where: str
    look: tuple[str, ...]
    change: tuple[str, ...]
    back: tuple[str, ...]
    verify: tuple[str, ...]

    @property
    def text(self) -> str:
        """All of it, for people."""
        parts = (
            (f"# Paste into {self.where}. What there is now; keep it:", self.look),
            ("# The change:", self.change),
            ("# See that it is there:", self.verify),
            ("# The way back:", self.back),
        )
        return "\n\n".join("\n".join((title, *commands)) for title, commands in parts) + "\n"


def commands(system: System, scope: str, servers: Sequence[str], before: Sequence[str] = ()) -> Manual:
    """What to paste.

    Args:
        scope: the subnet's address on Windows (or `server` for the whole server), the pool's name on IOS, the
            network with its length on Infoblox.
        servers: option 150 as it is to be.
        before: as it is now, where that is known; empty where the scope has none, and then the way back removes it.

    Raises:
        SettingsError: the scope or a server can't be such a one.
    """
    wanted = check_servers(servers)
    former = check_servers(before) if before else ()
    return _BY_SYSTEM[system](scope, wanted, former)


def _windows(scope: str, servers: Sequence[str], before: Sequence[str]) -> Manual:
    if scope == "server":
        at = ""
    else:
        at = f" -ScopeId {_address(scope, 'a scope of Windows is the address of its subnet, such as 10.1.0.0')}"

    def option(verb: str, rest: str = "") -> str:
        return f"{verb}-DhcpServerv4OptionValue{at} -OptionId {OPTION_150}{rest}"

    def value(these: Sequence[str]) -> str:
        return " -Value " + ",".join(f"'{one}'" for one in these)

    define = (
        f"if (-not (Get-DhcpServerv4OptionDefinition -OptionId {OPTION_150} -ErrorAction SilentlyContinue)) "
        f"{{ Add-DhcpServerv4OptionDefinition -Name 'TFTP servers' -OptionId {OPTION_150} "
        "-Type IPv4Address -MultiValued }"
    )
    return Manual(
        where="PowerShell on the DHCP server, as an administrator (elsewhere add -ComputerName to each)",
        look=(option("Get", " -ErrorAction SilentlyContinue"),),
        change=(define, option("Set", value(servers))),
        back=(option("Set", value(before)) if before else option("Remove"),),
        verify=(option("Get"),),
    )


def _ios(scope: str, servers: Sequence[str], before: Sequence[str]) -> Manual:
    if not re.fullmatch(r"[!-~]{1,80}", scope) or scope[0] in "!?" or "?" in scope:
        raise SettingsError(
            f"{scope!r:.80} can't be a pool of IOS", "It is one word: show running-config | section dhcp"
        )
    # IOS takes eight addresses.
    if len(servers) > _IOS_MOST:
        raise SettingsError(f"option {OPTION_150} takes 1 to {_IOS_MOST} servers on IOS, not {len(servers)}")

    def said(line: str) -> tuple[str, ...]:
        return ("configure terminal", f"ip dhcp pool {scope}", f" {line}", "end", "write memory")

    look = (f"show running-config | section ip dhcp pool {re.escape(scope)}",)
    return Manual(
        where="the router's or switch's command line, in privileged mode",
        look=look,
        change=said(f"option {OPTION_150} ip {' '.join(servers)}"),
        back=said(f"option {OPTION_150} ip {' '.join(before)}" if before else f"no option {OPTION_150}"),
        verify=look,
    )


def _infoblox(scope: str, servers: Sequence[str], before: Sequence[str]) -> Manual:
    try:
        network = ipaddress.IPv4Network(scope)
    except ValueError:
        raise SettingsError(f"{scope!r:.80} is no network", "Infoblox has networks such as 10.1.0.0/16.") from None
    option = f'{{"num":{OPTION_150},"value":"{",".join(servers)}","vendor_class":"DHCP"}}'
    others = f"[.[0].options[] | select(.num != {OPTION_150})]"
    file = f"option150-{str(network).replace('/', '-')}.json"

    def put(what: str) -> str:
        return (
            f"jq '{what}' {file} | curl -sS -u \"$WAPI_USER\" -X PUT -H 'Content-Type: application/json' --data @- "
            f"\"$WAPI/$(jq -r '.[0]._ref' {file})\""
        )

    ask = f'curl -sS -u "$WAPI_USER" "$WAPI/network?network={network}&_return_fields=options,use_options"'
    restart = (
        "curl -sS -u \"$WAPI_USER\" -X POST -H 'Content-Type: application/json' "
        '--data \'{"restart_option":"RESTART_IF_NEEDED","service_option":"DHCP"}\' '
        '"$WAPI/$(curl -sS -u "$WAPI_USER" "$WAPI/grid" | jq -r \'.[0]._ref\')?_function=restartservices"'
    )
    # WAPI replaces the list of options as a whole: the others have to go along.
    known = f"jq -e 'any(.[0].options[]; .num == {OPTION_150} and .value == \"{','.join(before)}\")' {file}"
    return Manual(
        where=(
            "a shell with curl and jq, after WAPI=https://GRID-MASTER/wapi/v2.7 and WAPI_USER=NAME. The option has to "
            f"be known: Data Management > DHCP > Option Filters/Spaces: {OPTION_150}, array of ip-address"
        ),
        look=(f"{ask} > {file}", *((known,) if before else ())),
        change=(put(f"{{use_options: true, options: ({others} + [{option}])}}"), restart),
        back=(put(".[0] | {use_options, options}"), restart),
        verify=(f"{ask} | jq '.[0].options[] | select(.num == {OPTION_150})'",),
    )


def _address(text: str, hint: str) -> str:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise SettingsError(f"{text!r:.80} is no address", f"{hint[0].upper()}{hint[1:]}.") from None


_IOS_MOST: Final = 8
_BY_SYSTEM: Final = {System.WINDOWS: _windows, System.IOS: _ios, System.INFOBLOX: _infoblox}
