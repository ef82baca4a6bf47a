"""Fixtures of all tests of the console."""

from __future__ import annotations

from tests.console.desks import client, clock, desk, signed_in

__all__ = ["client", "clock", "desk", "signed_in"]
