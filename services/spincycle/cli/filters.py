"""The filters of `spinc find`: name=value, each at most once."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING

from spincycle.cli.problem import Problem
from spincycle.model.duration import parse_duration
from spincycle.model.state import State

if TYPE_CHECKING:
    from spincycle.v1 import request_pb2

NAMES = ("type", "states", "user", "args", "since", "until", "limit", "offset", "timezone")

DEFAULT_LIMIT = 10

MOST = 2**32 - 1
"""Largest limit and offset."""

_FORM = "YYYY-MM-DD HH:MM:SS UTC"


@dataclass(frozen=True, slots=True)
class Search:
    """A parsed search.

    Attributes:
        states: numbers of states.
        since, until: Unix seconds.
        limit: most requests; 0 for all.
        zone: time zone of the times printed; None for the local one.
    """

    type: str = ""
    states: tuple[int, ...] = ()
    user: str = ""
    args: tuple[tuple[str, str], ...] = ()
    since: float | None = None
    until: float | None = None
    limit: int = DEFAULT_LIMIT
    offset: int = 0
    zone: tzinfo | None = UTC

    def message(self) -> request_pb2.RequestFilter:
        """Return the filter as a message of the API."""
        from spincycle.v1 import request_pb2, state_pb2

        message = request_pb2.RequestFilter(type=self.type, user=self.user)
        if self.offset:
            message.limit, message.offset = self.limit, self.offset
        message.states.extend(state_pb2.State.ValueType(state) for state in self.states)
        message.args.update(dict(self.args))
        for moment, stamp in ((self.since, "since"), (self.until, "until")):
            if moment is not None:
                getattr(message, stamp).FromNanoseconds(round(moment * 1e9))
        return message


def parse_filters(words: Iterable[str], now: float | None = None) -> Search:
    """Parse the filters; durations count back from `now`, in Unix seconds.

    Raises:
        Problem: a filter is unknown, repeated, or has an invalid value; `offset` without a limit.
    """
    given: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise Problem(f'invalid filter "{word}"', "write filters as name=value")
        if name not in NAMES:
            raise Problem(f'unknown filter "{name}"', f"filters: {', '.join(NAMES)}")
        if name in given:
            raise Problem(f"filter {name} is given twice", "separate several values by commas: a,b")
        given[name] = value
    now = time.time() if now is None else now
    limit = _number("limit", given.get("limit", str(DEFAULT_LIMIT)))
    offset = _number("offset", given.get("offset", "0"))
    if offset and not limit:
        raise Problem("offset counts only with a limit", f"for example limit={DEFAULT_LIMIT}")
    return Search(
        type=given.get("type", ""),
        states=_states(given.get("states", "")),
        user=given.get("user", ""),
        args=_args(given.get("args", "")),
        since=parse_moment("since", given["since"], now) if "since" in given else None,
        until=parse_moment("until", given["until"], now) if "until" in given else None,
        limit=limit,
        offset=offset,
        zone=_zone(given.get("timezone", "utc")),
    )


def _states(text: str) -> tuple[int, ...]:
    states: list[int] = []
    for name in filter(None, text.split(",")):
        try:
            states.append(State[name.strip().upper()])
        except KeyError:
            known = ", ".join(state.name for state in State)
            raise Problem(f"invalid state '{name}'", f"states: {known}")
    return tuple(states)


def _args(text: str) -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = []
    for word in filter(None, text.split(",")):
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise Problem(f'invalid args filter "{word}"', "for example args=host=web1,mode=fast")
        pairs.append((name, value))
    return tuple(pairs)


def parse_moment(name: str, text: str, now: float) -> float:
    """Parse a time, or a duration before `now`; return Unix seconds.

    Raises:
        Problem: it is neither.
    """
    try:
        return now - parse_duration(text)
    except ValueError:
        pass
    try:
        moment = datetime.strptime(text, "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)
    except ValueError:
        raise Problem(
            f'invalid {name} time "{text}"',
            f'write it as "{_FORM}", or as a duration before now such as 90m',
        )
    return moment.timestamp()


def _number(name: str, text: str) -> int:
    digits = text.lstrip("0")[: len(str(MOST)) + 1] or "0"
    if not (text.isascii() and text.isdigit()) or int(digits) > MOST:
        raise Problem(f'invalid {name} "{text}"', f"it must be a whole number from 0 to {MOST}")
    return int(digits)


def _zone(text: str) -> tzinfo | None:
    zones: dict[str, tzinfo | None] = {"utc": UTC, "local": None}
    if text.lower() not in zones:
        raise Problem(f'invalid timezone "{text}"', "it must be utc or local")
    return zones[text.lower()]
