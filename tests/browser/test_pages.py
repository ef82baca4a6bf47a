"""Each page in a real browser: legible to everybody, on a phone, in the dark; and nothing complains in its console."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import pytest
from playwright.sync_api import Page, expect
from tests.browser.axe import serious
from tests.browser.furnished import Furnished, furnished
from tests.browser.served import Console
from tests.browser.windows import DESK, PHONE, Windows
from tests.lab.prepared import Prepared

from trustbridge.console.words import catalogue
from trustbridge.storage.audit import Audit, AuditFilter, Outcome
from trustbridge.storage.database import open_database

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def place(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Furnished]:
    with furnished(prepared, tmp_path_factory.mktemp("furnished")) as found:
        yield found


@pytest.fixture(scope="module")
def console(place: Furnished) -> Console:
    return place.console


#: How a page is looked at: window, dark, and the rules of axe; none: all of them.
LOOKS: Final[tuple[tuple[tuple[int, int], bool, tuple[str, ...]], ...]] = (
    (DESK, False, ()),
    (PHONE, False, ("scrollable-region-focusable", "target-size", "color-contrast")),
    (DESK, True, ("color-contrast",)),
)
#: What a page calls its parts and what one does there.
NAMES: Final = "title, h1, h2, h3, nav a, button, .button, label, legend, caption, thead th, summary, dt, .badge"
#: Named by what is there, or by a standard.
SAME: Final = re.compile(
    r"TB\d+|SHA-256|PEM|JSON|ITLRecovery|\S*(Usage|Constraints|KeyIdentifier)|(\S+ · )*trustbridge"
    r"|\S+ ↔ \S+( · trustbridge)?|(pilot|wave-\d+)(: [-–: \d]+)?|pilot-floor|source|destination|SEP[0-9A-F]{12}"
    r"|[a-z0-9-]+-(pub|sub1)|\S+_\S+|CAPF-\w+|/\S+|\S+\.\S+|[\W\d]+|administrator|viewer|operator",
    re.IGNORECASE,
)
#: What the product says of a phone is English in both, as on the command line.
PRODUCT: Final = frozenset({"registered at the source, and would move"})


def names(page: Page) -> set[str]:
    """The texts of headings, buttons, labels and the like."""
    found: list[str] = page.locator(NAMES).evaluate_all(
        "all => all.filter((one) => !one.closest('.finding')).map((one) => [...one.childNodes]"
        ".filter((node) => node.nodeType === 3).map((node) => node.textContent.trim()).filter(Boolean)).flat()"
    )
    return set(found)


def shown(page: Page, size: tuple[int, int], dark: bool) -> None:
    """The page as it is, in another window: no need to load it again."""
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.emulate_media(color_scheme="dark" if dark else "light")


def test_every_page_is_legible_to_everybody(windows: Windows, place: Furnished) -> None:
    """axe finds nothing serious, light and dark, on a desk and on a phone; nothing sticks out to the right; and what is
    called the same in French and in English is so on purpose."""
    assert place.forgotten() == []
    windows.expect("/there/is/no/such/page.* 404")
    page = windows.open("administrator", reduced_motion="reduce")  # colours change at once
    french = windows.open("administrator", language="fr-FR")
    same = {message.id for message in catalogue("fr") if message.id == message.string} | PRODUCT
    found: list[str] = []
    for path in place.pages:
        page.goto(path)
        if page.locator("main h1").count() != 1:
            found.append(f"{path}: no heading, or several")
        for size, dark, rules in LOOKS:
            shown(page, size, dark)
            found += [f"{path} at {size[0]}{' dark' if dark else ''}: {one}" for one in serious(page, *rules)]
            wide = page.evaluate("document.documentElement.scrollWidth")
            if wide > size[0]:
                found.append(f"{path} at {size[0]}: {wide} px wide")
        shown(page, DESK, dark=False)
        if not path.startswith(("/api", "/findings/")):  # the API's description, and findings, are English in both
            french.goto(path)
            assert french.locator("html").get_attribute("lang") == "fr"
            left = names(page) & names(french) - same
            found += [f"{path} in French: {one}" for one in left if not SAME.fullmatch(one)]
    assert not found, "\n".join(found)


def test_who_may_only_look_finds_nothing_to_act_with(windows: Windows, place: Furnished) -> None:
    windows.expect("status of 40[349]")
    page = windows.open("viewer")
    acting = []
    for path in place.pages:
        page.goto(path)
        forms = page.locator("form[method=post]").evaluate_all(
            "all => all.filter((one) => !one.closest('.finding')).map((one) => new URL(one.action).pathname)"
        )
        acting += [f"{path}: {one}" for one in forms if not one.startswith(("/account", "/logout"))]
    assert not acting, "\n".join(acting)
    # A form that was made by hand, with all that a form of this session brings.
    forged = """async (path) => (await fetch(path, {
        method: "POST",
        headers: {"X-CSRF-Token": JSON.parse(document.body.getAttribute("hx-headers"))["X-CSRF-Token"]},
        body: new URLSearchParams({wave: ""}),
    })).status"""
    page.goto("/campaigns/pilot-floor")
    assert page.evaluate(forged, "/campaigns/pilot-floor/rollback") == 403
    engine = open_database("", place.console.state)
    entry = Audit(engine).entries(AuditFilter())[0]
    engine.dispose()
    assert (entry.who, entry.outcome, entry.object) == ("viewer", Outcome.REFUSED, "/campaigns/pilot-floor/rollback")
    page.goto("/users")
    expect(page.get_by_role("heading", level=1)).to_have_text("Not allowed")


def test_everything_works_without_script(windows: Windows, place: Furnished) -> None:
    """Each page shows what it has; and one acts: every TVS is asked anew."""
    windows.expect("/there/is/no/such/page.* 404")
    page = windows.open("operator", scripts=False)
    for path in place.pages:
        if path not in ("/users", "/new-cluster", "/clusters/source/edit"):
            page.goto(path)
            assert page.locator("main h1").inner_text()
            assert page.locator("main").inner_text().count("\n") > 1, path
    page.goto("/bulk")
    page.get_by_role("link", name="Export", exact=True).click()  # a dialogue, with script
    expect(page.get_by_role("heading", level=1)).to_have_text("Export")
    page.goto("/trust/source+destination")
    asked = page.locator(".lead time").first.get_attribute("datetime")
    page.get_by_role("button", name="Ask again").click()
    expect(page).to_have_url(re.compile("/trust/"))
    for _ in range(500):
        page.goto("/trust/source+destination")
        if page.locator(".lead time").first.get_attribute("datetime") != asked:
            break
    else:
        raise AssertionError("the page does not show that they were asked again")
