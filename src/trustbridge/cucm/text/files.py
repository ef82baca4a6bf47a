"""`file list tftp *`: names in columns, or a line a file with `detail`.

Built from memory of the vendor's guide: UNVERIFIED, and kept tolerant.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from trustbridge.cucm.text.lines import Line, lines

_COUNTS: Final = re.compile(
    r"\s*dir(?:ectory)? count\s*=\s*(?P<folders>\d{1,9})\s*,\s*file count\s*=\s*(?P<files>\d{1,9})\s*", re.IGNORECASE
)
_NONE: Final = re.compile(r".*\bno such file\b.*|.*\bno (?:matching )?files?\b.*", re.IGNORECASE)
_DETAIL: Final = re.compile(
    r"\s*(?P<day>\d{1,2}) (?P<month>[A-Z][a-z]{2}),\s*(?P<year>\d{4})\s+(?P<time>\d{1,2}:\d{2}:\d{2})\s+"
    r"(?P<size><dir>|[\d,]{1,20})\s+(?P<name>\S.*)"
)
_FOLDER: Final = "<dir>"
_NAME: Final = re.compile(r"[^\s<>|*?]+")


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file or folder as listed.

    Attributes:
        name: without a directory.
        folder: whether it is a directory.
        size: bytes; None without `detail`.
        modified: None without `detail`; the node's own zone, which it does not name, is read as UTC.
    """

    name: str
    folder: bool = False
    size: int | None = None
    modified: datetime | None = None


def parse_file_list(text: str) -> tuple[ListedFile, ...]:
    """Read the answer to `file list`; names hold no blanks unless `detail` was asked for.

    Raises:
        Garbled: a line is no file, or there are not as many as the closing line counts.
    """
    found: list[ListedFile] = []
    for line in lines(text):
        if counts := _COUNTS.fullmatch(line.text):
            expected = int(counts["folders"]), int(counts["files"])
            listed = sum(file.folder for file in found), sum(not file.folder for file in found)
            if listed != expected:
                raise line.unclear(f"not what is listed ({listed[0]} directories, {listed[1]} files)")
        elif detail := _DETAIL.fullmatch(line.text):
            found.append(_detailed(detail, line))
        elif _NONE.fullmatch(line.text):
            continue
        else:
            words = line.text.split()
            if not all(word == _FOLDER or _NAME.fullmatch(word) for word in words):
                raise line.unclear("no list of files")
            folder = False
            for word in words:
                if word != _FOLDER:
                    found.append(ListedFile(word, folder))
                folder = word == _FOLDER
    return tuple(found)


def _detailed(detail: re.Match[str], line: Line) -> ListedFile:
    folder = detail["size"] == _FOLDER
    try:
        modified: datetime | None = datetime.strptime(
            f"{detail['day']} {detail['month']} {detail['year']} {detail['time']}", "%d %b %Y %H:%M:%S"
        ).replace(tzinfo=UTC)
        size = None if folder else int(detail["size"].replace(",", ""))
    except ValueError as error:
        raise line.unclear("no line of a list of files") from error
    return ListedFile(detail["name"].strip(), folder, size, modified)
