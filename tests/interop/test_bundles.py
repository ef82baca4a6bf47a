"""Bundles against OpenSSL and Java's keytool, both ways. Passwords travel in the environment, never as arguments."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from trustbridge.errors import InvalidBundle
from trustbridge.pki.bundle import BundledCertificate, read_bundle, write_bundle
from trustbridge.pki.certificate import Certificate, read_certificates
from trustbridge.pki.issue import Identity, Organisation, self_signed
from trustbridge.pki.units import Unit

PASSWORD = "bulk-secret"
NOW = datetime(2026, 3, 1, tzinfo=UTC)

needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is missing: apt-get install openssl")
needs_keytool = pytest.mark.skipif(
    not shutil.which("keytool"), reason="keytool is missing: apt-get install default-jre-headless"
)


def _run(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env={**os.environ, "BUNDLE_PASSWORD": PASSWORD, "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=check,
        timeout=60,
    )


def _identity(name: str) -> Identity:
    return self_signed(
        node="cm1",
        unit=Unit.CALLMANAGER,
        common_name=name,
        organisation=Organisation(ou="TAC", o="Cisco Systems, Inc.", c="PL"),
        now=NOW,
        key="p256",
    )


@pytest.fixture(scope="module")
def identity() -> Identity:
    return _identity("cm1.lab.test")


@pytest.fixture(scope="module")
def items(identity: Identity) -> list[BundledCertificate]:
    return [
        BundledCertificate(identity.certificate, "src/cm1/CallManager"),
        BundledCertificate(_identity("cm2.lab.test").certificate, "src/cm2/CallManager"),
        BundledCertificate(_identity("cm3.lab.test").certificate, "SRC/CM1/CALLMANAGER"),
    ]


@pytest.fixture(scope="module")
def pem(items: list[BundledCertificate], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pem") / "certificates.pem"
    path.write_text("".join(item.certificate.pem() for item in items))
    return path


@needs_openssl
@pytest.mark.parametrize("legacy", [False, True])
def test_openssl_lists_our_bundles_with_their_names(
    items: list[BundledCertificate], legacy: bool, tmp_path: Path
) -> None:
    path = tmp_path / "ours.p12"
    path.write_bytes(write_bundle(items, password=PASSWORD, legacy=legacy))
    listed = _run("openssl", "pkcs12", "-info", "-nokeys", "-in", str(path), "-passin", "env:BUNDLE_PASSWORD")
    assert read_certificates(listed.stdout.encode()) == [item.certificate for item in items]
    names = [line.strip() for line in listed.stdout.splitlines() if "friendlyName" in line]
    assert names == [
        "friendlyName: src/cm1/CallManager",
        "friendlyName: src/cm2/CallManager",
        "friendlyName: SRC/CM1/CALLMANAGER (2)",
    ]
    assert ("3-KeyTripleDES" in listed.stderr) == legacy
    assert "PRIVATE KEY" not in listed.stdout


@needs_keytool
@pytest.mark.parametrize("legacy", [False, True])
def test_keytool_lists_every_certificate_of_our_bundles(
    items: list[BundledCertificate], legacy: bool, tmp_path: Path
) -> None:
    path = tmp_path / "ours.p12"
    path.write_bytes(write_bundle(items, password=PASSWORD, legacy=legacy))
    listed = _run("keytool", "-list", "-keystore", str(path), "-storepass:env", "BUNDLE_PASSWORD").stdout
    assert "contains 3 entries" in listed
    assert listed.count("trustedCertEntry") == 3
    for item in items:
        assert item.certificate.sha256.upper() in listed.replace(":", "")
    assert "src/cm1/callmanager (2)," in listed.lower()


@needs_openssl
@pytest.mark.parametrize(
    "options",
    [
        [],
        ["-certpbe", "AES-128-CBC", "-macalg", "sha512"],
        ["-certpbe", "PBE-SHA1-3DES", "-macalg", "sha1"],
        ["-certpbe", "NONE"],
        ["-nomac"],
        ["-legacy"],
        ["-legacy", "-certpbe", "PBE-SHA1-RC2-40"],
        ["-legacy", "-certpbe", "PBE-SHA1-RC4-128"],
    ],
    ids=" ".join,
)
def test_bundles_made_by_openssl_are_read(
    pem: Path, items: list[BundledCertificate], options: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "theirs.p12"
    names = ["-caname", "one", "-caname", "two/x", "-caname", "three"]
    _export(pem, path, *names, *options)
    read = read_bundle(path.read_bytes(), password=PASSWORD)
    assert [(item.certificate, item.name) for item in read] == [
        (item.certificate, name) for item, name in zip(items, names[1::2], strict=True)
    ]


def _export(pem: Path, path: Path, *options: str) -> None:
    """`openssl pkcs12 -export` without keys; skips where the local OpenSSL lacks what the options ask for."""
    done = _run(
        *("openssl", "pkcs12", "-export", "-nokeys", "-in", str(pem), "-out", str(path)),
        *("-passout", "env:BUNDLE_PASSWORD", *options),
        check=False,
    )
    if done.returncode and "-legacy" in options:
        pytest.skip(f"this openssl lacks its legacy algorithms: {done.stderr.strip()[-100:]}")
    assert done.returncode == 0, done.stderr


@needs_openssl
@pytest.mark.parametrize("options", [[], ["-legacy"], ["-nomac"]])
def test_a_bundle_that_would_take_hours_is_refused_at_once(pem: Path, options: list[str], tmp_path: Path) -> None:
    path = tmp_path / "slow.p12"
    _export(pem, path, *options, "-iter", "3000000")
    with pytest.raises(InvalidBundle, match="rounds of key derivation"):
        read_bundle(path.read_bytes(), password=PASSWORD)


@needs_openssl
def test_bundles_made_by_openssl_without_names_are_read_with_empty_ones(pem: Path, tmp_path: Path) -> None:
    _export(pem, tmp_path / "theirs.p12")
    read = read_bundle((tmp_path / "theirs.p12").read_bytes(), password=PASSWORD)
    assert [item.name for item in read] == ["", "", ""]


@needs_openssl
@pytest.mark.parametrize("options", [[], ["-legacy"], ["-macalg", "md5"], ["-macalg", "sha384"]], ids=" ".join)
def test_a_wrong_password_for_a_bundle_made_by_openssl_is_named(pem: Path, options: list[str], tmp_path: Path) -> None:
    _export(pem, tmp_path / "theirs.p12", *options)
    with pytest.raises(InvalidBundle, match="the password does not open this bundle"):
        read_bundle((tmp_path / "theirs.p12").read_bytes(), password="wrong")


_READ = """
import os, sys
from trustbridge.errors import InvalidBundle
from trustbridge.pki.bundle import read_bundle
try:
    read_bundle(sys.stdin.buffer.read(), password=os.environ["BUNDLE_PASSWORD"])
except InvalidBundle as error:
    print(error.message, error.hint, sep="\\n")
"""


@needs_openssl
@pytest.mark.parametrize(
    ("password", "certainty"), [(PASSWORD, "the password is right, but the"), ("wrong", "the password does not open")]
)
def test_encryption_the_library_lacks_is_named_with_the_way_to_convert(
    pem: Path, tmp_path: Path, password: str, certainty: str
) -> None:
    path = tmp_path / "theirs.p12"
    _export(pem, path, "-legacy", "-certpbe", "PBE-SHA1-RC2-40")
    done = subprocess.run(
        [sys.executable, "-c", _READ],
        input=path.read_bytes(),
        # The library's own switch: as on systems where these algorithms are not installed.
        env={**os.environ, "CRYPTOGRAPHY_OPENSSL_NO_LEGACY": "1", "BUNDLE_PASSWORD": password},
        capture_output=True,
        check=True,
        timeout=60,
    )
    message, hint = done.stdout.decode().splitlines()
    assert message.startswith(certainty)
    assert password not in message + hint
    if password == PASSWORD:
        assert "RC2 with 40 bits" in message
        assert "openssl pkcs12 -legacy -in OLD.p12 -nokeys" in hint


@needs_openssl
@pytest.mark.parametrize("options", [[], ["-keypbe", "NONE", "-certpbe", "NONE"], ["-nocerts"]], ids=" ".join)
def test_a_bundle_made_by_openssl_with_a_key_is_refused(identity: Identity, options: list[str], tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.touch(0o600)
    key.write_bytes(identity.key_pem() + identity.certificate.pem().encode())
    path = tmp_path / "theirs.p12"
    _run(
        *("openssl", "pkcs12", "-export", "-in", str(key), "-inkey", str(key), "-out", str(path)),
        *("-passout", "env:BUNDLE_PASSWORD", *options),
    )
    with pytest.raises(InvalidBundle, match="holds a private key: refused"):
        read_bundle(path.read_bytes(), password=PASSWORD)


@needs_keytool
def test_bundles_made_by_keytool_are_read(items: list[BundledCertificate], tmp_path: Path) -> None:
    path = tmp_path / "theirs.p12"
    wanted: list[tuple[str, Certificate]] = []
    for number, item in enumerate(items[:2]):
        (tmp_path / "one.pem").write_text(item.certificate.pem())
        _run(
            *("keytool", "-importcert", "-noprompt", "-alias", f"dst/cm{number}", "-file", str(tmp_path / "one.pem")),
            *("-keystore", str(path), "-storetype", "PKCS12", "-storepass:env", "BUNDLE_PASSWORD"),
        )
        wanted.append((f"dst/cm{number}", item.certificate))
    read = read_bundle(path.read_bytes(), password=PASSWORD)
    assert sorted((item.name, item.certificate.sha256) for item in read) == [
        (name, certificate.sha256) for name, certificate in wanted
    ]


@needs_keytool
@pytest.mark.parametrize(
    "command",
    [["-genkeypair", "-keyalg", "EC", "-dname", "CN=x"], ["-genseckey", "-keyalg", "AES", "-keysize", "128"]],
    ids=["private key", "secret key"],
)
def test_a_keystore_made_by_keytool_with_a_key_is_refused(command: list[str], tmp_path: Path) -> None:
    path = tmp_path / "theirs.p12"
    _run(
        *("keytool", *command, "-alias", "a", "-keystore", str(path)),
        *("-storetype", "PKCS12", "-storepass:env", "BUNDLE_PASSWORD"),
    )
    with pytest.raises(InvalidBundle, match="holds a private key: refused"):
        read_bundle(path.read_bytes(), password=PASSWORD)
