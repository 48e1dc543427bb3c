"""Validates ids in calls to the job log."""

from __future__ import annotations

from spincycle.errors import InvalidInput


def check_id(value: str, field: str) -> None:
    """Check that the id of a request or a job is not empty.

    Raises:
        InvalidInput: the id is empty; the message names `field`.
    """
    if not value:
        raise InvalidInput(f"{field} is empty", field)
