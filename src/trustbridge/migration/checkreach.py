"""Which phones a finding of the proof leaves behind: whose TVS they ask, and what it will tell them. Pure.

A phone asks the TVS of its Unified CM group in order, and goes on to the next where it can't speak to one; the first
that answers decides. A phone without any trust list asks nobody and takes the first that comes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from trustbridge.migration.checkseen import Observed, asks, these
from trustbridge.migration.findings import Finding, Severity
from trustbridge.migration.phonefacts import PhoneFacts
from trustbridge.migration.proofvalues import Proof
from trustbridge.trust.configuration import SECURITY_AUTHENTICATED

#: Findings about what a TVS says, and about phones that don't get to speak to it.
_ANSWERS: Final = ("TB101", "TB102", "TB103", "TB104", "TB105", "TB106", "TB107", "TB108", "TB109")
_CONNECTIONS: Final = ("TB110", "TB111", "TB112", "TB113")
#: Findings about the destination's files.
_FILES: Final = ("TB130", "TB131")
#: Findings about the authority behind phones' own certificates.
_LSC: Final = ("TB147", "TB152")


class Reach:
    """The source's phones, and whom they ask.

    Attributes:
        asking: phones that will ask a TVS; None where the phones could not be read.
    """

    def __init__(self, seen: Observed, proof: Proof) -> None:
        self._source, self._destination = seen.source, seen.destination
        self._mixed = seen.old.mixed
        self._unspoken: set[str] = set()
        for direction in proof.directions:
            if not direction.back and direction.asking == seen.source:
                for cell in direction.cells:
                    if any(kind in _CONNECTIONS for kind in cell.findings):
                        self._unspoken.add(cell.node)
        self._nodes = frozenset(seen.old.asked)
        self._phones = seen.phones
        self.asking = None if seen.phones is None else tuple(phone for phone in seen.phones if asks(phone))

    def deciding(self, phone: PhoneFacts) -> str | None:
        """The node whose TVS decides about a phone; None where it can speak to none of its group.

        Raises:
            ValueError: the phone's group is not known.
        """
        if phone.group is None:
            raise ValueError(f"the group of {phone.name} is not known")
        return next((node for node in phone.group if node in self._nodes and node not in self._unspoken), None)

    def counted(self, findings: Iterable[Finding]) -> list[Finding]:
        """The findings, with the phones that each strands in its consequence, as far as that is known."""
        return [self._counted(one) for one in findings]

    def _counted(self, found: Finding) -> Finding:
        if self.asking is None:
            return found
        cluster, _, node = found.subject.partition("/")
        phones: tuple[PhoneFacts, ...] | None = None
        unknown = 0
        if cluster == self._source and found.id in (*_ANSWERS, *_CONNECTIONS):
            if found.severity is Severity.STOP or found.id in _CONNECTIONS:
                phones, unknown = self._of_node(node, found.id) if node else (self.asking, 0)
        elif cluster == self._source and found.id == "TB120" and self._mixed:
            phones = tuple(phone for phone in self.asking if phone.ctl != "")
        elif cluster == self._destination and found.id in _LSC:
            return self._of_secure(found)
        elif cluster == self._destination and found.id in _FILES and found.severity is Severity.STOP:
            phones = self.asking
        if phones is None:
            return found
        said = these(phones, "will strand") if phones else "No phone that was seen strands by it now."
        if unknown:
            said += f" Of {unknown} more the Unified CM group is not known."
        return replace(found, consequence=f"{found.consequence} {said}")

    def _of_secure(self, found: Finding) -> Finding:
        """Findings about the CAPF that issued the phones' certificates: only who registers securely needs one."""
        assert self._phones is not None
        secure = [phone for phone in self._phones if (phone.security_mode or 0) >= SECURITY_AUTHENTICATED]
        unknown = sum(phone.security_mode is None for phone in self._phones)
        said = these(secure, "will not register securely") if secure else "No phone that was seen registers securely."
        more = f" Of {unknown} more the security mode is not known." if unknown else ""
        return replace(found, consequence=f"{found.consequence} {said}{more}")

    def _of_node(self, node: str, kind: str) -> tuple[tuple[PhoneFacts, ...], int]:
        """Phones that strand by what a node's TVS says, or by not speaking to it; and how many may."""
        assert self.asking is not None
        known = [phone for phone in self.asking if phone.group is not None]
        if kind in _CONNECTIONS:
            found = [phone for phone in known if node in (phone.group or ()) and self.deciding(phone) is None]
        else:
            found = [phone for phone in known if self.deciding(phone) == node]
        return tuple(found), len(self.asking) - len(known)
