"""`show version active`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from trustbridge.cucm.model import Release
from trustbridge.cucm.text.lines import lines, nothing_said

_VERSION: Final = re.compile(r"\s*(?:In)?active Master Version\s*:\s*(?P<release>.*)", re.IGNORECASE)
_RELEASE: Final = re.compile(r"\d{1,9}(?:\.\d{1,9}){1,9}(?:-\d{1,9}[A-Za-z]?)?")
_OPTIONS: Final = re.compile(r"\s*(?:In)?active Version Installed Software Options\s*:", re.IGNORECASE)
_NO_OPTIONS: Final = re.compile(r"\s*No Installed Software Options Found", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class InstalledVersion:
    """What a node runs.

    Attributes:
        release: such as 12.5.1.11900-146.
        options: packages installed on top, by file name.
    """

    release: Release
    options: tuple[str, ...] = ()


def parse_version(text: str) -> InstalledVersion:
    """Read the answer to `show version active`.

    Raises:
        Garbled: there is no release in it.
    """
    release: Release | None = None
    options: list[str] = []
    listing = False
    for line in lines(text):
        if release is None:
            if found := _VERSION.match(line.text):
                if not _RELEASE.fullmatch(found["release"].strip()):
                    raise line.unclear("no release")
                release = Release.parse(found["release"])
        elif _OPTIONS.match(line.text):
            listing = True
        elif listing and not _NO_OPTIONS.match(line.text):
            options.append(line.text.strip())
    if release is None:
        raise nothing_said("the active version")
    return InstalledVersion(release, tuple(options))
