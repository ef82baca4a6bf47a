"""What services share about addresses: a name's number, the system's words, a port that is taken."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket

from trustbridge.errors import PortTaken


def port_taken(what: str, host: str, port: int, error: OSError) -> PortTaken:
    """The error to raise when `what` (such as "TFTP over UDP") could not bind `host` and `port`."""
    if error.errno == errno.EADDRINUSE:
        hint = f"Another program listens there (`ss -lnp 'sport = :{port}'` names it): stop it, or use another port."
    elif error.errno in (errno.EACCES, errno.EPERM):
        hint = "Ports below 1024 need root or the capability CAP_NET_BIND_SERVICE: use it, or a higher port."
    elif error.errno == errno.EADDRNOTAVAIL:
        hint = "That is no address of this machine: add it to an interface, or use another."
    else:
        hint = "Use another address or port."
    return PortTaken(f"{what} can't listen on {host} port {port}: {system_words(error)}", hint)


def system_words(error: OSError) -> str:
    """What the system says of an error: asyncio puts words of its own in the place of some.

    Those of a name that isn't found are kept: its numbers are others.
    """
    if isinstance(error, socket.gaierror) or not error.errno:
        return error.strerror or str(error)
    return os.strerror(error.errno)


async def numeric(host: str) -> str:
    """The numeric address of `host`; what is one already costs no look-up and no thread. A name means IPv4.

    Raises:
        OSError: there is no such name.
    """
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, None, family=socket.AF_INET)
        except UnicodeError:  # characters that no host's name has
            raise socket.gaierror(socket.EAI_NONAME, f"{host!r} is not the name of a host") from None
        return str(found[0][4][0])
