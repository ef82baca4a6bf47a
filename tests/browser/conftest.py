"""Debian's Chromium, driven by Playwright. A module has one browser, one console, and one lab where it needs one.

Playwright keeps an event loop in this thread while it runs, so that a browser never outlives its module: tests of
others run loops of their own.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright
from tests.browser.served import Console
from tests.browser.windows import PATIENCE_MS, Windows
from tests.e2e.conftest import _light, prepared

from trustbridge.storage.people import Role

__all__ = ["_light", "prepared"]
CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's; as root it wants no sandbox of its own."""
    if not CHROMIUM.exists():
        pytest.skip("Debian's package chromium is not installed")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The console's state folder."""
    return tmp_path_factory.mktemp("console")


@pytest.fixture(scope="module")
def console(state: Path) -> Iterator[Console]:
    """A console where one of each role is known; modules that need a lab have their own."""
    console = Console(state)
    console.people(*Role)
    with console:
        yield console


_FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember that a test has failed: what its windows show is kept then."""
    report = yield
    item.stash[_FAILED] = item.stash.get(_FAILED, False) or report.failed
    return report


@pytest.fixture
def windows(request: pytest.FixtureRequest, chromium: Browser, console: Console, tmp_path: Path) -> Iterator[Windows]:
    """Windows at the console; their pages must not complain. Where the test fails, their pictures are in its folder."""
    found = Windows(chromium, console)
    yield found
    if request.node.stash.get(_FAILED, False):
        print("what the windows showed:", *found.pictures(tmp_path), console.log[-3000:], sep="\n")
    found.close()
