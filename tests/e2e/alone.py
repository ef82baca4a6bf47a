"""Run a command in a network of its own: `python alone.py COMMAND...`.

`trustbridge demo` takes fixed addresses on loopback; in a network namespace it meets no other lab of this machine.
Where the system grants none the command runs all the same, and may find its addresses taken.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import sys
from pathlib import Path

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1


def isolate() -> bool:
    """Leave the network this process is in for one with nothing but loopback; whether that was granted."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        if libc.unshare(_CLONE_NEWNET) != 0:
            return False
    else:
        if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
            return False
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh", b"lo", _IFF_UP))
    return True


def main() -> None:
    granted = isolate()
    if sys.argv[1:] == ["--check"]:
        sys.exit(0 if granted else 1)
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
