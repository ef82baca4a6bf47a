"""What the console consists of. A page or a part of the API that is named here, is served.

A module has a `router`; one that has topics of `live` has a `prepare(desk)`, too.
"""

from __future__ import annotations

from types import ModuleType
from typing import Final

from trustbridge.console.api import audit as audit_api
from trustbridge.console.api import campaigns as campaigns_api
from trustbridge.console.api import jobs as jobs_api
from trustbridge.console.api import me, schema, tokens
from trustbridge.console.api import users as users_api
from trustbridge.console.routes import account, audit, jobs, live, overview, plain, sign, users

#: Pages, wherever they are.
PAGES: Final[tuple[ModuleType, ...]] = (
    overview,
    sign,
    account,
    users,
    audit,
    jobs,
    live,
    plain,
)
#: The JSON API, under `PREFIX`.
API: Final[tuple[ModuleType, ...]] = (
    me,
    tokens,
    users_api,
    audit_api,
    jobs_api,
    campaigns_api,
    schema,
)
PREFIX: Final = "/api/v1"
