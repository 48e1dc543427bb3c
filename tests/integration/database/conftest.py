"""A database for the plumbing that all services share."""

from __future__ import annotations

from tests.postgres_fixtures import database, postgres

__all__ = ["database", "postgres"]
