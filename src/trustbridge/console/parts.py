"""What the console consists of. A page or a part of the API that is named here, is served.

A module has a `router`; one that has topics of `live` has a `prepare(desk)`, too.
"""

from __future__ import annotations

from types import ModuleType
from typing import Final

from trustbridge.console.api import audit as audit_api
from trustbridge.console.api import bulk as bulk_api
from trustbridge.console.api import bulkexchange as bulkexchange_api
from trustbridge.console.api import campaigns as campaigns_api
from trustbridge.console.api import clusters as clusters_api
from trustbridge.console.api import jobs as jobs_api
from trustbridge.console.api import me, schema, tokens
from trustbridge.console.api import trust as trust_api
from trustbridge.console.api import users as users_api
from trustbridge.console.routes import (
    account,
    audit,
    bulk,
    bulkexchange,
    certificates,
    clusteredit,
    clusters,
    jobs,
    live,
    overview,
    plain,
    sign,
    trust,
    users,
)

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
    bulkexchange,
    bulk,
    clusters,
    clusteredit,
    certificates,
    trust,
)
#: The JSON API, under `PREFIX`.
API: Final[tuple[ModuleType, ...]] = (
    me,
    tokens,
    users_api,
    audit_api,
    jobs_api,
    campaigns_api,
    clusters_api,
    trust_api,
    bulk_api,
    bulkexchange_api,
    schema,
)
PREFIX: Final = "/api/v1"
