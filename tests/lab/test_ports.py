"""The real ports where they can be had, all of them shifted where one can not; and why, in words."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

import pytest
from tests.lab.prepared import RUN

from trustbridge.lab.ports import SHIFT, Ports, choose

NODE, DHCP, PHONE = f"127.65.{RUN}.1", f"127.65.{RUN}.2", f"127.65.{RUN}.3"
WELL_KNOWN = {
    "ssh": 22,
    "dhcp": 67,
    "tftp": 69,
    "web": 80,
    "tvs": 2445,
    "capf": 3804,
    "sip": 5060,
    "sips": 5061,
    "provisioning": 6970,
    "https": 8443,
}


@pytest.mark.parametrize("shift", [0, 9000, SHIFT])
def test_every_port_is_shifted_by_the_same(shift: int) -> None:
    assert {name: getattr(Ports(shift), name) - shift for name in WELL_KNOWN} == WELL_KNOWN


def test_shifted_ports_need_no_rights_and_meet_no_outgoing_connection() -> None:
    shifted = [getattr(Ports(SHIFT), name) for name in WELL_KNOWN]
    assert min(shifted) >= 1024
    assert max(shifted) < 32768  # where Linux begins to number outgoing connections


class Sockets:
    """Sockets of which some can't be bound."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, refused: dict[tuple[str, int], int]) -> None:
        self.tried: list[tuple[str, int]] = []
        self.open = 0
        outer = self

        class Fake:
            def __init__(self, *_: Any) -> None:
                outer.open += 1

            def setsockopt(self, *_: Any) -> None: ...

            def listen(self, *_: Any) -> None: ...

            def bind(self, address: tuple[str, int]) -> None:
                outer.tried.append(address)
                if address in refused:
                    raise OSError(refused[address], os.strerror(refused[address]))

            def __enter__(self) -> Fake:
                return self

            def __exit__(self, *_: Any) -> None:
                outer.open -= 1

        monkeypatch.setattr(socket, "socket", Fake)


def test_the_real_ports_are_taken_when_all_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    sockets = Sockets(monkeypatch, {})
    assert choose([NODE], DHCP, PHONE) == (Ports(0), "")
    ports = (22, 69, 2445, 5060, 5061, 6970, 8443)
    assert set(sockets.tried) == {(DHCP, 67), (PHONE, 67)} | {(NODE, port) for port in ports}
    assert sockets.open == 0


@pytest.mark.parametrize(
    ("address", "number", "words"),
    [
        ((DHCP, 67), errno.EACCES, "port 67 may not be bound by this user"),
        ((PHONE, 67), errno.EADDRINUSE, "port 67 is taken"),
        ((NODE, 69), errno.EADDRINUSE, "port 69 is taken"),
        ((NODE, 2445), errno.EADDRINUSE, "port 2445 is taken"),
        ((NODE, 5060), errno.EADDRINUSE, "port 5060 is taken"),
        ((NODE, 5061), errno.EADDRINUSE, "port 5061 is taken"),
        ((NODE, 6970), errno.EADDRNOTAVAIL, "port 6970 can't be bound (Cannot assign requested address)"),
    ],
)
def test_one_port_that_can_not_be_had_shifts_all_and_says_why(
    monkeypatch: pytest.MonkeyPatch, address: tuple[str, int], number: int, words: str
) -> None:
    Sockets(monkeypatch, {address: number})
    assert choose([NODE], DHCP, PHONE) == (Ports(SHIFT), f"{words}, so every port is shifted by {SHIFT}")


def test_a_machine_with_an_ssh_server_of_its_own_moves_the_command_lines_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Sockets(monkeypatch, {(NODE, 22): errno.EADDRINUSE})
    ports, why = choose(iter([NODE]), DHCP, PHONE)
    assert why == "port 22 is taken, so the nodes' command lines are on port 20022"
    assert (ports.ssh, ports.tftp, ports.tvs, ports.sip) == (20022, 69, 2445, 5060)


def test_what_shifts_all_counts_more_than_port_22(monkeypatch: pytest.MonkeyPatch) -> None:
    Sockets(monkeypatch, {(NODE, 22): errno.EADDRINUSE, (NODE, 6970): errno.EADDRINUSE})
    ports, why = choose([NODE], DHCP, PHONE)
    assert ports == Ports(SHIFT)
    assert why == f"port 6970 is taken, so every port is shifted by {SHIFT}"


def test_a_port_that_is_taken_in_earnest_shifts_all() -> None:
    with socket.create_server((NODE, 2445)):
        ports, why = choose([NODE], DHCP, PHONE)
    assert ports == Ports(SHIFT)
    assert "port 2445 is taken" in why or "may not be bound" in why  # an ordinary user already fails at 67
