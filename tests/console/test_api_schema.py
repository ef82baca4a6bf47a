"""Requests that schemathesis makes of the API's description, also such as it forbids: none is a server error."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.transport.requests import REQUESTS_TRANSPORT
from tests.console.desks import CHEAP, HERE, PASSWORD, Browser
from tests.e2e.conftest import prepared
from tests.e2e.test_cluster import credentials_of, entry_of
from tests.lab.own import RUN
from tests.lab.prepared import LiveLab, Prepared, lab_definition, lighten
from tests.storage.databases import planned

from trustbridge.console.app import create_app
from trustbridge.console.desk import Desk
from trustbridge.cucm.model import ClusterEntry
from trustbridge.storage.database import open_database, upgrade_to_head
from trustbridge.storage.inventory import Inventory
from trustbridge.storage.passwordfile import PasswordFile
from trustbridge.storage.people import Role

__all__ = ["prepared"]
#: Requests of each operation, and others each time: for a longer search. Without it they are few and the same.
EXAMPLES: Final = int(os.environ.get("EXAMPLES", "0"))
#: What the names of requests stand for, now and then: by chance nobody hits one.
KNOWN: Final[dict[str, Any]] = {
    "clusters": ["source", "destination"],
    "into": "destination",
    "source": "source",
    "destination": "destination",
    "cluster": "source",
    "campaign": "move",
    "type": "all",
    "number": 1,
}


@pytest.fixture(params=["no cluster answers", "a lab"])
def peopled(request: pytest.FixtureRequest, prepared: Prepared, tmp_path: Path) -> Iterator[Desk]:
    """A desk with a campaign, jobs to come, and two clusters: of a lab, or such as do not answer."""
    state = tmp_path / "desk"
    engine = open_database("", state)
    upgrade_to_head(engine)
    desk = Desk(engine, state, hashing=CHEAP, work=False)
    planned(desk.campaigns)
    if request.param == "a lab":
        with pytest.MonkeyPatch.context() as patch:
            lighten(patch)
            with LiveLab(prepared.lab(tmp_path / "lab", lab_definition())) as live:
                for cluster in live.lab.clusters.values():
                    Inventory(state).add(entry_of(cluster))
                    PasswordFile(state).keep(cluster.name, credentials_of(cluster))
                yield desk
    else:
        for name in ("source", "destination"):
            Inventory(state).add(ClusterEntry(name, f"127.67.{RUN}.9", "admin", "axl"))
        yield desk
    engine.dispose()


@pytest.mark.parametrize(("role", "examples"), [(Role.VIEWER, 3), (Role.OPERATOR, 6), (Role.ADMINISTRATOR, 6)])
def test_no_request_is_a_server_error(peopled: Desk, role: Role, examples: int) -> None:
    with Browser(create_app(peopled), HERE, raise_server_exceptions=False) as client:
        owner = peopled.accounts.add("owner", role, PASSWORD)
        entries = list(peopled.inventory.all().values())

        def begin() -> dict[str, str]:
            """Undo what requests have undone: a token may revoke itself, and clusters may be removed."""
            peopled.inventory.add(*entries, replace=True)
            return {"Authorization": f"Bearer {peopled.accounts.make_token(owner, 'script', role, None)[1]}"}

        token = begin()
        description = client.get("/api/v1/openapi.json", headers=token).json()
        schema = schemathesis.openapi.from_dict(description)
        schema.config.generation.update(modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
        statuses: Counter[int] = Counter()
        for result in schema.get_all_operations():
            assert isinstance(result, Ok)
            operation = result.ok()
            token = begin()

            _ask_all(client, operation, token, EXAMPLES or examples, statuses)
        assert statuses[200] > statuses[401], statuses
        failed = [one for one in peopled.jobs.table.all() if "trustbridge itself failed" in one.error]
    assert not failed, failed


def _ask_all(
    client: Browser,
    operation: schemathesis.APIOperation[Any, Any, Any, Any],
    token: dict[str, str],
    examples: int,
    statuses: Counter[int],
) -> None:
    """Make requests of one operation."""

    @settings(
        max_examples=examples,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(), known=st.booleans())
    def asked(case: schemathesis.Case[Any], known: bool) -> None:
        if known:
            name_known(case, operation.path)
        sent = requests.Request(**REQUESTS_TRANSPORT.serialize_case(case, base_url=HERE)).prepare()
        headers = {name: value for name, value in sent.headers.items() if name != "Content-Length"} | token
        answer = client.request(sent.method or "", sent.url or "", content=sent.body, headers=headers)
        case.validate_response(answer, checks=[not_a_server_error])
        statuses[answer.status_code] += 1

    asked()


def name_known(case: schemathesis.Case[Any], path: str) -> None:
    """Have a request name what there is."""
    of_path = {"name": "source" if path.startswith("/api/v1/clusters") else "move"}
    for part, known in ((case.path_parameters, KNOWN | of_path), (case.query, KNOWN), (case.body, KNOWN)):
        if isinstance(part, dict):
            for key in known.keys() & part.keys():
                part[key] = known[key]
