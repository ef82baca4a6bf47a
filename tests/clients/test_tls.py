"""TLS contexts: what they serve, whom they accept, and that no key stays on disk."""

from __future__ import annotations

import os
import ssl
import tempfile
import warnings
from datetime import UTC, datetime
from pathlib import Path

import pytest

from trustbridge.clients.tls import TlsIdentity, client_context
from trustbridge.errors import SettingsError
from trustbridge.pki.issue import Identity, KeyName, Organisation, locally_significant, self_signed
from trustbridge.pki.units import Unit

NOW = datetime.now(UTC)
LAB = Organisation(o="Lab")


def identity(name: str, key: KeyName = "p256", unit: Unit = Unit.CALLMANAGER) -> Identity:
    return self_signed(node=name, unit=unit, common_name=name, organisation=LAB, now=NOW, key=key)


def open_files() -> int:
    """How many files this process has open; -1 where the system does not say."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else -1


@pytest.fixture(scope="module")
def server() -> TlsIdentity:
    return TlsIdentity.of(identity("cm1", "rsa2048"))


@pytest.fixture(scope="module")
def capf() -> Identity:
    return identity("CAPF-1", unit=Unit.CAPF)


def handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both ends of a connection without sockets, after their handshake. Raises what either end raises."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        server.wrap_bio(to_server, to_client, server_side=True),
        client.wrap_bio(to_client, to_server, server_hostname="any"),
    )
    waiting = list(ends)
    for _ in range(10):
        for end in list(waiting):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(end)
        if not waiting:
            return ends
    raise AssertionError("the handshake does not end")


def test_a_phone_and_a_server_meet_on_a_modern_version_without_tickets(server: TlsIdentity) -> None:
    theirs, ours = handshake(server.server_context(), client_context())
    assert ours.version() == "TLSv1.3"
    assert ours.getpeercert(binary_form=True) == server.chain[0].der
    assert theirs.getpeercert(binary_form=True) is None
    theirs.write(b"x")
    assert ours.read(1) == b"x"
    assert ours.session is None or not ours.session.has_ticket


def test_the_whole_chain_is_sent(capf: Identity) -> None:
    leaf = locally_significant(capf, device="SEP001122334455", organisation=LAB, now=NOW, key="p256")
    told = TlsIdentity.of(leaf, capf.certificate)
    strict = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    strict.check_hostname = False
    strict.load_verify_locations(cadata=capf.certificate.der)
    _, ours = handshake(told.server_context(), strict)
    assert ours.getpeercert(binary_form=True) == leaf.certificate.der
    assert told.chain == (leaf.certificate, capf.certificate)


def test_old_phones_are_served_only_with_the_legacy_switch(server: TlsIdentity) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname = False
    old.verify_mode = ssl.CERT_NONE
    old.set_ciphers("AES128-SHA:@SECLEVEL=0")  # RSA key exchange
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        handshake(server.server_context(), old)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        legacy = server.server_context(legacy=True)
    _, ours = handshake(legacy, old)
    assert (ours.version(), (ours.cipher() or ("",))[0]) == ("TLSv1", "AES128-SHA")
    names = {cipher["name"] for cipher in legacy.get_ciphers()}
    assert not {name for name in names if "NULL" in name or "ADH" in name or "AECDH" in name or "SRP" in name}
    _, ours = handshake(legacy, client_context())
    assert ours.version() == "TLSv1.3"


def test_a_short_key_needs_the_legacy_switch() -> None:
    short = TlsIdentity.of(identity("old", "rsa1024"))
    with pytest.raises(SettingsError, match="key too small") as caught:
        short.server_context()
    assert "legacy" in caught.value.hint
    _, ours = handshake(short.server_context(legacy=True), client_context(legacy=True))
    assert ours.getpeercert(binary_form=True) == short.chain[0].der


def test_a_key_of_another_certificate_is_refused(server: TlsIdentity) -> None:
    with pytest.raises(SettingsError, match="mismatch"):
        TlsIdentity(server.chain, identity("x", "rsa1024").private_key).server_context()


def test_a_phone_is_accepted_only_with_a_certificate_of_a_given_capf(server: TlsIdentity, capf: Identity) -> None:
    other = identity("CAPF-2", unit=Unit.CAPF)
    phone = client_context(
        TlsIdentity.of(locally_significant(capf, device="SEP001122334455", organisation=LAB, now=NOW, key="p256"))
    )
    both = server.server_context(client_authorities=[other.certificate, capf.certificate])
    theirs, _ = handshake(both, phone)
    assert theirs.getpeercert(binary_form=True)
    for context in (
        server.server_context(client_authorities=[other.certificate]),
        server.server_context(client_authorities=[]),
        server.server_context(client_authorities=[], require_client_certificate=False),
    ):
        with pytest.raises(ssl.SSLCertVerificationError):
            handshake(context, phone)
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        handshake(both, client_context())
    handshake(server.server_context(client_authorities=[], require_client_certificate=False), client_context())
    handshake(server.server_context(), phone)  # asks for none, refuses none


def test_a_capf_that_is_not_a_root_is_enough_by_itself(server: TlsIdentity) -> None:
    root = identity("root", unit=Unit.CAPF)
    middle = locally_significant(root, device="SEP000000000000", organisation=LAB, now=NOW, key="p256")
    phone = client_context(TlsIdentity.of(middle))
    handshake(server.server_context(client_authorities=[middle.certificate]), phone)


def test_phones_without_a_certificate_share_one_context() -> None:
    assert client_context() is client_context()
    assert client_context(legacy=True) is not client_context()


@pytest.mark.parametrize("in_memory", [True, False])
def test_no_key_stays_on_disk_and_none_is_readable_by_others(
    server: TlsIdentity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_memory: bool
) -> None:
    modes: list[int] = []
    load = ssl.SSLContext.load_cert_chain

    def watched(context: ssl.SSLContext, path: str) -> None:
        modes.append(Path(path).stat().st_mode & 0o777)
        load(context, path)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", watched)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if not in_memory:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    before = open_files()
    server.server_context()
    with pytest.raises(SettingsError):
        TlsIdentity(server.chain, TlsIdentity.of(identity("x")).private_key).server_context()
    assert modes == [0o600, 0o600]
    assert list(tmp_path.iterdir()) == []
    assert open_files() == before


def test_the_key_is_not_shown(server: TlsIdentity) -> None:
    assert "private_key" not in repr(server)
