"""Certificate Management REST of a lab node, asked by curl, which nobody here wrote."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.lab.prepared import LiveLab, Prepared, lab_definition, lighten

from trustbridge.pki.certificate import Certificate
from trustbridge.pki.issue import Organisation, self_signed
from trustbridge.pki.units import Store, Unit
from trustbridge.services.certmgr import BASE

pytestmark = [
    pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl (Debian package curl)"),
    pytest.mark.filterwarnings("error::ResourceWarning"),
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveLab]:
    with pytest.MonkeyPatch.context() as patch:
        lighten(patch)
        folder = tmp_path_factory.mktemp("curl") / "lab"
        with LiveLab(Prepared.once(tmp_path_factory).lab(folder, lab_definition())) as live:
            yield live


def curl(
    lab: LiveLab, path: str, body: object = None, *, password: str | None = None, options: tuple[str, ...] = ()
) -> tuple[int, str, str]:
    """Status, headers and body. The account goes in by a configuration on standard input, never by an argument."""
    cluster = lab.destination
    user, right = cluster.accounts.credentials("os")
    url = f"https://{cluster.definition.address('dst-pub')}:{cluster.ports.https}{BASE}{path}"
    config = f'user = "{user}:{right if password is None else password}"\n'
    arguments = ["curl", "-q", "-sS", "-k", "-i", "--max-time", "20", "-K", "-", *options]
    with tempfile.NamedTemporaryFile() as file:
        if body is not None:  # in a file: a line of a configuration has a limit
            file.write(json.dumps(body).encode())
            file.flush()
            config += f'header = "Content-Type: application/json"\ndata-binary = "@{file.name}"\n'
        done = subprocess.run([*arguments, url], input=config, capture_output=True, text=True, timeout=30, check=True)
    head, _, content = done.stdout.partition("\n\n")
    return int(head.split()[1]), head.lower(), content


def test_a_snapshot_is_json_with_the_nodes_certificates(lab: LiveLab) -> None:
    status, head, content = curl(lab, "/snapshot/server")
    assert status == 200
    assert "content-type: application/json" in head
    told = {one["service"]: one["certificate"] for one in json.loads(content)["identities"]}
    assert told["tomcat"] == lab.destination.identity("dst-pub", Unit.TOMCAT).certificate.pem()


def test_a_wrong_password_is_a_401_that_says_how_to_log_in(lab: LiveLab) -> None:
    status, head, _ = curl(lab, "/snapshot/server", password="wrong")
    assert status == 401
    assert "www-authenticate: basic realm=" in head


def test_the_certificate_shown_is_tomcats(lab: LiveLab, tmp_path: Path) -> None:
    trusted = tmp_path / "tomcat.pem"
    trusted.write_text(lab.destination.identity("dst-pub", Unit.TOMCAT).certificate.pem())
    cluster = lab.destination
    name = "dst-pub.dst.example"
    done = subprocess.run(
        [
            *("curl", "-q", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "20"),
            *("--cacert", str(trusted), "--resolve", f"{name}:{cluster.ports.https}:127.0.0.1"),
            *("--connect-to", f"::{cluster.definition.address('dst-pub')}:"),
            f"https://{name}:{cluster.ports.https}{BASE}/snapshot/server",
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout == "401", "trusted by its certificate, and nobody is let in without a password"


def test_a_large_upload_with_expect_100_arrives(lab: LiveLab) -> None:
    made = [
        self_signed(
            node="",
            unit=Unit.TOMCAT,
            common_name=f"curl-{number}",
            organisation=Organisation(),
            now=datetime.now(UTC),
            key="p256",
        ).certificate
        for number in range(3)
    ]
    body = {"service": ["tomcat"], "certificates": [one.pem() for one in made], "description": "x" * 1_500_000}
    status, head, content = curl(lab, "/trust/certificates", body, options=("-H", "Expect: 100-continue"))
    if status == 100:  # the first of two heads
        status = int(content.split()[1])
    assert status == 200, (head, content)
    for one in made:
        assert lab.destination.stores["dst-sub1"].holding(one) == (Store.TOMCAT_TRUST,)
    status, _, content = curl(lab, "/trust/certificate?service=tomcat")
    assert set(made) <= {Certificate.from_pem(one["certificate"]) for one in json.loads(content)}


def test_several_requests_share_one_connection(lab: LiveLab) -> None:
    cluster = lab.destination
    user, password = cluster.accounts.credentials("os")
    base = f"https://{cluster.definition.address('dst-pub')}:{cluster.ports.https}{BASE}"
    config = f'user = "{user}:{password}"\n' + "".join(
        f'url = "{base}{path}"\noutput = "/dev/null"\n' for path in ("/snapshot/server", "/options", "/nothing")
    )
    done = subprocess.run(
        ["curl", "-q", "-sS", "-k", "-w", "%{http_code} %{num_connects}\n", "--max-time", "20", "-K", "-"],
        input=config,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout.split() == ["200", "1", "200", "0", "404", "0"]


def test_the_password_is_in_no_process_list(lab: LiveLab) -> None:
    _, password = lab.destination.accounts.credentials("os")
    node = lab.node("dst-pub")
    before = node.https_disturbed
    seen: list[str] = []
    slow = threading.Event()

    def disturb(path: str) -> Any:
        slow.set()
        return before(path)

    def look() -> None:
        slow.wait(10)
        for process in Path("/proc").iterdir():
            if process.name.isdigit() and int(process.name) != os.getpid():
                try:
                    seen.append((process / "cmdline").read_bytes().decode("utf-8", "replace"))
                    seen.append((process / "environ").read_bytes().decode("utf-8", "replace"))
                except OSError:
                    continue

    node.https_disturbed = disturb
    looking = threading.Thread(target=look)
    looking.start()
    try:
        assert curl(lab, "/snapshot/server", options=("--limit-rate", "40000"))[0] == 200
    finally:
        slow.set()
        looking.join()
        node.https_disturbed = before
    assert any("--limit-rate" in one for one in seen), "curl was there to be looked at"
    assert not any(password in one for one in seen)
