"""Several clusters exchange, driven from outside: the benchmark, small, so that it stays true."""

from __future__ import annotations

import pytest
from bench import exchange


def test_clusters_are_driven_to_hold_what_all_the_others_exported(capsys: pytest.CaptureFixture[str]) -> None:
    assert exchange.main(["--clusters", "3", "--nodes", "2"]) == 0
    said = capsys.readouterr().out
    assert "every publisher holds what it should" in said
    assert "altogether; limit 60 s" in said
