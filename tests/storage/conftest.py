from __future__ import annotations

from tests.storage.databases import engine, server, url

__all__ = ["engine", "server", "url"]
