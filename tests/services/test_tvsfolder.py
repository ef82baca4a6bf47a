"""A TVS over a directory: it follows its stores and its identity while phones are connected."""

from __future__ import annotations

import asyncio
import contextlib
import stat
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog

from trustbridge.clients.ask import TvsReply, ask_tvs
from trustbridge.clients.tls import client_context
from trustbridge.errors import InvalidCertificate, SettingsError, TrustbridgeError
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.issue import Identity, Organisation, authority, self_signed, signed_by
from trustbridge.pki.units import Unit
from trustbridge.services import tvsfolder
from trustbridge.services.tvsfolder import FolderService, FolderTvs, IdentityFiles, start_folder_tvs
from trustbridge.wire.tvs import Reader, encode, query_request, verify_request

LAB = Organisation(o="Lab")
NOW = datetime.now(UTC)


def made(name: str) -> Identity:
    return self_signed(node=name, unit=Unit.TVS, common_name=name, organisation=LAB, now=NOW, key="p256")


SIGNER, OTHER, TVS, NEXT_TVS = made("signer"), made("other"), made("tvs"), made("next")


def write_identity(files: IdentityFiles, identity: Identity) -> None:
    files.key.write_bytes(identity.key_pem())
    files.certificate.write_text(identity.certificate.pem())


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderService:
    monkeypatch.setattr(tvsfolder, "LOOK_EVERY", 0.02)
    for store in ("Phone-SAST-trust", "CallManager-trust"):
        (tmp_path / "stores" / store).mkdir(parents=True)
        (tmp_path / "stores" / store / "signer.pem").write_text(SIGNER.certificate.pem())
    files = IdentityFiles(tmp_path / "certificate.pem", tmp_path / "key.pem")
    write_identity(files, TVS)
    return FolderService(tmp_path / "stores", files, 3600)


@contextlib.asynccontextmanager
async def serving(service: FolderService) -> AsyncIterator[FolderTvs]:
    running = await start_folder_tvs(service, host="127.0.0.1", port=0)
    try:
        yield running
    finally:
        await running.stop()


async def query(running: FolderTvs, certificate: Certificate) -> TvsReply:
    return await ask_tvs(
        *running.address,
        query_request(1001, "CP-8861-SEP001122334455", certificate.subject, certificate.issuer, certificate.serial),
    )


async def until(running: FolderTvs, certificate: Certificate, *, valid: bool) -> None:
    async with asyncio.timeout(5):
        while (await query(running, certificate)).response.valid is not valid:
            await asyncio.sleep(0.01)


def test_what_lies_in_the_stores_is_vouched_for(service: FolderService) -> None:
    async def scenario() -> None:
        async with serving(service) as running:
            reply = await query(running, SIGNER.certificate)
            assert reply.response.valid
            assert reply.response.certificate == SIGNER.certificate.der
            assert reply.response.roles == (0, 3)
            assert reply.response.time_to_live == 3600
            assert reply.tvs_certificate == TVS.certificate.der
            assert not (await query(running, OTHER.certificate)).response.valid
            assert len(running.index) == 1
            assert len(running.contents.certificates) == 2

    asyncio.run(scenario())


def test_changes_count_at_once_and_nobody_is_dropped(service: FolderService) -> None:
    async def scenario() -> None:
        async with serving(service) as running:
            reader, writer = await asyncio.open_connection(*running.address, ssl=client_context(), server_hostname="")

            async def still(certificate: Certificate) -> bool:
                writer.write(encode(verify_request(7, "d", certificate.der)))
                answers = Reader()
                async with asyncio.timeout(5):
                    answer = None
                    while answer is None:
                        answer = answers.feed(await reader.read(1))
                return answer.valid

            path = service.directory / "CallManager-trust" / "other.der"
            path.write_bytes(OTHER.certificate.der)
            await until(running, OTHER.certificate, valid=True)
            assert await still(OTHER.certificate)
            path.write_text("junk")
            with structlog.testing.capture_logs() as lines:
                await until(running, OTHER.certificate, valid=False)
            assert not await still(OTHER.certificate)
            assert await still(SIGNER.certificate)
            assert str(path) in [line.get("path") for line in lines]
            assert [fault.path for fault in running.contents.faulty] == [path]
            writer.close()

    asyncio.run(scenario())


def test_a_new_identity_is_presented_once_both_its_files_are_there(service: FolderService) -> None:
    async def presented(running: FolderTvs) -> bytes:
        return (await query(running, SIGNER.certificate)).tvs_certificate

    async def scenario() -> None:
        async with serving(service) as running:
            with structlog.testing.capture_logs() as lines:
                service.identity.certificate.write_text(NEXT_TVS.certificate.pem())
                async with asyncio.timeout(5):
                    while not lines:
                        await asyncio.sleep(0.01)
            assert lines[0]["event"] == "identity kept as it was"
            assert await presented(running) == TVS.certificate.der
            service.identity.key.write_bytes(NEXT_TVS.key_pem())
            async with asyncio.timeout(5):
                while await presented(running) != NEXT_TVS.certificate.der:
                    await asyncio.sleep(0.01)

    asyncio.run(scenario())


def test_an_identity_signed_by_an_authority_is_presented_with_its_chain(service: FolderService) -> None:
    root = authority("root", LAB, NOW, key="p256")
    own = signed_by(root, node="tvs", unit=Unit.TVS, common_name="tvs", organisation=LAB, now=NOW, key="p256")
    service.identity.key.write_bytes(own.key_pem())
    service.identity.certificate.write_text(own.certificate.pem() + root.certificate.pem())
    assert service.identity.load().chain == (own.certificate, root.certificate)


@pytest.mark.parametrize(
    ("certificate", "key", "error", "words"),
    [
        (None, TVS.key_pem(), SettingsError, "certificate can't be read from .*certificate.pem: No such file"),
        (TVS.certificate.pem().encode(), None, SettingsError, "private key can't be read from .*key.pem: No such file"),
        (b"junk", TVS.key_pem(), InvalidCertificate, "not a certificate"),
        (TVS.certificate.pem().encode(), b"junk", SettingsError, "private key in .*key.pem can't be read"),
        (TVS.certificate.pem().encode(), OTHER.key_pem(), SettingsError, "TLS cannot use"),
    ],
)
def test_an_identity_that_can_not_be_used_is_named(
    service: FolderService, certificate: bytes | None, key: bytes | None, error: type[TrustbridgeError], words: str
) -> None:
    for path, content in ((service.identity.certificate, certificate), (service.identity.key, key)):
        path.unlink()
        if content is not None:
            path.write_bytes(content)
    with pytest.raises(error, match=words):
        asyncio.run(start_folder_tvs(service, host="127.0.0.1", port=0))


def test_a_directory_that_is_missing_is_named(service: FolderService, tmp_path: Path) -> None:
    missing = FolderService(tmp_path / "nowhere", service.identity)
    with pytest.raises(SettingsError, match="nowhere"):
        asyncio.run(start_folder_tvs(missing, host="127.0.0.1", port=0))


def test_a_created_identity_is_its_owners_alone_and_serves(service: FolderService, tmp_path: Path) -> None:
    files = IdentityFiles(tmp_path / "own" / "tvs" / "certificate.pem", tmp_path / "own" / "tvs" / "key.pem")
    assert not files.exist()
    files.create("tvs.lab.test", NOW)
    assert files.exist()
    for path, mode in ((files.key, 0o600), (files.certificate, 0o600), (files.key.parent, 0o700)):
        assert stat.S_IMODE(path.stat().st_mode) == mode
    (certificate,) = files.load().chain
    assert certificate.subject == "CN=tvs.lab.test"

    async def scenario() -> None:
        async with serving(FolderService(service.directory, files)) as running:
            assert (await query(running, SIGNER.certificate)).tvs_certificate == certificate.der

    asyncio.run(scenario())


def test_a_key_never_shows(service: FolderService) -> None:
    service.identity.key.write_bytes(b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n")
    with pytest.raises(SettingsError) as caught:
        service.identity.load()
    shown = f"{caught.value} {caught.value.hint} {caught.value.__cause__} {service!r} {TVS!r}"
    assert "c2VjcmV0" not in shown
    assert caught.value.__suppress_context__


def test_a_place_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    files = IdentityFiles(tmp_path / "file" / "certificate.pem", tmp_path / "file" / "key.pem")
    with pytest.raises(SettingsError, match="can't be written"):
        files.create("tvs", NOW)
