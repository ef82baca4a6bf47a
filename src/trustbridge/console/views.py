"""Templates to answers.

    return page(request, "campaigns", campaigns=found)        templates/campaigns.html, which extends base.html
    return fragment(request, "campaigns/table", rows=rows)    a part of a page, for htmx
    return done(request, "/campaigns", _("%(name)s is paused.", name=name))   after a form: 303, and said there

Everything is escaped, and a value that a template lacks is an error. Templates know `_`, `ngettext`, the filters
`moment`, `clock`, `day`, `span` and `number`, and of the request: `person` (None before signing in), `csrf`,
`messages`, `nav`, `path`, `language`, `htmx`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from trustbridge import __version__
from trustbridge.console import words
from trustbridge.console.desk import Desk, Message
from trustbridge.console.guard import Person, safe_path
from trustbridge.console.words import N_
from trustbridge.storage.people import Role

HERE: Final = Path(__file__).parent
STATIC: Final = HERE / "static"

#: How a state looks: good, bad, warn, busy or idle. What is not here, is idle.
LOOKS: Final[dict[str, str]] = {
    "done": "good",
    "failed": "bad",
    "interrupted": "warn",
    "running": "busy",
    "refused": "bad",
    "planned": "idle",
    "paused": "warn",
    "halted": "bad",
    "finished": "good",
    "held": "idle",
    "under way": "busy",
    "skipped": "warn",
    "disabled": "warn",
    "active": "good",
}
#: States as they are called, for the catalogues.
STATES: Final = (
    N_("done"),
    N_("failed"),
    N_("interrupted"),
    N_("running"),
    N_("refused"),
    N_("planned"),
    N_("paused"),
    N_("halted"),
    N_("finished"),
    N_("held"),
    N_("under way"),
    N_("skipped"),
    N_("disabled"),
    N_("active"),
    N_("viewer"),
    N_("operator"),
    N_("administrator"),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A link of the navigation."""

    path: str
    text: str
    role: Role = Role.VIEWER


#: The navigation. A page that is not there yet is left out.
NAVIGATION: Final = (
    Entry("/", N_("Overview")),
    Entry("/bulk", N_("Bulk Certificate Management")),
    Entry("/clusters", N_("Clusters")),
    Entry("/campaigns", N_("Campaigns")),
    Entry("/jobs", N_("Jobs")),
    Entry("/audit", N_("Audit")),
    Entry("/users", N_("Users"), Role.ADMINISTRATOR),
)


def render(template: str, **values: Any) -> str:
    """A template without a request, as for `live`: it knows nothing of who asks."""
    return _environment().get_template(f"{template}.html").render(**values)


def page(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """A whole page."""
    return HTMLResponse(render(template, **(_of(request) | values)), status)


def fragment(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """A part of one; messages stay for the next page."""
    return HTMLResponse(render(template, **(_of(request, messages=False) | values)), status)


def done(request: Request, path: str, text: str = "", *, kind: str = "good", hint: str = "") -> Response:
    """After a form: go and look there, where `text` is said."""
    if text:
        say(request, text, kind=kind, hint=hint)
    where = safe_path(path)
    if request.headers.get("hx-request") == "true":
        return Response(status_code=204, headers={"HX-Redirect": where})
    return RedirectResponse(where, 303)


def say(request: Request, text: str, *, kind: str = "good", hint: str = "") -> None:
    """Have the next page of this session say something; `kind` is good, warn or bad."""
    person: Person | None = getattr(request.state, "person", None)
    if person is not None and person.session:
        desk: Desk = request.app.state.desk
        desk.say(person.session, Message(kind, str(text), str(hint)))


def static_url(name: str) -> str:
    """Where a file of `static/` is; another file of that name has another address."""
    return f"/static/{name}?v={_digest(name)}"


@lru_cache
def _digest(name: str) -> str:
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]


def _of(request: Request, *, messages: bool = True) -> dict[str, Any]:
    """What every template knows of a request."""
    person: Person | None = getattr(request.state, "person", None)
    desk: Desk = request.app.state.desk
    known: frozenset[str] = request.app.state.paths
    who = words.reader()
    return {
        "person": person,
        "csrf": person.csrf if person is not None else "",
        "messages": desk.said(person.session) if messages and person is not None and person.session else [],
        "nav": [one for one in NAVIGATION if one.path in known and person is not None and person.may(one.role)],
        "path": request.url.path,
        "language": who.language,
        "zone": who.zone,
        "htmx": request.headers.get("hx-request") == "true",
    }


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.do"],
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "_": words._,
        "ngettext": words.ngettext,
        "static": static_url,
        "version": __version__,
        "look": lambda state: LOOKS.get(str(state), "idle"),
        "languages": words.LANGUAGES,
        "roles": tuple(Role),
        # Of a request: so that macros and what `render` gives know them, too.
        "person": None,
        "csrf": "",
    }
    environment.filters |= {
        "moment": words.moment,
        "clock": words.clock,
        "day": words.day,
        "span": words.span,
        "number": words.number,
        "title_of": title_of,
    }
    return environment


def title_of(job: Any) -> str:
    """A job's title in the reader's language."""
    values: Mapping[str, Any] = job.values
    return words._(job.title, **values)
