"""A cluster whose refused password ends nothing: what it keeps from being read is one more thing that is not seen.

Commands that read whole estates end at a refused password, so that nobody takes half for all. A diagnosis is the other
way round: whatever is left is told. The account is safe: after the first refusal the driver uses that password no more.
"""

from __future__ import annotations

import inspect
from typing import Any, cast

from trustbridge.cucm.cluster import Cluster
from trustbridge.cucm.model import Interface
from trustbridge.errors import AuthenticationRefused, IdentityChanged, Refused, TrustbridgeError


class _Tolerant:
    """Everything of a cluster; refused passwords and changed identities come as plain refusals."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._cluster, name)
        if not inspect.iscoroutinefunction(found):
            return found

        async def asked(*arguments: Any, **named: Any) -> Any:
            try:
                return await found(*arguments, **named)
            except (AuthenticationRefused, IdentityChanged) as error:
                raise Refused(error.message, error.hint) from error

        return asked


def tolerant(cluster: Cluster) -> Cluster:
    """The cluster, for collectors that pass over what is refused."""
    return cast(Cluster, _Tolerant(cluster))


async def know_release(cluster: Cluster) -> None:
    """See that a cluster's release is known, which all else needs: by the other account where one is refused.

    Raises:
        TrustbridgeError: neither tells it.
    """
    try:
        await cluster.release()
    except (AuthenticationRefused, IdentityChanged) as refused:
        try:
            await cluster.try_interface(Interface.CLI)
        except TrustbridgeError:
            raise refused from None
