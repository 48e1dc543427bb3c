"""Durations in Go's notation ("1h30m", "1.5s", "300ms"), as used in specs."""

from __future__ import annotations

import re

from spincycle.text.shortening import shortened

_SECONDS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_MAX_SECONDS = 2**63 / 1e9
"""Go stores a duration as nanoseconds in 63 bits."""

_MAX_CHARACTERS = 200

_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_WHOLE = re.compile(rf"[+-]?(?:{_PART.pattern})+", re.ASCII)


def parse_duration(text: str) -> float:
    """Return the seconds of a Go duration: an optional sign, then numbers with units; 0 needs none.

    Raises:
        ValueError: `text` is not a Go duration, or exceeds Go's range.
    """
    if text in {"0", "+0", "-0"}:
        return 0.0
    if len(text) > _MAX_CHARACTERS or not _WHOLE.fullmatch(text):
        raise ValueError(
            f'"{shortened(text, 40)}" is not a duration: write numbers with units, such as 300ms, '
            "10s or 1h30m"
        )
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
    if seconds >= _MAX_SECONDS:
        raise ValueError(f'"{shortened(text, 40)}" is longer than the maximum of 292 years')
    return -seconds if text.startswith("-") else seconds


def format_duration(seconds: float) -> str:
    """Format a duration like Go, rounded to whole seconds: 0s, 45s, 2m5s, 1h0m30s."""
    whole = round(abs(seconds))
    sign = "-" if seconds < 0 and whole else ""
    hours, rest = divmod(whole, 3600)
    minutes, second = divmod(rest, 60)
    if hours:
        return f"{sign}{hours}h{minutes}m{second}s"
    return f"{sign}{minutes}m{second}s" if minutes else f"{sign}{second}s"
