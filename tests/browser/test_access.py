"""Who gets in, and what becomes of who does not: in a real browser."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import expect
from sqlalchemy import update
from tests.browser.served import Console
from tests.browser.windows import Windows, sign_in
from tests.console.desks import PASSWORD

from trustbridge.console.words import LANGUAGES
from trustbridge.storage.audit import Audit, AuditFilter, AuditRecord
from trustbridge.storage.database import open_database
from trustbridge.storage.models import SignedIn


def age_sessions(console: Console, minutes: int) -> None:
    """As if nobody had used their session for so long."""
    engine = open_database("", console.state)
    then = datetime.now(UTC) - timedelta(minutes=minutes)
    with engine.begin() as connection:
        connection.execute(update(SignedIn).values(created_at=then, seen_at=then))
    engine.dispose()


def test_a_session_that_ended_in_the_middle_of_a_form_comes_back_to_it(windows: Windows, console: Console) -> None:
    page = windows.open("operator")
    page.goto("/account")
    page.get_by_label("Days it holds").fill("7")
    page.locator("#tokens-title ~ form #f-name").fill("nightly")
    age_sessions(console, 31)
    page.get_by_role("button", name="Make a token").click()
    expect(page).to_have_url(f"{console.url}/login?next=/account")
    page.get_by_label("Name").fill("operator")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{console.url}/account")
    # Nothing was done without a session.
    expect(page.get_by_role("cell", name="nightly")).to_have_count(0)


def test_a_page_that_refreshes_itself_leaves_when_its_session_has_ended(windows: Windows, console: Console) -> None:
    page = windows.open("viewer")
    page.goto("/")
    age_sessions(console, 60 * 13)
    expect(page).to_have_url(f"{console.url}/login")


def test_a_form_that_is_not_of_this_session_is_refused_and_written_down(windows: Windows, console: Console) -> None:
    windows.expect("status of 403")
    page = windows.open("operator")
    page.goto("/account")
    page.evaluate("""for (const one of document.querySelectorAll("input[name=csrf]")) one.value = "x".repeat(64)""")
    page.locator("#tokens-title ~ form #f-name").fill("forged")
    page.get_by_role("button", name="Make a token").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Not allowed")
    expect(page.locator("main")).to_contain_text("The form is not one of this session")
    assert newest(console).outcome == "refused"
    page.goto("/account")
    expect(page.get_by_role("cell", name="forged")).to_have_count(0)


def test_another_site_cannot_have_the_browser_act(windows: Windows, console: Console) -> None:
    """A page of another origin posts with the browser that has signed in here: the cookie does not go along."""
    page = windows.open("operator")
    elsewhere = "https://elsewhere.example/"
    body = f"<form method=post action={console.url}/account/tokens><input name=name value=forged><button>Go</button>"
    page.route(elsewhere, lambda route: route.fulfill(content_type="text/html", body=body))
    page.goto(elsewhere)
    page.get_by_role("button").click()
    expect(page).to_have_url(f"{console.url}/login")
    page.goto("/account")
    expect(page.get_by_role("cell", name="forged")).to_have_count(0)


@pytest.mark.parametrize("path", ["/", "/jobs", "/audit"])
def test_without_a_session_one_signs_in_and_is_where_one_wanted_to_be(windows: Windows, path: str) -> None:
    page = windows.open()
    sign_in(page, "viewer", path)
    assert page.url.endswith(path)


def test_the_language_is_chosen_on_the_page_of_ones_account(windows: Windows) -> None:
    page = windows.open("viewer")
    page.goto("/account")
    page.get_by_label("Language", exact=True).select_option(label=LANGUAGES["fr"])
    page.locator("form[action='/account/preferences'] button").click()
    expect(page.locator("html")).to_have_attribute("lang", "fr")
    expect(page.get_by_role("navigation").get_by_text("Gestion des certificats en bloc")).to_be_visible()
    page.goto("/account")
    page.get_by_label("Langue", exact=True).select_option("")
    page.locator("form[action='/account/preferences'] button").click()
    expect(page.locator("html")).to_have_attribute("lang", "en")


def newest(console: Console) -> AuditRecord:
    engine = open_database("", console.state)
    found = Audit(engine).entries(AuditFilter())[0]
    engine.dispose()
    return found
