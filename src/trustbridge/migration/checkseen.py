"""What a check of a move goes by: values of what was observed, and words for the phones concerned. No I/O.

`checkcollect` fills them in, `check` judges them. What was not observed is None, and a `Gap` says why.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from trustbridge.cucm.model import PhoneInfo, PhoneStatus, Release, ServiceStatus
from trustbridge.migration.phonefacts import PhoneFacts
from trustbridge.migration.proofseen import ClusterSeen, Gap, Observations
from trustbridge.migration.survey import ClusterSurvey
from trustbridge.trust.models import PhoneModel, model_named

#: Phones that are named where many are meant.
_NAMED: Final = 3
#: Hash of a file by how many hexadecimal digits it has: releases of phones differ.
_HASHES: Final = {32: "md5", 40: "sha1", 64: "sha256"}

#: States in which a Unified CM serves a phone.
AT_WORK: Final = (PhoneStatus.REGISTERED, PhoneStatus.PARTIALLY_REGISTERED)


@dataclass(frozen=True, slots=True)
class OldTls:
    """Whether one TVS takes a TLS handshake of a phone that knows nothing newer than TLS 1.0.

    Attributes:
        accepted: None where nobody can tell, such as when it is not reached.
        words: what happened.
    """

    accepted: bool | None
    words: str


@dataclass(frozen=True, slots=True)
class SftpSet:
    """The SFTP server of bulk certificate management that an exchange of ours has set on a cluster, and when.

    Attributes:
        server: as people write it, without its password.
        exchange: by its name.
    """

    server: str
    exchange: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Observed:
    """All of it, for a move from `source` to `destination`.

    Attributes:
        trust: what a proof of trust goes by.
        surveys: what an exchange goes by, by cluster; None where one of them could not be read.
        services: of each node, by (cluster, node); nodes whose services could not be read are not in it.
        phones: of the source; None where they could not be read.
        devices: what the destination's database knows, by phone; None where it could not be read.
        old_tls: by node of the source; nodes that were not tried are not in it.
        firmware: that phones are to load at the destination, by its name and by TFTP node: whether it is there.
        sftp: by cluster; clusters on which no exchange of ours set one are not in it.
        pages: whether the phones' pages were looked at.
        gaps: what could not be looked at, besides those of `trust`.
    """

    source: str
    destination: str
    trust: Observations
    surveys: Mapping[str, ClusterSurvey] | None = None
    services: Mapping[tuple[str, str], tuple[ServiceStatus, ...]] = field(default_factory=dict)
    phones: tuple[PhoneFacts, ...] | None = None
    devices: Mapping[str, PhoneInfo] | None = None
    old_tls: Mapping[str, OldTls] = field(default_factory=dict)
    firmware: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)
    sftp: Mapping[str, SftpSet] = field(default_factory=dict)
    pages: bool = False
    gaps: tuple[Gap, ...] = ()

    @property
    def old(self) -> ClusterSeen:
        """The source."""
        return self.trust.clusters[self.source]

    @property
    def new(self) -> ClusterSeen:
        """The destination."""
        return self.trust.clusters[self.destination]

    @property
    def both(self) -> tuple[ClusterSeen, ClusterSeen]:
        """Source and destination."""
        return self.old, self.new


def release_of(cluster: ClusterSeen) -> Release | None:
    """Its release, where it is known."""
    return Release.parse(cluster.release) if cluster.release else None


def model_of(phone: PhoneFacts) -> PhoneModel:
    """What a phone's model can do; one that nobody listed is taken for a current one."""
    return model_named(phone.model)


def asks(phone: PhoneFacts) -> bool:
    """Whether a phone will ask a TVS: it knows of them, and has a list that a new one must be held against."""
    return model_of(phone).security_by_default and not (phone.itl == "" and phone.ctl == "")


def hashes_of(cluster: ClusterSeen, *, itl: bool) -> frozenset[str]:
    """What phones show of the files a cluster serves now, ITLs or CTLs, in each way phones show it."""
    return frozenset(
        hashlib.new(algorithm, file.content, usedforsecurity=False).hexdigest().upper()
        for file in cluster.files
        if file.of_itl is itl
        for algorithm in _HASHES.values()
    )


def counted(phones: Sequence[PhoneFacts], *, of: str = "") -> str:
    """`2 phones: SEP..., SEP...`; of many some are named, the others counted.

    Args:
        of: a word before "phones", such as "secure ".
    """
    return f"{len(phones)} {of}phone{'s' * (len(phones) != 1)}: {names_of(phones)}"


def these(phones: Sequence[PhoneFacts], what: str) -> str:
    """`These 312 phones will strand: SEP..., SEP..., SEP... and 309 more.`, for `what` "will strand"."""
    subject = f"These {len(phones)} phones" if len(phones) != 1 else "This phone"
    return f"{subject} {what}: {names_of(phones)}."


def names_of(phones: Sequence[PhoneFacts]) -> str:
    """Names, the first few of many."""
    return ", ".join(one.name for one in phones[:_NAMED]) + (
        f" and {len(phones) - _NAMED} more" if len(phones) > _NAMED else ""
    )
