"""A console with something on every page: two clusters after their exchange, a campaign that has moved, jobs.

Everything is done over the console's own API, as a script would; what takes long is begun at once.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from tests.browser.served import PATIENCE, Console
from tests.console.desks import CHEAP
from tests.e2e.test_cluster import credentials_of, entry_of
from tests.lab.prepared import LiveLab, Prepared, lab_definition, phones

from trustbridge.console.accounts import Accounts
from trustbridge.console.app import create_app
from trustbridge.console.desk import Desk
from trustbridge.storage.database import open_database
from trustbridge.storage.inventory import Inventory
from trustbridge.storage.passwordfile import PasswordFile
from trustbridge.storage.people import Role

#: A campaign's limits: what is a night becomes some seconds.
QUICK: Final = {"resets_a_minute": 1000, "settle": 2, "look": 2, "lease": 10, "doubt": 15}
#: Addresses that give no page.
NO_PAGE: Final = re.compile(r"/(live/|health|metrics|bulk/part|setup|login)|\.(json|csv|html)$|/files/|/trust/.*/cell")


class Furnished:
    """A console and its lab.

    Attributes:
        moved: phones of the campaign "pilot-floor", which has ended; the others are still where they were.
        pages: an address of each page.
    """

    def __init__(self, console: Console, live: LiveLab, token: str) -> None:
        self.console = console
        self.live = live
        names = [phone.name for phone in live.phones]
        self.moved, self.still = names[:4], names[4:]
        self.pages: list[str] = []
        self._token = token

    def ask(self, method: str, path: str, **values: Any) -> Any:
        """What the API answers."""
        with httpx.Client(verify=False, timeout=PATIENCE) as client:
            headers = {"Authorization": f"Bearer {self._token}"}
            url = f"{self.console.url}/api/v1{path}"
            answer = client.request(method, url, headers=headers, json=values or None)
        assert answer.is_success, (method, path, answer.status_code, answer.text)
        return answer.json() if answer.content else None

    def ended(self, *jobs: int) -> list[Any]:
        """Results of jobs, once all have ended well."""
        deadline, found = time.monotonic() + PATIENCE, []
        for job in jobs:
            while (seen := self.ask("GET", f"/jobs/{job}"))["state"] == "running":
                assert time.monotonic() < deadline, seen
                time.sleep(0.1)
            assert seen["state"] == "done", seen
            found.append(seen["result"])
        return found

    def plan(self, name: str, some: list[str], **more: Any) -> int:
        """Plan a campaign of some phones and keep it; the number of the plan's job."""
        wanted = {"name": name, "source": "source", "destination": "destination", "phones": some, "pilot": 2}
        port = {"phone_port": self.live.lab.ports.web}
        job: int = self.ask("POST", "/campaigns/plans", **(wanted | QUICK | port | more))["id"]
        self.ended(job)
        self.ask("POST", "/campaigns", plan=job)
        return job

    def _server(self) -> None:
        """The SFTP server of the lab, with what its clusters have exported; its key is confirmed as it is shown."""
        server = self.live.lab.sftp_settings()
        names = ("host", "port", "username", "password", "directory")
        self.ask("PUT", "/bulk/server", **{name: getattr(server, name) for name in names})
        with pytest.raises(AssertionError) as refused:
            self.ask("POST", "/bulk/server/test", fingerprint="")
        (fingerprint,) = set(re.findall(r"SHA256:[\w+/]+", str(refused.value)))
        self.ask("POST", "/bulk/server/test", fingerprint=fingerprint)

    def furnish(self) -> None:
        """Have something on every page."""
        pair = {"source": "source", "destination": "destination"}
        both = {"clusters": ["source", "destination"]}
        port = {"page_port": self.live.lab.ports.web}
        self._server()
        exchange = self.ask("POST", "/exchange/plan", **both)["id"]
        (planned,) = self.ended(exchange)
        accepted = sorted({one["id"] for one in planned["plan"]["findings"] if one["severity"] == "stop"})
        run = self.ask("POST", "/exchange/run", plan=exchange, accept=accepted)["id"]
        self.ended(run)
        begun = {
            "trust": self.ask("POST", "/trust", **both)["id"],
            "check": self.ask("POST", "/check", **pair, **port)["id"],
            "predict": self.ask("POST", "/predict", **pair, **port)["id"],
            **{name: self.ask("POST", f"/clusters/{name}/read")["id"] for name in both["clusters"]},
        }
        plan = self.plan("pilot-floor", self.moved)
        self.ended(*begun.values())
        self.live.point_at("destination")
        start = self.ask("POST", "/campaigns/pilot-floor/start", option150_done=True, check=False)["id"]
        diagnosis = self.ask("POST", f"/phones/{self.still[0]}/diagnosis", **pair, **port)["id"]
        tried = self.ask("POST", "/clusters/source/test")["id"]
        self.ended(start, diagnosis, tried)
        proof = self.ask("POST", "/exchange/verify", **both)["id"]
        self.ended(proof)
        deadline = time.monotonic() + PATIENCE
        while (seen := self.ask("GET", "/campaigns/pilot-floor"))["state"] == "running":
            assert time.monotonic() < deadline, seen
            time.sleep(0.1)
        assert seen["state"] == "finished", seen
        back = self.ask("POST", "/campaigns/pilot-floor/rollback/preview", wave="pilot")["id"]
        self.ended(back)
        (record,) = self.ask("GET", "/exchange")
        certificate = self.ask("GET", "/clusters/source/certificates")
        digest = re.search(r"\b[0-9a-f]{64}\b", str(certificate))
        assert digest is not None, certificate
        campaign = "/campaigns/pilot-floor"
        self.pages = [
            "/", "/account", "/users", "/audit", "/jobs", f"/jobs/{tried}", "/api/v1/docs",
            "/bulk", "/bulk/export", "/bulk/exchange", f"/bulk/exchange/plans/{exchange}",
            f"/bulk/exchange/proofs/{proof}", f"/bulk/exchange/runs/{run}", f"/bulk/exchange/records/{record['name']}",
            "/clusters", "/clusters/source", "/clusters/source/files", "/clusters/source/identities", "/new-cluster",
            "/clusters/source/edit", "/certificates", "/clusters/source/certificates", "/clusters/source/stores",
            f"/certificates/{digest[0]}", "/trust", "/trust/source+destination",
            "/campaigns", "/campaigns/new", f"/campaigns/plans/{plan}", campaign, f"{campaign}/waves",
            f"{campaign}/journal",
            f"{campaign}/start", f"{campaign}/retry", f"{campaign}/rollback", f"{campaign}/rollback/{back}",
            f"{campaign}/phones", f"{campaign}/phones/{self.moved[0]}", f"{campaign}/report",
            "/phones", f"/phones/{self.still[0]}", "/check", "/check/source/destination", "/predict",
            "/predict/source/destination", "/findings", "/findings/TB104", "/there/is/no/such/page",
        ]  # fmt: skip

    def forgotten(self) -> list[str]:
        """Routes of pages of which `pages` has no address."""
        engine = open_database("", self.console.state)
        routes: list[tuple[str, Any]] = create_app(Desk(engine, self.console.state, work=False)).state.routes
        engine.dispose()
        seen = [path for path in self.pages if path != "/there/is/no/such/page"]
        return [
            path
            for path, route in routes
            if "GET" in route.methods
            and not path.startswith("/api/")
            and not NO_PAGE.search(path)
            and not any(route.path_regex.fullmatch(one) for one in seen)
        ]


@contextmanager
def furnished(prepared: Prepared, folder: Path) -> Iterator[Furnished]:
    """The console, furnished; one of each role is known there."""
    definition = lab_definition(phones(10), source={"release": "12.5"})
    state = folder / "console"
    console = Console(state)
    state.mkdir()
    console.people(*Role)
    with LiveLab(prepared.lab(folder / "lab", definition)) as live:
        live.boot()
        for cluster in live.lab.clusters.values():
            Inventory(state).add(entry_of(cluster))
            PasswordFile(state).keep(cluster.name, credentials_of(cluster))
            # An enterprise parameter of theirs: how often they let themselves be asked where phones are.
            live.lab.apis[cluster.name].ris_limits.calls_a_minute = 1000
        engine = open_database("", state)
        accounts = Accounts(engine, lambda: datetime.now(UTC), CHEAP)
        (owner,) = [one for one in accounts.people.all() if one.role is Role.ADMINISTRATOR]
        token = accounts.make_token(owner, "script", Role.ADMINISTRATOR, None)[1]
        engine.dispose()
        with console:
            found = Furnished(console, live, token)
            found.furnish()
            yield found
