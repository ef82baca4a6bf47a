"""Run benchmarks: `python -m bench [NAME ...]`, all when none is named; `python -m bench.NAME --help` for options.

Peers are programs a user has (openssl, in.tftpd, dnsmasq) or a checkout whose path is given; one that is absent is
skipped with a word.
"""

from __future__ import annotations

import importlib
import sys

NAMES = ("trustlists", "tvs", "tftp", "configurations", "demo", "exchange", "predict", "campaign", "console")


def main(names: list[str]) -> int:
    """Run the named benchmarks one after the other; the sum of their exit codes tells whether all ran."""
    unknown = set(names) - set(NAMES)
    if unknown:
        print(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    failed = 0
    for name in names or NAMES:
        print(f"\n== {name}", flush=True)
        failed += importlib.import_module(f"bench.{name}").main([])
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
