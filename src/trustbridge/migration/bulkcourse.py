"""The clusters' own bulk commands, each with what came of it: a line a node and store, seen and not just answered.

A publisher answers a line a type. What was written is looked up in the directory; what arrived, in the trust stores of
every node.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from trustbridge.cucm.clusterreads import ClusterReads
from trustbridge.cucm.clusterwrites import ClusterWrites
from trustbridge.cucm.model import BulkLine, TrustedCertificate
from trustbridge.errors import Refused
from trustbridge.eventloop import together
from trustbridge.migration.bulklook import LEFT_OUT, Look
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.units import IMPORT_STORES, BulkType, Store

#: Told what is being done, how much is done, of how much; of how much 0: nobody knows.
Told = Callable[[str, int, int], None]
#: Looks at the directory; None where it can't be looked at from here.
Looker = Callable[[], Awaitable[Look | None]]


@dataclass(frozen=True, slots=True)
class ResultLine:
    """What came of it in one place.

    Attributes:
        node: whose; "" for the directory.
        place: a trust store, or a file.
        came, held, missing: certificates that came, that were there before, and that are not there and should be.
        text: what else there is to say.
        good: whether it is as it should be; None where nobody can tell.
    """

    node: str
    place: str
    came: int = 0
    held: int = 0
    missing: int = 0
    text: str = ""
    good: bool | None = True


@dataclass(frozen=True, slots=True)
class Course:
    """What a publisher answered, and what was seen afterwards."""

    cluster: str
    said: tuple[BulkLine, ...]
    lines: tuple[ResultLine, ...]

    @property
    def failed(self) -> Refused | None:
        """What did not succeed, as an error; None where everything did."""
        failed = [line.text for line in self.said if not line.succeeded]
        if failed:
            return Refused(
                f"{self.cluster} (command line): {len(failed)} of {len(self.said)} answers: {'; '.join(failed)[:600]}",
                "The lines say what is in place all the same. It may be run again.",
            )
        missing = sum(line.missing for line in self.lines)
        if missing:
            return Refused(
                f"{self.cluster}: {missing} certificates are not where they belong, though the publisher says "
                "that all were imported",
                "The publisher's stores replicate to the other nodes within minutes: look again (verify); if they stay "
                "away, see TB102. What kept its place under the same name: TB140.",
            )
        return None

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "cluster": self.cluster,
            "said": [asdict(line) for line in self.said],
            "lines": [asdict(line) for line in self.lines],
        }


async def export(cluster: ClusterWrites, types: Sequence[BulkType] | None, look: Looker, told: Told) -> Course:
    """Have the publisher export; lines are the files of its nodes.

    Args:
        types: None for all that the release knows.

    Raises:
        TrustbridgeError: the publisher does not answer, or does not know one of the types.
    """
    told("looking at the server", 0, 3)
    before = await look()
    nodes = [one.name for one in await cluster.nodes()]
    told("the publisher exports", 1, 3)
    said = await cluster.bulk_export(types)
    told("looking at the server", 2, 3)
    after = await look()
    if after is None:
        return Course(cluster.name, said, ())
    known = types or tuple(BulkType)
    was = {one.file for one in before.files} if before is not None else set()
    lines = tuple(
        ResultLine(
            one.node,
            one.file.name,
            came=len(one.certificates or ()) if one.file not in was else 0,
            held=len(one.certificates or ()) if one.file in was else 0,
            text=one.problem or one.why,
            good=not one.problem and not one.why,
        )
        for one in after.export_of(nodes, known)
    )
    return Course(cluster.name, said, lines)


async def consolidate(cluster: ClusterWrites, types: Sequence[BulkType] | None, look: Looker, told: Told) -> Course:
    """Have one publisher consolidate; lines are the consolidated files. As `export`."""
    told("the publisher consolidates", 0, 2)
    said = await cluster.bulk_consolidate(types)
    told("looking at the server", 1, 2)
    after = await look()
    lines: tuple[ResultLine, ...] = ()
    if after is not None:
        lines = tuple(
            ResultLine(
                "",
                one.file.name,
                came=len(one.certificates or ()),
                text=one.problem or one.why,
                good=not one.problem and not one.why,
            )
            for one in after.consolidated(types or tuple(BulkType))
        )
    return Course(cluster.name, said, lines)


async def import_(cluster: ClusterWrites, types: Sequence[BulkType] | None, look: Looker, told: Told) -> Course:
    """Have the publisher import; lines are the stores of every node, before and after. As `export`."""
    nodes = [one.name for one in await cluster.nodes()]
    total = 2 * len(nodes) + 1
    done = 0

    def step(what: str) -> None:
        nonlocal done
        told(what, done, total)
        done += 1

    known = (await cluster.abilities()).bulk_types
    seen = await look()
    left_out = () if types is not None or seen is None else tuple(_left_out(seen, known))
    if left_out:
        types = tuple(kind for kind in known if kind not in {kind for kind, _ in left_out})
    chosen = known if types is None else types
    stores = tuple(dict.fromkeys(store for kind in chosen for store in IMPORT_STORES[kind]))
    own = {one.certificate for one in await cluster.identities()}
    before = await _held(cluster, nodes, stores, lambda node: step(f"reading the trust stores of {node}"))
    step("the publisher imports")
    said = await cluster.bulk_import(types)
    after = await _held(cluster, nodes, stores, lambda node: step(f"reading the trust stores of {node}"))
    meant = _meant(seen, chosen, own)
    lines = [
        _line(node, store, before[node], after[node], None if meant is None else meant.get(store, set()))
        for node in nodes
        for store in stores
    ]
    lines += [ResultLine("", kind, text=f"{why} {LEFT_OUT}", good=None) for kind, why in left_out]
    return Course(cluster.name, said, tuple(lines))


def _left_out(seen: Look, known: Sequence[BulkType]) -> Iterator[tuple[BulkType, str]]:
    """Types that importing all can't have, and why: a publisher would stop at them, or pass them over in silence."""
    there = seen.contents
    for kind in BulkType:
        if kind in known and there.of_type(kind) and kind not in there.consolidations:
            yield kind, "left out: exported and not consolidated."
        elif kind not in known and (kind in there.consolidations or there.of_type(kind)):
            yield kind, "left out: this release does not import it in bulk."


def _meant(seen: Look | None, types: Sequence[BulkType], own: set[Certificate]) -> dict[Store, set[Certificate]] | None:
    """What an import should bring to each store; None where the consolidated bundles could not be opened."""
    if seen is None:
        return None
    found: dict[Store, set[Certificate]] = {}
    bundles = seen.consolidated(types)
    if not bundles or any(one.certificates is None for one in bundles):
        return None
    for bundle in bundles:
        assert bundle.type is not None
        for store in IMPORT_STORES[bundle.type]:
            found.setdefault(store, set()).update(
                one.certificate for one in bundle.certificates or () if one.certificate not in own
            )
    return found


def _line(
    node: str,
    store: Store,
    before: set[tuple[Store, Certificate]],
    after: set[tuple[Store, Certificate]],
    meant: set[Certificate] | None,
) -> ResultLine:
    was, now = ({one for place, one in held if place is store} for held in (before, after))
    if meant is None:
        return ResultLine(node, store, came=len(now - was), good=None, text="what was to come could not be read")
    missing = meant - now
    gone = was - now
    text = "; ".join(
        [f"not there: {one.subject}" for one in sorted(missing, key=lambda one: one.subject)[:5]]
        + [f"made way: {one.subject}" for one in sorted(gone, key=lambda one: one.subject)[:5]]
    )
    return ResultLine(node, store, len((now - was) & meant), len(was & meant), len(missing), text, not missing)


async def _held(
    cluster: ClusterReads, nodes: Sequence[str], stores: Sequence[Store], told: Callable[[str], None]
) -> dict[str, set[tuple[Store, Certificate]]]:
    """What each node's copies of these stores hold."""

    async def of(node: str) -> tuple[str, set[tuple[Store, Certificate]]]:
        held: list[TrustedCertificate] = []
        for store in stores:
            held += await cluster.trusted(node, store)
        told(node)
        return node, {(one.store, one.certificate) for one in held}

    return dict(await together(*(of(node) for node in nodes)))
