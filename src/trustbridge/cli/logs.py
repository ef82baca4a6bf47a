"""Logging of commands that run for long: a line an event, to standard error.

The package logs through the standard library and through structlog; both come out the same way.
"""

from __future__ import annotations

import logging
import sys


def start_logging() -> None:
    """Log from the level on that the settings name. Commands that serve call this; the others have nothing to log.

    Raises:
        SettingsError: the settings are wrong.
    """
    import structlog

    from trustbridge import settings

    level = getattr(logging, settings.load().log_level.upper())
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S"),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
            ],
        )
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # asyncssh tells of every packet and key at its lower levels; nothing of that is wanted here.
    logging.getLogger("asyncssh").setLevel(max(level, logging.WARNING))
