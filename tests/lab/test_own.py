"""Test runs on one machine do not meet."""

from __future__ import annotations

import os

import pytest
from tests.lab.own import shift_of

from trustbridge.lab.ports import Ports

#: Of TCP, where phones' status pages listen too; 0 is the SFTP server's.
LISTENED = {0} | {getattr(Ports(), name) for name in ("ssh", "tvs", "sip", "sips", "provisioning", "https")}


@pytest.mark.parametrize("first", [1, 2_000, pytest.param(os.getpid(), id="own")])
def test_the_status_pages_of_one_process_take_no_port_of_another(first: int) -> None:
    page = shift_of(first) + Ports().web
    for other in range(first + 1, first + 2_142):
        assert shift_of(other) != shift_of(first)
        assert page not in {shift_of(other) + port for port in LISTENED}
        assert shift_of(other) + max(LISTENED) < 32_768
