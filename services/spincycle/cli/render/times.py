"""Moments and spans of time, as they are printed."""

from __future__ import annotations

import time
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING

from spincycle.model.duration import format_duration

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from google.protobuf.timestamp_pb2 import Timestamp


def seconds(message: Message, field: str) -> float | None:
    """Unix seconds of a timestamp field; None if it is unset."""
    if not message.HasField(field):
        return None
    stamp: Timestamp = getattr(message, field)
    return stamp.seconds + stamp.nanos / 1e9


def clock(moment: float, zone: tzinfo | None = UTC) -> str:
    """A moment as `2026-11-23 22:34:52 UTC`; the zone None means the local one."""
    return datetime.fromtimestamp(moment, UTC).astimezone(zone).strftime("%Y-%m-%d %H:%M:%S %Z")


def clock_and_age(moment: float | None, now: float) -> str:
    """A moment with how long it is ago; empty if it is None."""
    return "" if moment is None else f"{clock(moment)} ({format_duration(now - moment)} ago)"


def local_nanoseconds(stamp: Timestamp) -> str:
    """A moment in local time to the nanosecond: `2026-11-23 22:34:52.598148765 +0000 UTC`."""
    local = time.localtime(stamp.seconds)
    fraction = f"{stamp.nanos:09}".rstrip("0")
    whole = time.strftime("%Y-%m-%d %H:%M:%S", local)
    return f"{whole}{'.' + fraction if fraction else ''} {time.strftime('%z %Z', local)}"


def runtime(message: Message, now: float) -> str:
    """How long something has run or ran: from its start to its end, or to now."""
    started = seconds(message, "started_at")
    if started is None:
        return "not started"
    finished = seconds(message, "finished_at")
    return format_duration((now if finished is None else finished) - started)


def short_span(span: float) -> str:
    """A span for a narrow column: `0.4s` below ten seconds, then as durations are written."""
    span = max(span, 0.0)
    return f"{span:.1f}s" if span < 9.95 else format_duration(span)
