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
from trustbridge.console.api import campaignsacts as campaignsacts_api
from trustbridge.console.api import check as check_api
from trustbridge.console.api import clusters as clusters_api
from trustbridge.console.api import jobs as jobs_api
from trustbridge.console.api import me, schema, tokens
from trustbridge.console.api import phones as phones_api
from trustbridge.console.api import trust as trust_api
from trustbridge.console.api import users as users_api
from trustbridge.console.routes import (
    account,
    audit,
    bulk,
    bulkexchange,
    campaigns,
    campaignsacts,
    campaignsphones,
    campaignsplan,
    campaignsreport,
    certificates,
    check,
    clusteredit,
    clusters,
    findings,
    jobs,
    live,
    overview,
    phones,
    plain,
    predict,
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
    # Before `campaigns`: no campaign is called so.
    campaignsplan,
    campaigns,
    campaignsacts,
    campaignsphones,
    campaignsreport,
    phones,
    check,
    predict,
    findings,
)
#: The JSON API, under `PREFIX`.
API: Final[tuple[ModuleType, ...]] = (
    me,
    tokens,
    users_api,
    audit_api,
    jobs_api,
    campaignsacts_api,
    campaigns_api,
    phones_api,
    check_api,
    clusters_api,
    trust_api,
    bulk_api,
    bulkexchange_api,
    schema,
)
PREFIX: Final = "/api/v1"
