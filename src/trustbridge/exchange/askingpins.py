"""Host keys that a person confirms before they are pinned, for programs where nobody watches a terminal."""

from __future__ import annotations

from pathlib import Path

from trustbridge.errors import NotNow
from trustbridge.exchange.hostkeys import FirstContact, HostKey, HostKeyPins


class UnknownHostKey(NotNow):
    """A server was met whose host key nobody has confirmed. No password was sent to it.

    Attributes:
        key: what it shows.
    """

    def __init__(self, host: str, port: int, key: HostKey) -> None:
        super().__init__(
            f"the host key of {host} port {port} is not known yet: it shows {key.fingerprint} ({key.kind})",
            "Compare it with what the server's administrator says (ssh-keygen -lf on its public key), and confirm it.",
        )
        self.key = key


class AskingPins(HostKeyPins):
    """As `HostKeyPins`, but a key seen for the first time is pinned only if it is the one that was confirmed.

    Args:
        path: the file of pins, shared with everything else that has it.
        confirmed: a fingerprint, as `HostKey.fingerprint`; "" for none.
    """

    def __init__(self, path: Path, confirmed: str = "") -> None:
        super().__init__(path)
        self._confirmed = confirmed

    def check(self, host: str, port: int, key: HostKey) -> FirstContact | None:
        """See `HostKeyPins.check`.

        Raises:
            UnknownHostKey: nothing is pinned for the server, and this key was not confirmed.
        """
        if key.fingerprint != self._confirmed and not self.keys(host, port):
            raise UnknownHostKey(host, port, key)
        return super().check(host, port, key)
