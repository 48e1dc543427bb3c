"""A database for the tests of the shared database package."""

from __future__ import annotations

from tests.postgres_fixtures import database, postgres

__all__ = ["database", "postgres"]
