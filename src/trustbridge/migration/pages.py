"""Pages that a person keeps: one HTML file each, from a template, with nothing to load and everything escaped.

All stand on `templates/page.html`. Names come from clusters, certificates and phones of others: escaping is always on,
whatever a template is called, and what is not there is an error rather than an empty place.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from trustbridge import __version__
from trustbridge.migration.reportwords import span


def page(template: str, **values: Any) -> str:
    """A page; the program's version is known to each."""
    return _environment().get_template(template).render(version=__version__, **values)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("trustbridge.migration", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"fingerprint": _grouped, "span": span, "moment": _moment, "coded": _coded}
    return environment


def _grouped(digits: str) -> str:
    """A fingerprint in groups of eight digits, which people compare more easily."""
    return " ".join(digits[at : at + 8] for at in range(0, len(digits), 8))


def _moment(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%d %H:%M:%S}"


def _coded(words: str) -> Markup:
    """Words with what stands between backticks as code; all of it escaped."""
    parts = [
        f"<code>{escape(part)}</code>" if place % 2 else escape(part) for place, part in enumerate(words.split("`"))
    ]
    return Markup("").join(Markup(part) for part in parts)  # noqa: S704  each part was escaped above
