"""What differs between releases of Unified CM, as far as a lab node shows it: data.

Source: `cucm-interfaces` and `domain`; what no public material confirms is marked UNVERIFIED.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class ReleaseProfile:
    """How nodes of a release behave.

    Attributes:
        release: as a node writes it, such as `12.5.1.11900-146`.
        rest: whether there is a certificate REST interface.
        itl_recovery_bulk: whether bulk exchange knows the type `itlrecovery`. UNVERIFIED.
        certificate_listing: what `show cert list` writes: a block of lines a certificate, or one line. That it changed
            with this very release is UNVERIFIED.
        restarts_phones_on_import: whether importing CallManager or CAPF certificates restarts phones (TB145).
        one_itl_recovery: one ITLRecovery certificate a cluster; before, each node has one.
        lists_signed_by_itl_recovery: ITLRecovery signs ITL and CTL; before, CallManager does (TB124).
        deletes_on_all_nodes: a trust certificate deleted on one node goes from all (TB148).
        axl_schema: release of the AXL schema a node speaks, one of those in the package `ciscoaxl`.
    """

    release: str
    rest: bool
    itl_recovery_bulk: bool
    certificate_listing: Literal["blocks", "lines"]
    restarts_phones_on_import: bool
    one_itl_recovery: bool
    lists_signed_by_itl_recovery: bool
    deletes_on_all_nodes: bool
    axl_schema: str


_OLDEST: Final = ReleaseProfile(
    release="",
    rest=False,
    itl_recovery_bulk=False,
    certificate_listing="blocks",
    restarts_phones_on_import=False,
    one_itl_recovery=False,
    lists_signed_by_itl_recovery=False,
    deletes_on_all_nodes=False,
    axl_schema="8.5",
)
#: What each release changed, oldest first.
_CHANGES: Final[tuple[tuple[tuple[int, ...], Callable[[ReleaseProfile], ReleaseProfile]], ...]] = (
    ((9, 1), lambda older: replace(older, axl_schema="9.1")),
    ((10, 0), lambda older: replace(older, axl_schema="10.0")),
    ((10, 5), lambda older: replace(older, axl_schema="10.5")),
    ((11, 0), lambda older: replace(older, axl_schema="11.0", deletes_on_all_nodes=True)),
    ((11, 5), lambda older: replace(older, axl_schema="11.5")),
    (
        (12, 0),
        lambda older: replace(older, axl_schema="12.0", itl_recovery_bulk=True, lists_signed_by_itl_recovery=True),
    ),
    (
        (12, 5),
        lambda older: replace(older, axl_schema="12.5", restarts_phones_on_import=True, one_itl_recovery=True),
    ),
    ((14,), lambda older: replace(older, rest=True, certificate_listing="lines")),
)
#: Builds of releases, for definitions that name only the release; made up where none is known.
_BUILDS: Final = {
    "8.6": "8.6.2.20000-2",
    "9.1": "9.1.2.10000-28",
    "10.5": "10.5.2.10000-5",
    "11.0": "11.0.1.20000-2",
    "11.5": "11.5.1.10000-6",
    "12.0": "12.0.1.10000-10",
    "12.5": "12.5.1.10000-22",
    "14": "14.0.1.10000-20",
    "15": "15.0.1.10000-32",
}


def profile(release: str) -> ReleaseProfile:
    """The profile of a release: `12.5`, `14`, or a whole build."""
    numbers = tuple(int(part) for part in release.replace("-", ".").split(".") if part.isdigit())
    found = replace(_OLDEST, release=_BUILDS.get(release, release))
    for start, change in _CHANGES:
        if start <= numbers:
            found = change(found)
    return found
