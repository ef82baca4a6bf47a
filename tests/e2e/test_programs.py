"""Other people's programs against a running lab: curl, tftp, openssl, sftp."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.site import Site
from tests.lab.prepared import ENCRYPTED, LiveLab, Prepared, phones

from trustbridge.pki.certificate import Certificate
from trustbridge.pki.units import BulkType, Unit
from trustbridge.trust import lists
from trustbridge.wire import signedfile


def program(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not here: apt-get install {package}")
    return found


def run(*command: str, given: str | None = "", timeout: float = 20) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=timeout, check=False)


@pytest.fixture(scope="module")
def live(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveLab]:
    site = Site(prepared, tmp_path_factory.mktemp("programs") / "lab")
    with site.up(phones(1), phones(1, security=ENCRYPTED)) as live:
        live.boot()
        yield live


def address(live: LiveLab, node: str) -> str:
    return live.node(node).address


# curl


def curl(url: str, *options: str) -> tuple[int, bytes]:
    """HTTP status and body."""
    command = [program("curl", "curl"), "--silent", "--show-error", "--path-as-is", "-w", "%{stderr}%{http_code}"]
    done = subprocess.run([*command, *options, url], capture_output=True, timeout=20, check=False)
    return int(done.stderr[-3:]), done.stdout


def test_curl_gets_the_lists_of_a_node(live: LiveLab) -> None:
    base = f"http://{address(live, 'src-sub1')}:{live.lab.ports.provisioning}"
    folder = live.source.tftp_folder("src-sub1")
    for name in ("ITLFile.tlv", "CTLFile.tlv"):
        assert curl(f"{base}/{name}") == (200, (folder / name).read_bytes())
    phone = live.phones[0]
    assert curl(f"{base}/ITL{phone.name}.tlv")[1] == (folder / "ITLFile.tlv").read_bytes()


def test_curl_gets_a_configuration_signed_by_the_nodes_call_manager(live: LiveLab) -> None:
    base = f"http://{address(live, 'src-pub')}:{live.lab.ports.provisioning}"
    status, content = curl(f"{base}/{live.phones[1].name}.cnf.xml.sgn")
    assert status == 200
    file = signedfile.decode(content)
    lists.check_signature(file.header, content, live.source.identity("src-pub", Unit.CALLMANAGER).certificate)
    assert b"<deviceSecurityMode>3</deviceSecurityMode>" in file.content


@pytest.mark.parametrize(
    "path", ["nothing.xml", "SEPFFFFFFFFFFFF.cnf.xml", "../identity/TVS.key", "..%2fidentity%2fTVS.key", "%2e%2e/x"]
)
def test_curl_gets_nothing_else(live: LiveLab, path: str) -> None:
    base = f"http://{address(live, 'src-pub')}:{live.lab.ports.provisioning}"
    status, content = curl(f"{base}/{path}")
    assert status in (400, 404)
    assert b"PRIVATE KEY" not in content


def test_curl_shows_a_phones_status_page(live: LiveLab) -> None:
    phone = live.phones[1]
    base = f"http://{phone.identity.address}:{live.lab.ports.web}"
    if any("status pages are off" in notice for notice in live.lab.notices):
        pytest.skip(live.lab.notices[0])
    status, content = curl(f"{base}/CGI/Java/Serviceability?adapter=device.settings.status.messages")
    assert status == 200
    assert content.index(b"Trust List Updated") < content.index(f"{phone.name}.cnf.xml.sgn".encode())
    assert f"<HostName>{phone.name}</HostName>".encode() in curl(f"{base}/DeviceInformationX")[1]
    assert curl(f"http://127.0.0.1:{live.lab.ports.web}/")[0] == 404  # no phone has this address


# tftp


@pytest.mark.parametrize("name", ["ITLFile.tlv", "CTLSEP001B0C000001.tlv"])
def test_tftp_gets_the_same_bytes(live: LiveLab, tmp_path: Path, name: str) -> None:
    tftp, port = program("tftp", "tftp-hpa"), str(live.lab.ports.tftp)
    run(tftp, "-m", "binary", address(live, "src-sub1"), port, "-c", "get", name, str(tmp_path / "got"))
    there = live.source.tftp_folder("src-sub1") / name.replace("SEP001B0C000001", "File")
    assert (tmp_path / "got").read_bytes() == there.read_bytes()


def test_tftp_is_told_of_a_file_that_is_not_there(live: LiveLab, tmp_path: Path) -> None:
    tftp = program("tftp", "tftp-hpa")
    done = run(tftp, address(live, "src-pub"), str(live.lab.ports.tftp), "-c", "get", "nothing", str(tmp_path / "x"))
    assert "not found" in (done.stdout + done.stderr).lower()


# openssl


def s_client(host: str, port: int, *options: str) -> subprocess.CompletedProcess[str]:
    return run(program("openssl", "openssl"), "s_client", "-connect", f"{host}:{port}", *options)


def presented(output: str) -> Certificate:
    found = re.search(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", output, re.DOTALL)
    assert found is not None, output
    return Certificate.from_pem(found[0])


def test_openssl_sees_the_tvs_with_its_own_certificate(live: LiveLab) -> None:
    done = s_client(address(live, "src-sub1"), live.lab.ports.tvs)
    assert presented(done.stdout) == live.source.identity("src-sub1", Unit.TVS).certificate
    assert re.search(r"TLSv1\.[23]", done.stdout)
    assert "Acceptable client certificate CA names" not in done.stdout  # none is asked for


def test_openssl_is_refused_an_old_tls(live: LiveLab) -> None:
    done = s_client(address(live, "src-sub1"), live.lab.ports.tvs, "-tls1", "-cipher", "DEFAULT:@SECLEVEL=0")
    assert "protocol version" in done.stderr


def test_openssl_sees_unified_cm_which_asks_for_a_phones_certificate(live: LiveLab) -> None:
    where = (address(live, "src-pub"), live.lab.ports.sips)
    done = s_client(*where, "-tls1_2")
    assert presented(done.stdout) == live.source.identity("src-pub", Unit.CALLMANAGER).certificate
    assert done.returncode != 0  # without one it ends here
    lsc = live.phones[1].flash.path
    done = s_client(*where, "-tls1_2", "-cert", str(lsc / "lsc.pem"), "-key", str(lsc / "lsc.key"))
    assert done.returncode == 0, done.stderr


def test_openssl_with_the_lsc_of_a_capf_nobody_knows_is_refused(live: LiveLab) -> None:
    lsc = live.phones[1].flash.path
    where = (address(live, "dst-pub"), live.lab.ports.sips)
    done = s_client(*where, "-tls1_2", "-cert", str(lsc / "lsc.pem"), "-key", str(lsc / "lsc.key"))
    assert done.returncode != 0
    assert re.search("alert unknown ca|unexpected eof", done.stderr)


# sftp


def sftp(live: LiveLab, tmp_path: Path, commands: str, password: str) -> subprocess.CompletedProcess[str]:
    client = program("sftp", "openssh-client")
    ask = tmp_path / "ask"
    ask.write_text('#!/bin/sh\nprintf "%s\\n" "$PASSWORD_FOR_TEST"\n')
    ask.chmod(0o700)
    batch = tmp_path / "batch"
    batch.write_text(commands)
    network = live.lab.definition.network
    options = {
        "BatchMode": "no",  # -b sets it, and then no password is asked for
        "StrictHostKeyChecking": "accept-new",
        "UserKnownHostsFile": str(tmp_path / "known_hosts"),
        "PreferredAuthentications": "password",
        "PubkeyAuthentication": "no",
        "NumberOfPasswordPrompts": "1",
    }
    arguments = [item for name, value in options.items() for item in ("-o", f"{name}={value}")]
    return subprocess.run(
        [client, "-F", "none", *arguments, "-P", str(network.sftp_port), "-b", str(batch), f"bulk@{network.sftp}"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={
            "SSH_ASKPASS": str(ask),
            "SSH_ASKPASS_REQUIRE": "force",
            "PASSWORD_FOR_TEST": password,
            "PATH": "/usr/bin:/bin",
        },
    )


def test_openssh_lists_gets_and_puts_in_the_exchange_directory(live: LiveLab, tmp_path: Path) -> None:
    for cluster in (live.source, live.destination):
        live.call(lambda cluster=cluster: cluster.configure_sftp(live.lab.sftp_settings()))  # type: ignore[misc] # bound
    live.do(live.source.export((BulkType.CAPF,)))
    (tmp_path / "mine").write_text("hello")
    commands = f"ls -1\nget source_src-pub_capf.p12 {tmp_path}/got\nput {tmp_path}/mine\n"
    done = sftp(live, tmp_path, commands, live.lab.sftp_password)
    assert done.returncode == 0, done.stderr
    assert "source_src-pub_capf.p12" in done.stdout
    exchange = live.lab.exchange_folder
    assert (tmp_path / "got").read_bytes() == (exchange / "source_src-pub_capf.p12").read_bytes()
    assert (exchange / "mine").read_text() == "hello"
    (exchange / "mine").unlink()


def test_openssh_gets_nothing_outside_and_nothing_with_a_wrong_password(live: LiveLab, tmp_path: Path) -> None:
    commands = f"get ../password {tmp_path}/got\nget ../host_key {tmp_path}/got\n"
    done = sftp(live, tmp_path, commands, live.lab.sftp_password)
    assert done.returncode != 0
    assert not (tmp_path / "got").exists()
    done = sftp(live, tmp_path, "ls\n", "wrong")
    assert done.returncode != 0
    assert "Permission denied" in done.stderr
