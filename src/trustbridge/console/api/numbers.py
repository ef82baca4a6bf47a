"""Parameters that many routes have."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query

#: An id, as large as PostgreSQL's columns have them.
Number = Annotated[int, Path(ge=1, le=2**31 - 1)]
#: The same as a place in a list: only what is older.
Before = Annotated[int | None, Query(ge=1, le=2**31 - 1, description="only those older than the one of this id")]
#: How many at the most.
Limit = Annotated[int, Query(ge=1, le=1000)]
