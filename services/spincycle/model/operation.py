"""Operations that callers can be granted."""

from __future__ import annotations

from enum import StrEnum


class Operation(StrEnum):
    """One kind of operation; the names are those in specs and in the audit log."""

    VIEW = "view"
    START = "start"
    STOP = "stop"
    SUSPEND = "suspend"
    RESUME = "resume"
    RERUN = "rerun"
    SKIP = "skip"
    ADMIN = "admin"
    IMPERSONATE = "impersonate"


REQUEST_OPERATIONS = (
    Operation.VIEW,
    Operation.START,
    Operation.STOP,
    Operation.SUSPEND,
    Operation.RESUME,
    Operation.RERUN,
    Operation.SKIP,
)
"""Operations on requests of a type, which the ACL of its spec grants."""
