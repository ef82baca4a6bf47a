"""What jobs have made and is too large for the database's table of jobs: lists of tens of thousands of phones.

Files in the state folder, one a job, 0600; the newest of each kind are kept. What is gone, is made again.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any, Final

from trustbridge import atomicfile
from trustbridge.errors import NotNow

#: Files of a kind that are kept, and what of them is kept in memory: a page of a list must not read all of it again.
FILES: Final = 20
_IN_MEMORY: Final = 3


class Kept:
    """What one kind of jobs has made.

    Args:
        state: the state folder.
        kind: such as "plan".
    """

    def __init__(self, state: Path, kind: str) -> None:
        self._folder = state / "console" / kind
        self._memory: OrderedDict[int, Any] = OrderedDict()
        self._lock = threading.Lock()

    def write(self, job: int, value: Any) -> None:
        """Keep what a job has made; anything that JSON holds.

        Raises:
            TrustbridgeError: the folder can't be written.
        """
        with atomicfile.in_words("what was made could not be kept"):
            atomicfile.private_folder(self._folder)
            atomicfile.write(self._path(job), json.dumps(value, separators=(",", ":"), default=str).encode())
            old = sorted(self._folder.glob("*.json"), key=lambda path: _number(path))[:-FILES]
            for path in old:
                path.unlink(missing_ok=True)

    def read(self, job: int) -> Any:
        """What a job has made. Not to be changed: others read it, too.

        Raises:
            NotNow: it is not there any more, or another server has it.
        """
        with self._lock:
            if job in self._memory:
                self._memory.move_to_end(job)
                return self._memory[job]
        try:
            value = json.loads(self._path(job).read_bytes())
        except (OSError, ValueError):
            raise NotNow("what that job has made is not kept here any more", "Run it again.") from None
        with self._lock:
            self._memory[job] = value
            while len(self._memory) > _IN_MEMORY:
                self._memory.popitem(last=False)
        return value

    def _path(self, job: int) -> Path:
        return self._folder / f"{job}.json"


def _number(path: Path) -> int:
    return int(path.stem) if path.stem.isdecimal() else 0
