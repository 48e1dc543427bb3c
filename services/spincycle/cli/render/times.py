"""Times and durations as text."""

from __future__ import annotations

import time
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING

from spincycle.model.duration import format_duration

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from google.protobuf.timestamp_pb2 import Timestamp


def seconds(message: Message, field: str) -> float | None:
    """Return a timestamp field as Unix seconds; None if it is unset."""
    if not message.HasField(field):
        return None
    stamp: Timestamp = getattr(message, field)
    return stamp.seconds + stamp.nanos / 1e9


def clock(moment: float, zone: tzinfo | None = UTC) -> str:
    """Format Unix seconds as `2026-11-23 22:34:52 UTC`; the zone None is the local one."""
    return datetime.fromtimestamp(moment, UTC).astimezone(zone).strftime("%Y-%m-%d %H:%M:%S %Z")


def clock_and_age(moment: float | None, now: float) -> str:
    """Format Unix seconds with their age, `… (3m2s ago)`; empty for None."""
    return "" if moment is None else f"{clock(moment)} ({format_duration(now - moment)} ago)"


def local_nanoseconds(stamp: Timestamp) -> str:
    """Format a timestamp in local time: `2026-11-23 22:34:52.598148765 +0000 UTC`."""
    local = time.localtime(stamp.seconds)
    fraction = f"{stamp.nanos:09}".rstrip("0")
    whole = time.strftime("%Y-%m-%d %H:%M:%S", local)
    return f"{whole}{'.' + fraction if fraction else ''} {time.strftime('%z %Z', local)}"


def runtime(message: Message, now: float) -> str:
    """Return the time from start to end, or to now; `not started` without a start."""
    started = seconds(message, "started_at")
    if started is None:
        return "not started"
    finished = seconds(message, "finished_at")
    return format_duration((now if finished is None else finished) - started)


def short_span(span: float) -> str:
    """Format seconds for a narrow column: `0.4s` below ten seconds, then `1m30s`."""
    span = max(span, 0.0)
    return f"{span:.1f}s" if span < 9.95 else format_duration(span)
