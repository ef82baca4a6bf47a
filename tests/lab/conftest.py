from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.lab.prepared import Prepared, lighten


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared.once(tmp_path_factory)


@pytest.fixture(scope="module", autouse=True)
def _light() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        lighten(patch)
        yield
