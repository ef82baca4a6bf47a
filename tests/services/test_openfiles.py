"""How many files a process may have open."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from trustbridge.services import openfiles

FILES = resource.RLIMIT_NOFILE


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = resource.getrlimit(FILES)
    yield
    resource.setrlimit(FILES, before)


def test_the_soft_limit_becomes_the_hard_one_and_never_less() -> None:
    _, hard = resource.getrlimit(FILES)
    resource.setrlimit(FILES, (512, hard))
    for _ in range(2):
        openfiles.raise_limit()
        assert resource.getrlimit(FILES) == (min(hard, 65536) if hard != resource.RLIM_INFINITY else 65536, hard)


def test_a_limit_that_can_not_be_raised_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    _, hard = resource.getrlimit(FILES)
    resource.setrlimit(FILES, (512, hard))

    def refuse(*_: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    with monkeypatch.context() as patch:
        patch.setattr(resource, "setrlimit", refuse)
        openfiles.raise_limit()
    assert resource.getrlimit(FILES) == (512, hard)
