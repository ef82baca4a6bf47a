"""Trust stores as values: which certificates a node trusts for what, and where each came from. No files here.

Rules of an addition (the vendor's, as far as its pages tell): a store holds a certificate once; of two certificates
with the same common name, the one whose validity starts later stays (the one already there when both start at once, so
that a second import changes nothing); a cluster's own certificate is never pushed out by one from elsewhere, and always
takes its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from trustbridge.pki.certificate import Certificate
from trustbridge.pki.units import Store


class Added(StrEnum):
    """What came of adding a certificate to a store."""

    ADDED = "added"
    PRESENT = "already present"
    REPLACED = "replaced an older one"
    OLDER_KEPT = "not added: one as new is present"
    OWN_KEPT = "not added: the cluster's own one is present"

    @property
    def changed(self) -> bool:
        """Whether the store is another one now."""
        return self in (Added.ADDED, Added.REPLACED)


@dataclass(frozen=True, slots=True)
class Entry:
    """A certificate in a store.

    Attributes:
        certificate: the certificate.
        origin: where it came from, in words: "own", "import from dst/dst-sub1 (tftp)", "uploaded".
        own: whether it is the cluster's own, which nothing from elsewhere replaces.
    """

    certificate: Certificate
    origin: str
    own: bool = False


class TrustStores:
    """The trust stores of one node, or the publisher's that every node copies; mutable, in order of addition."""

    __slots__ = ("_entries", "_indexes")

    def __init__(self, entries: Iterable[tuple[Store, Entry]] = ()) -> None:
        """Stores with these entries, taken as they are: the rules of `add` do not apply."""
        held: dict[Store, list[Entry]] = {store: [] for store in Store}
        for store, entry in entries:
            held[store].append(entry)
        self._entries = {store: tuple(found) for store, found in held.items()}
        self._indexes: dict[Store, _Index] = {}

    def add(self, store: Store, certificate: Certificate, origin: str, *, own: bool = False) -> Added:
        """Add a certificate to one store, by the rules above.

        Args:
            origin: where it comes from, in words a person reads later.
            own: the certificate is the cluster's own, in use now: any other of its common name makes way.

        Returns:
            What happened. PRESENT also when the entry became own by this.
        """
        entries = self._entries[store]
        index = self._index(store)
        new = Entry(certificate, origin, own)
        there = index.certificates.get(certificate)
        if there is not None:
            if own and not there.own:
                self._entries[store] = tuple(new if entry is there else entry for entry in entries)
            return Added.PRESENT
        rivals = index.names.get(_name(certificate), [])
        if not own:
            if any(entry.own for entry in rivals):
                return Added.OWN_KEPT
            if any(entry.certificate.not_before >= certificate.not_before for entry in rivals):
                return Added.OLDER_KEPT
        if rivals:
            self._entries[store] = (*(entry for entry in entries if entry not in rivals), new)
            return Added.REPLACED
        self._entries[store] = (*entries, new)
        index.grow(new, self._entries[store])
        return Added.ADDED

    def _index(self, store: Store) -> _Index:
        """A store's entries by certificate and by name; made anew after any change but an addition."""
        index = self._indexes.get(store)
        if index is None or index.entries is not self._entries[store]:
            index = self._indexes[store] = _Index(self._entries[store])
        return index

    def remove(self, store: Store, certificate: Certificate) -> bool:
        """Take a certificate out of one store; False when it was not there."""
        entries = self._entries[store]
        kept = tuple(entry for entry in entries if entry.certificate != certificate)
        self._entries[store] = kept
        return len(kept) < len(entries)

    def entries(self, store: Store) -> tuple[Entry, ...]:
        """What a store holds, oldest addition first."""
        return self._entries[store]

    def holding(self, certificate: Certificate) -> tuple[Store, ...]:
        """The stores that hold exactly this certificate."""
        return tuple(
            store
            for store, entries in self._entries.items()
            if any(entry.certificate == certificate for entry in entries)
        )

    def copy(self) -> TrustStores:
        """Stores of their own with the same entries; costs the same however many there are."""
        copied = TrustStores()
        copied._entries = self._entries.copy()
        return copied

    def with_entries(self, store: Store, entries: tuple[Entry, ...]) -> TrustStores:
        """A copy in which one store holds these entries, taken as they are."""
        copied = self.copy()
        copied._entries[store] = entries
        return copied

    def summary(self) -> str:
        """One line: how many certificates each store holds, empty ones left out."""
        counts = [f"{store} {len(entries)}" for store, entries in self._entries.items() if entries]
        return ", ".join(counts) or "empty"

    def __iter__(self) -> Iterator[tuple[Store, Entry]]:
        """Every entry with its store, store by store."""
        for store, entries in self._entries.items():
            for entry in entries:
                yield store, entry

    def __len__(self) -> int:
        """Entries in all stores; a certificate in two of them counts twice."""
        return sum(map(len, self._entries.values()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TrustStores) and self._entries == other._entries

    def __repr__(self) -> str:
        return f"<TrustStores {self.summary()}>"


class _Index:
    """Finds entries of one store: ten clusters bring a thousand certificates, each compared with all there are."""

    def __init__(self, entries: tuple[Entry, ...]) -> None:
        self.certificates: dict[Certificate, Entry] = {}
        self.names: dict[str, list[Entry]] = {}
        for entry in entries:
            self.grow(entry, entries)

    def grow(self, entry: Entry, entries: tuple[Entry, ...]) -> None:
        """Know one more entry; `entries` are what the store holds with it."""
        self.entries = entries
        self.certificates.setdefault(entry.certificate, entry)
        name = _name(entry.certificate)
        if name:  # without a common name there is nothing to clash with
            self.names.setdefault(name, []).append(entry)


def _name(certificate: Certificate) -> str:
    return certificate.common_name.casefold()
