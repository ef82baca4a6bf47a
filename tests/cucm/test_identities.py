"""What nodes are pinned to, and pinned to something else, once a person has confirmed it."""

from __future__ import annotations

import asyncio
import base64
import stat
from pathlib import Path

import pytest

from trustbridge.cucm import identities
from trustbridge.cucm.access import CERTIFICATES, HOST_KEYS
from trustbridge.cucm.identities import PinKind, Pinned
from trustbridge.cucm.model import ClusterEntry
from trustbridge.cucm.pins import TlsPins, fingerprint
from trustbridge.errors import IdentityChanged, SettingsError
from trustbridge.exchange.hostkeys import HostKey, HostKeyPins

ENTRY = ClusterEntry("source", "cm1.example", "admin", "axl", node_addresses=(("cm2", "192.0.2.2"),))
OLD, NEW = HostKey("ssh-ed25519", b"old"), HostKey("ssh-rsa", b"new")


def test_hosts_are_named_once() -> None:
    assert identities.hosts_of(ENTRY, ["192.0.2.2", "192.0.2.3", "cm1.example"]) == (
        "cm1.example",
        "192.0.2.2",
        "192.0.2.3",
    )


def test_what_is_confirmed_takes_the_place_of_what_was_pinned(tmp_path: Path) -> None:
    keys, certificates = HostKeyPins(tmp_path / HOST_KEYS), TlsPins(tmp_path / CERTIFICATES)
    for host in ("cm1.example", "192.0.2.2"):
        keys.check(host, 22, OLD)
        certificates.check(host, 8443, b"old")
    shown = fingerprint(b"new")
    tls = {"kind": "tls", "host": "cm1.example", "port": 8443, "shown": shown, "subject": "CN=cm1\n"}
    blob = base64.b64encode(NEW.blob).decode()
    identities.pin(tls, tmp_path)
    identities.pin({"kind": "ssh", "host": "cm1.example", "port": 22, "key": [NEW.kind, blob]}, tmp_path)
    assert identities.pinned(ENTRY, ["cm1.example", "192.0.2.2"], tmp_path) == [
        Pinned(PinKind.SSH, "cm1.example", 22, (f"{NEW.fingerprint} (ssh-rsa)",)),
        Pinned(PinKind.TLS, "cm1.example", 8443, (shown,)),
        Pinned(PinKind.SSH, "192.0.2.2", 22, (f"{OLD.fingerprint} (ssh-ed25519)",)),
        Pinned(PinKind.TLS, "192.0.2.2", 8443, (fingerprint(b"old"),)),
    ]
    assert keys.check("cm1.example", 22, NEW) is None
    assert certificates.check("cm1.example", 8443, b"new") is None
    for refused in (
        lambda: keys.check("cm1.example", 22, OLD),
        lambda: certificates.check("cm1.example", 8443, b"old"),
    ):
        with pytest.raises(IdentityChanged):
            refused()
    for name in (HOST_KEYS, CERTIFICATES):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert "\\n" not in (tmp_path / CERTIFICATES).read_text()


@pytest.mark.parametrize("shown", ["", "AB:CD", "x" * 95])
def test_only_a_fingerprint_is_pinned(tmp_path: Path, shown: str) -> None:
    with pytest.raises(SettingsError, match="no SHA-256 fingerprint"):
        TlsPins(tmp_path / CERTIFICATES).replace("cm1.example", 8443, shown, "")
    assert not (tmp_path / CERTIFICATES).exists()


def test_who_does_not_answer_is_a_line_with_the_reason(tmp_path: Path) -> None:
    entry = ClusterEntry("source", "127.0.0.1", "admin", "axl", ssh_port=9, https_port=9)
    rows = asyncio.run(identities.shown(entry, ["127.0.0.1"], tmp_path))
    assert [(row["kind"], row["shown"]) for row in rows] == [("ssh", ""), ("tls", "")]
    assert all(row["problem"] for row in rows)
