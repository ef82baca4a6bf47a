"""Each interface of a cluster's publisher, tried in turn: what `trustbridge cluster test` and the console tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from trustbridge.cucm.clustertrials import ClusterTrials
from trustbridge.cucm.credentials import REALM_OF, Realm
from trustbridge.cucm.model import Interface
from trustbridge.errors import AuthenticationRefused, NotSupported, TrustbridgeError

#: In this order.
TRIALS: Final[Sequence[Interface]] = (*REALM_OF, Interface.HTTP_FILES, Interface.TFTP)
#: REST came with 14; a publisher may leave files to other nodes.
_MAY_LACK: Final = (Interface.REST, Interface.HTTP_FILES, Interface.TFTP)


async def try_interfaces(
    cluster: ClusterTrials, told: Callable[[dict[str, Any]], None] = lambda row: None
) -> tuple[list[dict[str, Any]], int]:
    """Try each interface, and go on after one that fails.

    A password that was refused is not tried again by another interface: too many wrong ones lock an account.

    Args:
        told: given each row as soon as it is known: some interfaces take their time to fail.

    Returns:
        A row an interface, as JSON has it: `works` is None for what need not be there, or was not tried. And the exit
        code of the first that fails; 0 for none.
    """
    refused: set[Realm | None] = set()
    rows: list[dict[str, Any]] = []
    code = 0
    for interface in TRIALS:
        row: dict[str, Any] = {"interface": str(interface), "works": False, "words": "", "hint": ""}
        realm = REALM_OF.get(interface)
        if realm is not None and realm in refused:
            row |= {"works": None, "words": f"not tried: the password of the {realm.words} was refused"}
        else:
            try:
                row |= {"works": True, "words": await cluster.try_interface(interface)}
            except TrustbridgeError as error:
                row |= {"words": error.message, "hint": error.hint}
                if isinstance(error, AuthenticationRefused):
                    refused.add(realm)
                if interface in _MAY_LACK and isinstance(error, NotSupported):
                    row["works"] = None
                else:
                    code = code or error.exit_code
        rows.append(row)
        told(row)
    return rows, code
