"""`trustbridge devices` in a lab of two releases: compared, created, killed in between, taken back, written as CSV."""

from __future__ import annotations

import csv
import json
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.site import Site
from tests.e2e.test_cluster import credentials_of, entry_of
from tests.lab.prepared import LiveLab, phones
from typer.testing import CliRunner, Result

from trustbridge.cli import app
from trustbridge.cucm import axldevices
from trustbridge.cucm.clusterdevices import ClusterDevices
from trustbridge.cucm.ris import Budget
from trustbridge.lab.cluster import Device
from trustbridge.lab.definition import GroupDefinition, ObjectsDefinition
from trustbridge.lab.phonedetails import PhoneDetails
from trustbridge.services.ris import RisLimits
from trustbridge.settings import load
from trustbridge.storage.inventory import Inventory
from trustbridge.storage.passwordfile import PasswordFile

MAPS = ("--map", "device-pool:Warsaw=WAW", "--map", "location:Warsaw office=WAW office")
LINES = ("--lines", "--map", "partition:Internal=Internal-WAW", "--map", "css:National=National-WAW")
WARSAW, PLAIN = 3, 2


@pytest.fixture(autouse=True)
def _uncounted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls of RisPort70 are not counted: a minute's allowance is a minute's wait."""

    async def spend(budget: Budget) -> None:
        return None

    monkeypatch.setattr(Budget, "spend", spend)
    monkeypatch.setattr(RisLimits, "count", lambda limits: None)


@pytest.fixture
def live(site: Site) -> Iterator[LiveLab]:
    """Five phones at a source of release 11.5, three of them in Warsaw with lines; a destination of release 14 that
    knows none, and has other names for Warsaw."""
    source = {
        "groups": (
            GroupDefinition(name="Default", members=("src-sub1", "src-pub")),
            GroupDefinition(name="Warsaw", members=("src-sub1", "src-pub")),
        ),
        "objects": ObjectsDefinition(
            locations=("Warsaw office",), partitions=("Internal",), calling_search_spaces=("National",)
        ),
    }
    destination = {
        "knows": "own",
        "groups": (
            GroupDefinition(name="Default", members=("dst-sub1", "dst-pub")),
            GroupDefinition(name="WAW", members=("dst-sub1", "dst-pub")),
        ),
        "objects": ObjectsDefinition(
            locations=("WAW office",), partitions=("Internal-WAW",), calling_search_spaces=("National-WAW",)
        ),
    }
    warsaw = phones(
        WARSAW,
        group="Warsaw",
        location="Warsaw office",
        css="National",
        partition="Internal",
        first_number=4001,
        security="encrypted",
    )
    with site.up(
        warsaw, phones(PLAIN, model="CP-7841"), exchanged=True, source=source, destination=destination
    ) as live:
        remember(live)
        yield live


def remember(live: LiveLab) -> None:
    state = load().state_folder
    for cluster in live.lab.clusters.values():
        Inventory(state).add(entry_of(cluster), replace=True)
        PasswordFile(state).keep(cluster.name, credentials_of(cluster))


def command(verb: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["devices", verb, "source", "destination", *arguments], catch_exceptions=True)


def did(verb: str, *arguments: str, code: int = 0) -> Any:
    done = command(verb, *arguments, "--json")
    assert done.exit_code == code, (done.stdout, done.stderr, done.exception)
    return json.loads(done.stdout)


def journal() -> Path:
    return load().state_folder / "devices" / "source+destination" / "journal.jsonl"


def test_what_is_missing_is_told_with_what_stands_against_it(live: LiveLab) -> None:
    names = [phone.name for phone in live.phones]
    found = did("compare", code=1)
    assert found["counts"] == {"known": 0, "differs": 0, "missing": PLAIN, "blocked": WARSAW}
    by_name = {phone["name"]: phone for phone in found["phones"]}
    assert by_name[names[0]]["against"] == [
        "no device pool Warsaw",
        "no location Warsaw office",
        "no calling search space National",
    ]
    assert by_name[names[-1]]["against"] == []
    (row,) = did("compare", "--phone", names[0], *MAPS, "--map", "css:National=National-WAW", code=1)["phones"]
    assert (row["standing"], row["wanted"]["device_pool"]) == ("missing", "WAW")
    assert "created without its 1 line" in row["notes"]
    assert any("no partition Internal" in note for note in row["notes"])
    (row,) = did("compare", "--phone", names[0], *MAPS, *LINES, code=1)["phones"]
    assert (row["standing"], row["wanted"]["lines"][0]["partition"]) == ("missing", "Internal-WAW")
    # Selections: by pool, model, a list, a query.
    query = "select d.name from device d join devicepool p on d.fkdevicepool = p.pkid where p.name like 'Warsaw%'"
    for selection in (("--device-pool", "Warsaw"), ("--model", "CP-8841"), ("--sql", query)):
        chosen = did("compare", *selection, code=1)["phones"]
        assert [phone["name"] for phone in chosen] == names[:WARSAW], selection
    shown = command("compare")
    assert shown.exit_code == 1
    assert "no device pool Warsaw" in shown.stdout


def test_what_can_not_be_meant_is_told(live: LiveLab) -> None:
    for arguments, words in (
        (("--sql", "delete from device"), "this query is not sent"),
        (("--sql", "select name from device where name='x'"), "gives no phones"),
        (("--sql", "select pkid, description from device"), "none of them is called name"),
        (("--map", "Warsaw=WAW"), "KIND:OLD=NEW"),
        (("--phone", "SEPX*"), "none of 5 phones"),
    ):
        done = command("compare", *arguments)
        assert done.exit_code == 1
        assert words in str(done.exception), arguments
    done = command("compare", "--map", "location:Nowhere=Somewhere")
    assert "no phone has a use for location Nowhere" in done.stderr


def test_created_killed_again_and_taken_back(live: LiveLab, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [phone.name for phone in live.phones]
    arguments = (*MAPS, *LINES, "--yes")
    add, sent = axldevices.add, []

    class Killed(BaseException):
        pass

    async def killed(axl: Any, device: Any) -> bool:
        """The second phone is created, and the process is gone before it hears that."""
        sent.append(device.name)
        done = await add(axl, device)
        if len(sent) == 2:
            raise Killed
        return done

    monkeypatch.setattr(axldevices, "add", killed)
    with pytest.raises(Killed):
        CliRunner().invoke(app, ["devices", "create", "source", "destination", *arguments], catch_exceptions=False)
    assert sent == names[:2]
    assert list(live.destination.devices) == names[:2]
    assert stat.S_IMODE(journal().stat().st_mode) == 0o600
    with journal().open("ab") as file:
        file.write(b'{"format": 1, "pho')  # cut off

    done = did("create", *arguments)
    assert sent == names  # none twice
    assert (done["settled"], done["done"], done["refused"]) == ([names[1]], names[2:], {})
    device = live.destination.devices[names[0]]
    assert (device.model, device.group, device.security_mode) == ("CP-8841", "WAW", 3)
    details = live.destination.details.of(names[0])
    assert details.fields == {"locationName": "WAW office", "callingSearchSpaceName": "National-WAW"}
    assert [(line["pattern"], line["routePartitionName"]) for line in details.lines] == [("4001", "Internal-WAW")]
    again = did("create", *arguments)
    assert (again["done"], again["counts"]["known"], sent) == ([], 5, names)
    assert did("compare", *MAPS)["counts"] == {"known": 5, "differs": 0, "missing": 0, "blocked": 0}

    # A phone that was created moves there.
    live.point_at("destination")
    live.boot(live.phones[0])
    assert live.whereabouts()[0] == "destination"
    # One is changed by hand, one is removed by hand.
    live.call(lambda: live.destination.details.keep({names[1]: PhoneDetails({"locationName": "WAW office"})}, {}))
    live.call(lambda: live.destination.remove_devices([names[2]]))
    undone = did("undo", "--yes", code=1)
    assert undone["done"] == names[3:]
    assert undone["before"] == [names[2]]
    assert undone["refused"].keys() == set(names[:2])
    assert "registered" in undone["refused"][names[0]]
    assert "changed since it was created: calling search space, lines" in undone["refused"][names[1]]
    assert undone["numbers"] == [f"400{n} in Internal-WAW" for n in (1, 2, 3)]
    assert list(live.destination.devices) == names[:2]
    # What was removed can be created anew; its number is still there, and ours.
    assert did("create", *arguments)["done"] == names[2:]


def test_a_process_that_is_killed_leaves_nothing_undone_and_nothing_twice(site: Site) -> None:
    count = 30
    with site.up(phones(count), destination={"knows": "own"}) as live:
        remember(live)
        words = [sys.executable, "-m", "trustbridge", "devices", "create", "source", "destination", "--yes"]
        running = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            deadline = time.monotonic() + 60
            while not (journal().exists() and journal().read_bytes().count(b'"created"') >= 4):
                assert running.poll() is None, running.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.005)
        finally:
            running.kill()
            running.communicate()
        before = len(live.destination.devices)
        assert 4 <= before < count
        done = did("create", "--yes")
        assert len(done["done"]) + before == count
        assert list(live.destination.devices) == [phone.name for phone in live.phones]
        assert len(did("undo", "--yes")["done"]) == count
        assert live.destination.devices == {}


def test_only_what_was_created_here_is_ever_removed(live: LiveLab, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [phone.name for phone in live.phones]
    device = live.source.devices[names[-1]]
    real = ClusterDevices.add_phone

    async def slower(cluster: ClusterDevices, wanted: Any) -> bool | None:
        if wanted.name == names[-1]:  # somebody else is faster
            live.call(lambda: live.destination.add_devices([device]))
        return await real(cluster, wanted)

    monkeypatch.setattr(ClusterDevices, "add_phone", slower)
    done = did("create", "--model", "CP-7841", "--yes")
    assert (done["done"], done["before"]) == ([names[-2]], [names[-1]])
    assert did("undo", "--yes")["done"] == [names[-2]]
    assert list(live.destination.devices) == [names[-1]]
    assert command("undo", "--yes").exit_code == 0


def test_nothing_is_created_unasked_and_a_taken_number_stands_against_lines(live: LiveLab) -> None:
    assert "nobody can be asked" in str(command("create").exception)
    assert "nothing was created" in str(command("undo", "--yes").exception)
    number = {"pattern": "4002", "routePartitionName": "Internal-WAW"}
    live.call(lambda: live.destination.details.keep({}, {("4002", "Internal-WAW"): number}))
    names = [phone.name for phone in live.phones]
    done = did("create", "--device-pool", "Warsaw", *MAPS, *LINES, "--yes", code=1)
    assert done["done"] == [names[0], names[2]]
    assert done["blocked"] == {names[1]: "directory number 4002 in Internal-WAW is there already"}
    shown = command("create", *MAPS, "--map", "css:National=National-WAW", "--yes")
    assert shown.exit_code == 0
    assert "Not carried: lines, without --lines; speed dials" in shown.stdout
    assert "device pool: Warsaw -> WAW" in shown.stdout
    assert "use for" not in shown.stderr
    assert live.destination.details.of(names[1]).lines == ()
    # What differs where it matters is told.
    other = Device(names[0], "CP-8861", 1, "WAW")
    live.call(lambda: live.destination.add_devices([other]))
    found = did("compare", "--phone", names[0])
    assert (found["counts"]["differs"], found["phones"][0]["differences"]) == (
        1,
        [
            "model: Cisco 8841 at the source, Cisco 8861 at the destination",
            "security mode: Encrypted at the source, Non Secure at the destination",
        ],
    )


def test_csv_for_the_vendors_tool(live: LiveLab, tmp_path: Path) -> None:
    names = [phone.name for phone in live.phones]
    out = tmp_path / "phones.csv"
    done = command("csv", "--out", str(out), *MAPS, *LINES)
    assert done.exit_code == 0, done.output
    assert "Device Pool: WAW" in done.stdout
    assert "Line 1, Route Partition: Internal-WAW" in done.stdout
    rows = [list(csv.reader((tmp_path / f"phones-{n}.csv").open())) for n in (1, 2)]
    assert [row[0] for row in rows[0][1:]] == [name.removeprefix("SEP") for name in names[:WARSAW]]
    assert rows[0][0][:7] == [
        "MAC ADDRESS",
        "DESCRIPTION",
        "LOCATION",
        "USER ID",
        "DIRECTORY NUMBER 1",
        "DISPLAY 1",
        "LINE TEXT LABEL 1",
    ]
    assert rows[0][1][2:7] == ["WAW office", "", "4001", names[0], "4001"]
    assert rows[1][0] == ["MAC ADDRESS", "DESCRIPTION", "LOCATION", "USER ID"]
    assert len(rows[1]) == 1 + PLAIN
    assert command("csv", "--out", str(out), "--device-pool", "Warsaw").exit_code == 1  # nothing can be written
