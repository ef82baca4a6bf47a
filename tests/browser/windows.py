"""Windows of a browser at the console. What a page's console or its content policy complains of, fails the test."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect
from tests.browser.served import Console
from tests.console.desks import PASSWORD

#: Milliseconds that whatever is waited for may take on a busy machine.
PATIENCE_MS: Final = 60_000
#: Sizes of a window: on a desk, and on a small phone.
DESK: Final = (1280, 860)
PHONE: Final = (360, 740)

#: Reports of the content policy come to the page itself; they are kept where the test finds them.
_WATCH_POLICY: Final = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
"""


class Windows:
    """Opens windows, each with its own cookies.

    Attributes:
        complaints: what pages have said in their console as an error, by window and address.
    """

    def __init__(self, chromium: Browser, console: Console) -> None:
        self._chromium = chromium
        self._console = console
        self._contexts: list[BrowserContext] = []
        self._expected: list[re.Pattern[str]] = []
        self.complaints: list[str] = []

    def open(
        self,
        person: str = "",
        *,
        size: tuple[int, int] = DESK,
        language: str = "en-GB",
        scripts: bool = True,
        colours: Literal["light", "dark"] = "light",
        **more: Any,
    ) -> Page:
        """A window. `person` has signed in there; without one it is empty."""
        context = self._chromium.new_context(
            base_url=self._console.url,
            ignore_https_errors=True,
            viewport={"width": size[0], "height": size[1]},
            locale=language,
            timezone_id="Europe/Paris",
            java_script_enabled=scripts,
            color_scheme=colours,
            **more,
        )
        context.set_default_timeout(PATIENCE_MS)
        context.add_init_script(_WATCH_POLICY)
        self._contexts.append(context)
        page = context.new_page()
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(f"{page.url}: {error}"))
        if person:
            sign_in(page, person)
        return page

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.location.get('url', '')}: {message.text}")

    def expect(self, words: str) -> None:
        """Complaints that this test is about: a pattern."""
        self._expected.append(re.compile(words))

    def pictures(self, folder: Path) -> list[Path]:
        """A picture of each page that is open."""
        made: list[Path] = []
        for page in (page for context in self._contexts for page in context.pages):
            made.append(folder / f"window-{len(made)}.png")
            page.screenshot(path=made[-1], full_page=True)
        return made

    def close(self) -> None:
        """Close them all; nothing may have been complained of that was not expected."""
        for context in self._contexts:
            context.close()
        left = [one for one in self.complaints if not any(words.search(one) for words in self._expected)]
        assert not left, left


Open = Callable[..., Page]


def sign_in(page: Page, person: str, path: str = "/login") -> None:
    """Sign in by the form."""
    page.goto(path)
    page.locator("#f-name").fill(person)
    page.locator("#f-password").fill(PASSWORD)
    page.locator("main button.main").click()
    expect(page.locator("header .who")).to_contain_text(person)
