"""axe-core, Deque's rules of accessibility, over a page as it is shown."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any, Final

from playwright.sync_api import Page

#: What is found but does not keep anybody from using the page.
_SLIGHT: Final = ("minor", "moderate")


@cache
def _source() -> str:
    return files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")


def serious(page: Page, *rules: str) -> list[str]:
    """What is serious or critical: rule, what is wrong, and where. `rules`: those alone, else all."""
    if not page.evaluate("typeof axe !== 'undefined'"):
        page.evaluate(_source())
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if rules:
        options["runOnly"] = {"type": "rule", "values": list(rules)}
    found: dict[str, Any] = page.evaluate("options => axe.run(document, options)", options)
    return [
        f"{one['id']} ({one['impact']}): {one['help']}: {node['html'][:160]} {node.get('failureSummary', '')[:300]}"
        for one in found["violations"]
        if one["impact"] not in _SLIGHT
        for node in one["nodes"][:3]
    ]
