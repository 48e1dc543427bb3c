"""Times and durations on the wire: Timestamp and Duration, both ways."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from google.protobuf import duration_pb2, timestamp_pb2

NANOSECONDS = 1_000_000_000
"""In a second."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def set_nanoseconds(field: timestamp_pb2.Timestamp, nanoseconds: int) -> None:
    """Set a field to a time in nanoseconds since 1970."""
    field.seconds, field.nanos = divmod(nanoseconds, NANOSECONDS)


def get_nanoseconds(field: timestamp_pb2.Timestamp) -> int:
    """A time in nanoseconds since 1970; 0 for a field that is not set."""
    return field.seconds * NANOSECONDS + field.nanos


def to_timestamp(time: datetime) -> timestamp_pb2.Timestamp:
    """A time that knows its zone, to the microsecond."""
    since = time - _EPOCH
    return timestamp_pb2.Timestamp(
        seconds=since.days * 86_400 + since.seconds, nanos=since.microseconds * 1000
    )


def from_timestamp(field: timestamp_pb2.Timestamp) -> datetime:
    """A time in UTC, cut to the microsecond.

    Raises:
        ValueError: the time is not within the years 1 to 9999.
    """
    return field.ToDatetime(UTC)


def set_seconds(field: duration_pb2.Duration, seconds: float) -> None:
    """Set a field to a duration in seconds, to the nanosecond.

    Raises:
        ValueError: the duration is not finite.
    """
    if not math.isfinite(seconds):
        raise ValueError(f"{seconds} is no duration")
    whole = math.trunc(seconds)
    nanos = round((seconds - whole) * NANOSECONDS)
    if abs(nanos) == NANOSECONDS:
        whole, nanos = whole + (1 if nanos > 0 else -1), 0
    field.seconds, field.nanos = whole, nanos


def get_seconds(field: duration_pb2.Duration) -> float:
    """A duration in seconds; 0 for a field that is not set."""
    return (field.seconds * NANOSECONDS + field.nanos) / NANOSECONDS
