"""Filters of `spinc find`: name=value, each at most once."""

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

_FORM = "YYYY-MM-DD HH:MM:SS UTC"


@dataclass(frozen=True, slots=True)
class Search:
    """What to find, and how to show it.

    Attributes:
        states: numbers of states.
        since, until: Unix seconds.
        limit: most requests; 0 means all.
        zone: time zone of what is shown; None means the local one.
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
        """The filter as the services take it."""
        from spincycle.v1 import request_pb2, state_pb2

        message = request_pb2.RequestFilter(type=self.type, user=self.user, offset=self.offset)
        message.states.extend(state_pb2.State.ValueType(state) for state in self.states)
        message.args.update(dict(self.args))
        for moment, stamp in ((self.since, "since"), (self.until, "until")):
            if moment is not None:
                getattr(message, stamp).FromNanoseconds(round(moment * 1e9))
        return message


def parse_filters(words: Iterable[str], now: float | None = None) -> Search:
    """The search that the filters ask for; `now` is what spans of time count from.

    Raises:
        Problem: a filter is unknown, is given twice, or has a value that cannot be used.
    """
    given: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise _invalid(f'invalid filter "{word}"', "filters are given as name=value")
        if name not in NAMES:
            raise _invalid(f'unknown filter "{name}"', f"filters are {', '.join(NAMES)}")
        if name in given:
            raise _invalid(f"filter {name} is given twice", "give its values as one list, a,b")
        given[name] = value
    now = time.time() if now is None else now
    return Search(
        type=given.get("type", ""),
        states=_states(given.get("states", "")),
        user=given.get("user", ""),
        args=_args(given.get("args", "")),
        since=_moment("since", given["since"], now) if "since" in given else None,
        until=_moment("until", given["until"], now) if "until" in given else None,
        limit=_number("limit", given.get("limit", str(DEFAULT_LIMIT))),
        offset=_number("offset", given.get("offset", "0")),
        zone=_zone(given.get("timezone", "utc")),
    )


def _invalid(message: str, hint: str) -> Problem:
    return Problem(message, hint)


def _states(text: str) -> tuple[int, ...]:
    states: list[int] = []
    for name in filter(None, text.split(",")):
        try:
            states.append(State[name.strip().upper()])
        except KeyError:
            known = ", ".join(state.name for state in State)
            raise _invalid(f"invalid state '{name}'", f"states are {known}")
    return tuple(states)


def _args(text: str) -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = []
    for word in filter(None, text.split(",")):
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise _invalid(f'invalid args filter "{word}"', "for example args=host=web1,mode=fast")
        pairs.append((name, value))
    return tuple(pairs)


def _moment(name: str, text: str, now: float) -> float:
    try:
        return now - parse_duration(text)
    except ValueError:
        pass
    try:
        # What has no " UTC" at its place is refused by the form.
        moment = datetime.strptime(text, "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)
    except ValueError:
        raise _invalid(
            f'invalid {name} time "{text}"',
            f'write it as "{_FORM}", or as a span before now such as 90m',
        )
    return moment.timestamp()


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise _invalid(f'invalid {name} "{text}"', "it must be a whole number from 0")
    return int(text)


def _zone(text: str) -> tzinfo | None:
    zones: dict[str, tzinfo | None] = {"utc": UTC, "local": None}
    if text.lower() not in zones:
        raise _invalid(f'invalid timezone "{text}"', "it must be utc or local")
    return zones[text.lower()]
