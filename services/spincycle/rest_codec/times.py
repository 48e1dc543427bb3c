"""Times in RFC 3339 as Go writes and reads them, kept to the nanosecond."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

ZERO_TIME = "0001-01-01T00:00:00Z"
"""What Go writes for a time that was never set."""

LAYOUT = "2006-01-02T15:04:05Z07:00"
"""Go's name for the form that is read, which its error texts show."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_SECOND = -62135596800
_LAST_SECOND = 253402300799
_NANOS = 1_000_000_000
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII
)
_RANGES = (("month", 5, 1, 12), ("hour", 11, 0, 23), ("minute", 14, 0, 59), ("second", 17, 0, 59))
_PARTS = [
    (part, r"\d" * len(part) if part.isdigit() else part)
    for part in ("2006", "-", "01", "-", "02", "T", "15", ":", "04", ":", "05")
]


def format_time(timestamp: Timestamp) -> str:
    """UTC with up to nine digits of fraction, its trailing zeros dropped.

    A moment that RFC 3339 cannot name is written as the nearest one that it can.
    """
    seconds = min(max(timestamp.seconds, _FIRST_SECOND), _LAST_SECOND)
    moment = (_EPOCH + timedelta(seconds=seconds)).isoformat()[:19]
    fraction = f".{timestamp.nanos:09d}".rstrip("0") if timestamp.nanos > 0 else ""
    return f"{moment}{fraction}Z"


def parse_time(text: str) -> Timestamp:
    """The moment that `text` names; digits beyond the nanosecond are dropped.

    Raises:
        ValueError: `text` is no RFC 3339 time with an offset; worded as Go does.
    """
    found = _TIME.fullmatch(text)
    if not found:
        raise ValueError(_refusal(text))
    clock, fraction, offset = found.groups()
    try:
        moment = datetime.fromisoformat(clock + ("+00:00" if offset == "Z" else offset))
    except ValueError:
        raise ValueError(f'parsing time "{text}": {_out_of_range(clock)} out of range')
    since = moment - _EPOCH
    seconds = since.days * 86_400 + since.seconds
    if not _FIRST_SECOND <= seconds <= _LAST_SECOND:
        raise ValueError(f'parsing time "{text}": year is outside of range [1,9999]')
    return Timestamp(seconds=seconds, nanos=int((fraction or "0")[:9].ljust(9, "0")))


def _out_of_range(clock: str) -> str:
    """The part that Go names: the day last, since it hangs on the month."""
    for name, at, least, most in _RANGES:
        if not least <= int(clock[at : at + 2]) <= most:
            return name
    return "day"


def _refusal(text: str) -> str:
    at = 0
    for part, shape in _PARTS:
        if not re.match(shape, text[at:], re.ASCII):
            break
        at += len(part)
    else:
        part = "Z07:00"
    return f'parsing time "{text}" as "{LAYOUT}": cannot parse "{text[at:]}" as "{part}"'


def to_nanoseconds(timestamp: Timestamp) -> int:
    """Nanoseconds since 1970."""
    return timestamp.seconds * _NANOS + timestamp.nanos


def from_nanoseconds(nanoseconds: int) -> Timestamp:
    """The moment so many nanoseconds after 1970."""
    seconds, nanos = divmod(nanoseconds, _NANOS)
    return Timestamp(seconds=seconds, nanos=nanos)
