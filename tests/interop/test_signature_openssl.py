"""`openssl dgst` verifies what we sign, over the bytes the format says: the file without its signature element."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from tests.trust.world import NOW, cluster, stranger

from trustbridge.pki.units import Unit
from trustbridge.trust import lists
from trustbridge.trust.lists import Signer
from trustbridge.wire import signedfile
from trustbridge.wire.signedheader import Digest

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is missing: apt-get install openssl")

OPENSSL_NAMES = {Digest.SHA1: "-sha1", Digest.SHA256: "-sha256", Digest.SHA512: "-sha512"}


def verifies(data: bytes, signer: Signer, digest: Digest, folder: Path) -> bool:
    """What `openssl dgst -verify` says; the signature element is found by its bytes, not by the codec."""
    length = signer.certificate.key_bits // 8
    start = data.index(b"\x0c" + length.to_bytes(2), data.index(bytes.fromhex("07000f080001")))
    end = start + 3 + length
    (folder / "signature").write_bytes(data[start + 3 : end])
    (folder / "covered").write_bytes(data[:start] + data[end:])
    (folder / "certificate.pem").write_text(signer.certificate.pem())
    key = subprocess.run(
        ["openssl", "x509", "-in", folder / "certificate.pem", "-pubkey", "-noout"], capture_output=True, check=True
    ).stdout
    (folder / "key.pem").write_bytes(key)
    command = ["openssl", "dgst", OPENSSL_NAMES[digest], "-verify", str(folder / "key.pem")]
    command += ["-signature", str(folder / "signature"), str(folder / "covered")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() in ("Verified OK", "Verification failure"), done.stderr
    return done.returncode == 0


@pytest.mark.parametrize("digest", Digest)
def test_openssl_verifies_an_itl_of_ours(digest: Digest, tmp_path: Path) -> None:
    home = cluster("src")
    data = home.itl(digest=digest)
    assert verifies(data, home.signer(), digest, tmp_path)
    assert not verifies(data[:-1] + b"\1", home.signer(), digest, tmp_path)


@pytest.mark.parametrize("key", ["rsa1024", "rsa4096"])
def test_openssl_verifies_a_signed_file_of_ours(key: str, tmp_path: Path) -> None:
    identity = stranger(key)
    signer = Signer(identity.certificate, identity.private_key)
    file = lists.sign_file(b"<device/>", signer, file_name="SEP001122334455.cnf.xml", now=NOW)
    assert verifies(signedfile.encode(file), signer, Digest.SHA1, tmp_path)


def test_openssl_verifies_a_configuration_file_of_a_cluster(tmp_path: Path) -> None:
    home = cluster("src")
    data = home.files(index=1)["SEP001122334455.cnf.xml.sgn"]
    assert verifies(data, home.signer(Unit.CALLMANAGER, 1), Digest.SHA1, tmp_path)
    assert not verifies(data + b"\n", home.signer(Unit.CALLMANAGER, 1), Digest.SHA1, tmp_path)
