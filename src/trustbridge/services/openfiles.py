"""As many open files as the process may have: each client is one, and each node of a lab some eight."""

from __future__ import annotations

import contextlib
import resource
from typing import Final

#: More is of no use to anybody here, and a limit without end makes some programs slow.
_ENOUGH: Final = 65536


def raise_limit() -> None:
    """Raise the soft limit of this process, up to its hard one; where that can't be, it stays."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
