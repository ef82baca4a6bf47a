"""The ports of a lab: the real ones, or all shifted by one constant where the process may not bind them."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from dataclasses import dataclass

#: What every well-known port is shifted by when one of them can't be bound. Below the ephemeral range.
SHIFT = 20_000


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports of a lab's services; `shift` 0 means the real ones. `ssh_shift` is that of SSH alone, where it differs."""

    shift: int = 0
    ssh_shift: int | None = None

    @property
    def ssh(self) -> int:
        """TCP 22, the command line."""
        return 22 + (self.shift if self.ssh_shift is None else self.ssh_shift)

    @property
    def dhcp(self) -> int:
        """UDP 67."""
        return 67 + self.shift

    @property
    def tftp(self) -> int:
        """UDP 69."""
        return 69 + self.shift

    @property
    def web(self) -> int:
        """TCP 80, the phones' status pages."""
        return 80 + self.shift

    @property
    def tvs(self) -> int:
        """TCP 2445."""
        return 2445 + self.shift

    @property
    def capf(self) -> int:
        """TCP 3804; named in configurations, not served."""
        return 3804 + self.shift

    @property
    def sip(self) -> int:
        """TCP 5060."""
        return 5060 + self.shift

    @property
    def sips(self) -> int:
        """TCP 5061, SIP over TLS."""
        return 5061 + self.shift

    @property
    def provisioning(self) -> int:
        """TCP 6970, files over HTTP."""
        return 6970 + self.shift

    @property
    def https(self) -> int:
        """TCP 8443, a node's interfaces over HTTPS."""
        return 8443 + self.shift


def choose(node_addresses: Iterable[str], dhcp_address: str, phone_address: str) -> tuple[Ports, str]:
    """The real ports if all can be bound, else shifted ones; with the reason in words, "" for the real ones.

    On most machines a server of their own listens on port 22 of every address. That moves the nodes' SSH alone: its
    clients can be told another port, phones and TFTP clients can't.
    """
    real = Ports()
    node_addresses = list(node_addresses)
    wanted = [(socket.SOCK_DGRAM, dhcp_address, real.dhcp), (socket.SOCK_DGRAM, phone_address, real.dhcp)]
    for address in node_addresses:
        wanted.append((socket.SOCK_DGRAM, address, real.tftp))
        ports = (real.tvs, real.sip, real.sips, real.provisioning, real.https)
        wanted += [(socket.SOCK_STREAM, address, port) for port in ports]
    wanted += [(socket.SOCK_STREAM, address, real.ssh) for address in node_addresses]
    for kind, address, port in wanted:
        try:
            with socket.socket(socket.AF_INET, kind) as probe:
                if kind == socket.SOCK_STREAM:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((address, port))
                if kind == socket.SOCK_STREAM:
                    probe.listen(1)
        except OSError as error:
            if port == real.ssh:
                moved = Ports(ssh_shift=SHIFT)
                return moved, f"port {port} {_why(error)}, so the nodes' command lines are on port {moved.ssh}"
            return Ports(SHIFT), f"port {port} {_why(error)}, so every port is shifted by {SHIFT}"
    return real, ""


def _why(error: OSError) -> str:
    match error.errno:
        case errno.EACCES | errno.EPERM:
            return "may not be bound by this user"
        case errno.EADDRINUSE:
            return "is taken"
    return f"can't be bound ({error.strerror})"
