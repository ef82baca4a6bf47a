"""An exchange taken back: exactly what it added is removed, and what it pushed out comes back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from trustbridge.cucm.cluster import Cluster
from trustbridge.cucm.model import TrustedCertificate
from trustbridge.errors import SettingsError
from trustbridge.migration.exchangerecord import Addition, Clock, ExchangeRecord
from trustbridge.migration.exchangerun import Exchange, Watcher, stores_of, to_their_end
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.units import Store


async def undo(
    record: ExchangeRecord, clusters: dict[str, Cluster], *, clock: Clock, watcher: Watcher | None = None
) -> None:
    """Take an exchange back, or go on taking it back.

    What a step that was cut off has brought about is found first. A certificate that is not there any more is passed
    over; one that this exchange did not add is never touched.

    Raises:
        SettingsError: a cluster is missing.
        TrustbridgeError: something can't be removed; the rest is, and running it again goes on.
    """
    missing = [name for name in record.plan.clusters if name not in clusters]
    if missing:
        raise SettingsError(f"undoing {record.name} needs {', '.join(missing)}, too")
    if record.undone:
        return
    await Exchange(record, clusters, clock=clock, watcher=watcher).settle()
    if not record.undoing:
        record.append("undo began", clock())
    by_cluster: dict[str, list[Addition]] = defaultdict(list)
    for addition in record.additions():
        by_cluster[addition.cluster].append(addition)
    await to_their_end(_on(record, clusters[name], additions, clock) for name, additions in by_cluster.items())
    record.append("undone", clock())


async def _on(record: ExchangeRecord, cluster: Cluster, additions: Sequence[Addition], clock: Clock) -> None:
    places = dict.fromkeys((one.node, one.store) for one in reversed(additions))
    for node, store in places:
        here = [one for one in additions if (one.node, one.store) == (node, store)]
        await _remove(record, cluster, [one for one in here if not one.gone], node, store, clock)
        await _restore(record, cluster, [one for one in here if one.gone], node, store, clock)


async def _remove(
    record: ExchangeRecord, cluster: Cluster, added: Sequence[Addition], node: str, store: Store, clock: Clock
) -> None:
    name = node or (await cluster.publisher()).name
    by_certificate: dict[Certificate, Addition] = {one.certificate: one for one in reversed(added)}

    def removed(certificate: Certificate) -> None:
        record.taken_back([by_certificate[certificate]], clock())

    await cluster.delete_trusts(
        name, [TrustedCertificate(name, store, certificate) for certificate in by_certificate], on_gone=removed
    )


async def _restore(
    record: ExchangeRecord, cluster: Cluster, gone: Sequence[Addition], node: str, store: Store, clock: Clock
) -> None:
    """Bring back what made way, unless something has been put there under its name since."""
    if not gone:
        return
    name = node or (await cluster.publisher()).name
    held = {one.certificate for one in await stores_of(cluster, node, (store,))}
    for addition in gone:
        if addition.certificate not in held:
            await cluster.upload_trust(name, store, [addition.certificate])
        record.taken_back([addition], clock())
