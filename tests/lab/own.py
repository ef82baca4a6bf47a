"""What of the loopback network belongs to this process alone, so that test runs on one machine, and the workers of one
run, do not meet. Benchmarks use it too: there is no pytest here.

Labs take `127.x.RUN.y` and ports shifted by SHIFT. Processes that run at the same time seldom have the same of either.
Phones' status pages listen at every address, on port 80 + SHIFT: that must be no port of another's lab. So shifts are
multiples of seven, and none of the ports a lab listens on (0 for SFTP, 22, 67, 69, 2445, 5060, 5061, 6970, 8443)
differs from 80 by such a one.
"""

from __future__ import annotations

import os


def shift_of(process: int) -> int:
    """At most 22,987: with 8443 on top it stays below 32768, where Linux begins to number outgoing connections."""
    return 8000 + process % 2142 * 7


RUN = os.getpid() % 250
SHIFT = shift_of(os.getpid())
