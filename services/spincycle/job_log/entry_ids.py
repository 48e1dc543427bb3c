"""Ids in calls to the job log."""

from __future__ import annotations

from spincycle.errors import InvalidInput
from spincycle.job_log.intake import MAX_ID_LENGTH


def check_id(value: str, field: str) -> None:
    """Check the id of a request or a job.

    Raises:
        InvalidInput: it is empty, too long, or holds a NUL character; `field` is named.
    """
    if not value:
        raise InvalidInput(f"{field} is empty", field)
    if len(value) > MAX_ID_LENGTH or "\0" in value:
        raise InvalidInput(
            f"{field} is not a valid id: it is too long or holds a NUL character", field
        )
