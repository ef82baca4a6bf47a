"""What holds for every test: its own state folder, and no deadline for examples on a busy machine."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

# A deadline for one example, and the pace of making them, measure what else the machine does.
settings.register_profile(
    "trustbridge",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)
settings.load_profile("trustbridge")


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes what the user's own trustbridge remembers."""
    for name in [name for name in os.environ if name.startswith("TRUSTBRIDGE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr("trustbridge.storage.passwords.taken", {})
    # Nor the user's own keyring.
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """A command that starts logging inside a test does so for that test alone."""
    levels = {logger: logger.level for logger in (logging.getLogger(), logging.getLogger("asyncssh"))}
    before = list(logging.getLogger().handlers)
    yield
    for logger, level in levels.items():
        logger.setLevel(level)
    for handler in list(logging.getLogger().handlers):
        if handler not in before and isinstance(handler.formatter, structlog.stdlib.ProcessorFormatter):
            logging.getLogger().removeHandler(handler)
    structlog.reset_defaults()
