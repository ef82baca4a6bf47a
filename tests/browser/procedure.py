"""The whole procedure at the console, by clicking: from an empty console to phones that have moved, and a wave back.

`steps` is a generator: it clicks, looks whether what should be there is there, and gives in words what was done. The
test runs through it; `tools/console-pictures` takes a picture at each step, with the words below it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from playwright.sync_api import Locator, Page, expect
from tests.browser.served import Console
from tests.console.desks import PASSWORD
from tests.e2e.test_cluster import credentials_of, entry_of
from tests.lab.prepared import LiveLab

from trustbridge.lab.cluster import Cluster as LabCluster

#: What is typed into the form of a new campaign: as many phones as a lab has, in a minute instead of a night.
CAMPAIGN: Final = {
    "name": "first-floor",
    "pilot": "3",
    "wave_size": "7",
    "resets_a_minute": "1000",
    "settle": "2",
    "look": "2",
    "lease": "10",
    "doubt": "15",
}


def button(page: Page | Locator, name: str) -> Locator:
    """A button or a link of exactly that name."""
    return page.get_by_role("button", name=name, exact=True).or_(page.get_by_role("link", name=name, exact=True))


def steps(page: Page, console: Console, live: LiveLab) -> Iterator[str]:
    """Everything, from the address that the first start prints."""
    yield from set_up(page, console)
    for cluster in (live.source, live.destination):
        yield from add(page, cluster)
    yield from save_server(page, live)
    yield from bulk(page)
    yield from prove(page)
    yield from plan(page, live)
    yield from move(page, live)
    yield from bring_back(page, live)
    page.goto("/audit")
    expect(page.get_by_role("cell", name="campaign.rollback").first).to_be_visible()
    yield "The audit tells who did what, and when."


def set_up(page: Page, console: Console) -> Iterator[str]:
    """The first administrator."""
    page.goto(console.setup_url)
    page.get_by_label("Name").fill("anna")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password once more").fill(PASSWORD)
    yield "The first start prints an address with a one-time token: the first administrator is made there."
    button(page, "Set up").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    yield "The console is empty: no cluster is known, nothing was done yet."


def add(page: Page, cluster: LabCluster) -> Iterator[str]:
    """A cluster of the lab."""
    entry, credentials = entry_of(cluster), credentials_of(cluster)
    page.goto("/clusters")
    button(page, "Add a cluster").click()
    page.get_by_label("Name", exact=True).fill(entry.name)
    page.get_by_label("Publisher", exact=True).fill(entry.publisher)
    page.get_by_label("OS administrator", exact=True).fill(entry.os_user)
    page.get_by_label("Application user", exact=True).fill(entry.app_user)
    assert credentials.os is not None
    assert credentials.app is not None
    page.get_by_label("Password of the OS administrator").fill(credentials.os.reveal())
    page.get_by_label("Password of the application user").fill(credentials.app.reveal())
    yield f"A cluster is named: {entry.name}. Its passwords are kept on the server and never shown again."
    page.get_by_text("Ports and addresses").click()
    for port in ("ssh_port", "https_port", "tvs_port", "http_port", "tftp_port"):
        page.locator(f"#f-{port}").fill(str(getattr(entry, port)))
    page.get_by_label("Addresses of nodes").fill("\n".join(f"{name}={at}" for name, at in entry.node_addresses))
    button(page, "Save").click()
    expect(page.locator("#messages")).to_contain_text(f"{entry.name} is known now")
    yield f"{entry.name} is known. It can be read, and each interface be tried."


def save_server(page: Page, live: LiveLab) -> Iterator[str]:
    """The SFTP server: saved, tried, and told to the publishers."""
    server = live.lab.sftp_settings()
    button(page.get_by_role("navigation"), "Bulk Certificate Management").click()
    page.get_by_label("IP address or host name").fill(server.host)
    page.get_by_label("Port").fill(str(server.port))
    page.get_by_label("User ID").fill(server.username)
    page.get_by_label("Password").fill(server.password or "")
    page.get_by_label("Directory").fill(server.directory)
    yield "Bulk Certificate Management: the SFTP server, the same for both clusters."
    button(page, "Save").click()
    expect(page.locator("#messages")).to_contain_text("The SFTP settings are saved")
    button(page, "Test").click()
    expect(page.get_by_text("Nobody has confirmed this server's host key yet")).to_be_visible()
    yield "Test: the server's host key is shown, to be compared, before any password is sent."
    button(page, "It is the same: pin it, and test").click()
    expect(page.get_by_text("The SFTP server does all that publishers need.")).to_be_visible()
    yield "The SFTP server does all that publishers need. Consolidate and Import say why they can't work yet."


def bulk(page: Page) -> Iterator[str]:
    """Export at both clusters, Consolidate once, Import at both; the list refreshes itself."""
    page.goto("/bulk")
    # The publishers are being told the server's settings; nothing else of theirs begins meanwhile.
    expect(page.locator("details[id^=job-]")).to_have_count(2)
    page.goto("/bulk")
    button(page, "Export").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Certificate type")).to_have_value("all")
    yield "Export asks for the certificate type, All first, and for the clusters: both."
    button(dialog, "Export").click()
    files = page.locator("#files tbody tr")
    expect(button(page, "Consolidate")).to_be_visible()
    expect(page.locator("details[id^=job-] summary", has_text="Export")).to_have_count(2)
    expect(files.filter(has_text="TFTP")).not_to_have_count(0)
    page.locator("#running").scroll_into_view_if_needed()
    yield "Both have exported: a file a node and type, and what is inside. Consolidate can work now."
    button(page, "Consolidate").click()
    yield "Consolidate: on one publisher, for all clusters."
    button(dialog, "Consolidate").click()
    expect(page.locator("details[id^=job-] summary", has_text="Consolidate")).to_have_count(1)
    expect(button(page, "Import")).to_be_visible()
    expect(page.locator(".why", has_text="Import")).to_have_count(0)
    yield "Everything is in one file a type. Import can work now."
    button(page, "Import").click()
    dialog.get_by_label("I know: from release 12.5 on").check()
    yield "Import states its consequence: it may restart phones."
    button(dialog, "Import").click()
    imports = page.locator("details[id^=job-] summary", has_text="Import")
    expect(imports).to_have_count(2)
    for place in range(2):
        expect(imports.nth(place)).to_contain_text("done")
    page.locator("#ended-title").scroll_into_view_if_needed()
    yield "Both have imported: a line a node and trust store."


def prove(page: Page) -> Iterator[str]:
    """Who vouches for whom: green in both directions."""
    button(page.get_by_role("navigation").first, "Clusters").click()
    button(page, "Who vouches for whom").click()
    for name in ("source", "destination"):
        page.get_by_label(name, exact=True).check()
    button(page, "Ask every TVS").click()
    answers = page.locator(".matrix td a.answer")
    expect(answers).not_to_have_count(0)
    expect(page.locator(".matrix td a.answer.yes")).to_have_count(answers.count())
    expect(page.locator(".direction")).to_have_count(2)
    yield "Every TVS was asked, as a phone asks it: each vouches for the other cluster, there and back."
    answers.first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    expect(page.locator("#cell-body dl, #cell-body p").first).to_be_visible()
    yield "Each answer explains itself."
    button(page.get_by_role("dialog"), "Close").click()


def plan(page: Page, live: LiveLab) -> Iterator[str]:
    """A campaign: foretold, and created."""
    button(page.get_by_role("navigation").first, "Campaigns").click()
    button(page, "New campaign").click()
    page.get_by_text("Limits and rules").click()
    for name, value in (CAMPAIGN | {"phone_port": str(live.lab.ports.web)}).items():
        page.locator(f"#f-{name}").fill(value)
    page.get_by_label("Source", exact=True).select_option("source")
    page.get_by_label("Destination", exact=True).select_option("destination")
    page.get_by_role("heading", level=1).scroll_into_view_if_needed()
    yield "A campaign is planned: which phones, in which waves, when, and within which limits."
    button(page, "Preview").click()
    expect(button(page, "Create the campaign")).to_be_visible()
    count = len(live.phones)
    expect(page.locator("main")).to_contain_text(f"{count} phones")
    yield f"What it comes to: {count} phones, each foretold from its own page. Nothing is kept yet."
    button(page, "Create the campaign").click()
    expect(page.get_by_text("This campaign is planned.")).to_be_visible()
    yield "The campaign is there. Nothing happens before it is started."


def move(page: Page, live: LiveLab) -> Iterator[str]:
    """Started, once option 150 names the destination; and watched until every phone is there."""
    name = CAMPAIGN["name"]
    button(page, "Start…").click()
    live.point_at("destination")
    page.get_by_label("DHCP option 150 of these phones names destination now.").check()
    yield "Start: the DHCP administrator has changed option 150; both clusters are checked once more."
    button(page, "Check and start").click()
    button(page, "To the campaign").click()
    badge = page.locator(".state .badge")
    expect(badge).to_contain_text(re.compile("running|finished"))  # on a machine that is busy, it may be over by now
    expect(page.get_by_role("heading", name="Phones by state over time")).to_be_visible()
    yield "It runs, the pilot first. The page refreshes itself."
    expect(page.get_by_role("list", name="Phones by state")).to_contain_text("moved")
    yield "The pilot has moved; the next wave begins by itself, unless too many phones fail."
    expect(badge).to_contain_text("finished")
    assert set(live.whereabouts()) == {"destination"}
    yield "Every phone has moved, and nobody has touched one."
    button(page.locator(".actions"), "Phones").click()
    rows = page.locator("main table tbody tr")
    expect(rows).to_have_count(len(live.phones))
    expect(rows.filter(has_text="moved")).to_have_count(len(live.phones))
    yield "The phones of the campaign."
    rows.first.get_by_role("link").first.click()
    expect(page.locator("main")).to_contain_text(name)
    yield "A phone, with all that happened to it."


def bring_back(page: Page, live: LiveLab) -> Iterator[str]:
    """The pilot goes back, after its consequence was stated."""
    page.goto(f"/campaigns/{CAMPAIGN['name']}")
    button(page, "Roll back…").click()
    page.get_by_label("What goes back").select_option("pilot")
    yield "Roll back: one wave, the pilot."
    button(page, "State the consequence").click()
    expect(page.get_by_role("heading", name="The consequence")).to_be_visible()
    expect(page.locator(".consequence")).to_contain_text("3 phones go back to source")
    live.point_at("source")
    page.get_by_label("DHCP option 150 of these phones names source now.").check()
    yield "The consequence is stated, and the way back foretold, before anything is reset."
    button(page, "Bring these phones back").click()
    expect(page.locator("#messages")).to_contain_text("3 phones go back.")
    groups = page.locator("ul.counts")
    expect(groups).not_to_contain_text("10 moved")
    yield "Three phones are on their way back."
    expect(groups).to_contain_text("3 rolled back")
    where = live.whereabouts()
    assert (where.count("source"), where.count("destination")) == (3, len(live.phones) - 3)
    yield "The pilot is back at its old cluster; the others stay where they are."
