"""Parsers of what a node's command line answers: text in, values out, `Garbled` with the line number otherwise.

Each is total: whatever text it gets, it returns a value or raises `Garbled`. They take an answer as it is, with CR LF,
white space at line ends, an echo of the command, a prompt and what pagination left. The forms they read, with their
origins, stand in `tests/vectors/oscli`.
"""

from __future__ import annotations

from trustbridge.cucm.text.bulk import bulk_type, parse_bulk
from trustbridge.cucm.text.certificates import (
    ListedCertificate,
    parse_certificate,
    parse_own_certificates,
    parse_trusted_certificates,
)
from trustbridge.cucm.text.changes import Change, parse_change
from trustbridge.cucm.text.files import ListedFile, parse_file_list
from trustbridge.cucm.text.fips import parse_fips
from trustbridge.cucm.text.nodes import ClusterNode, parse_network_cluster
from trustbridge.cucm.text.services import ListedService, ServiceState, parse_services
from trustbridge.cucm.text.sql import Table, parse_table
from trustbridge.cucm.text.trustlist import DecodedRecord, DecodedTrustList, parse_trust_list
from trustbridge.cucm.text.version import InstalledVersion, parse_version

__all__ = [
    "Change",
    "ClusterNode",
    "DecodedRecord",
    "DecodedTrustList",
    "InstalledVersion",
    "ListedCertificate",
    "ListedFile",
    "ListedService",
    "ServiceState",
    "Table",
    "bulk_type",
    "parse_bulk",
    "parse_certificate",
    "parse_change",
    "parse_file_list",
    "parse_fips",
    "parse_network_cluster",
    "parse_own_certificates",
    "parse_services",
    "parse_table",
    "parse_trust_list",
    "parse_trusted_certificates",
    "parse_version",
]
