"""Conversions between values of the code and parameters and columns of queries."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

import asyncpg
import orjson

from spincycle.model.state import State
from spincycle.request_manager.storage.actor import Actor
from spincycle.request_manager.storage.model import Assignment, ChainHolder

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def actor_columns(actors: Sequence[Actor]) -> dict[str, list[str]]:
    """Return the parameters of a query that inserts several audit rows."""
    return {
        "callers": [actor.name for actor in actors],
        "authenticators": [actor.authenticator for actor in actors],
        "roles": [json_text(actor.roles) for actor in actors],
        "peers": [actor.peer for actor in actors],
        "rules": [actor.rule for actor in actors],
        "call_ids": [actor.call_id for actor in actors],
    }


class AssignedItem(Protocol):
    """Anything that names one assignment of a request."""

    @property
    def request_id(self) -> str: ...

    @property
    def epoch(self) -> int: ...


def assignment_columns(items: Sequence[AssignedItem]) -> dict[str, list[str] | list[int]]:
    """Return the parameters `request_ids` and `epochs` of a query."""
    return {
        "request_ids": [item.request_id for item in items],
        "epochs": [item.epoch for item in items],
    }


def assignment_of(row: asyncpg.Record, assigned_at: float = float("-inf")) -> Assignment:
    """Return the assignment in a row; `assigned_at` is set if this process made it."""
    return Assignment(
        row["request_id"], row["runner_id"], row["epoch"], row["resumed"], assigned_at
    )


def holders_of(rows: Sequence[asyncpg.Record]) -> dict[str, ChainHolder]:
    """Return the holders of chains by request id."""
    return {row["request_id"]: ChainHolder(**{**row, "state": State(row["state"])}) for row in rows}


def states_of(rows: Sequence[asyncpg.Record]) -> dict[str, State]:
    """Return the states of requests by request id."""
    return {row["request_id"]: State(row["state"]) for row in rows}


def interval(seconds: float) -> timedelta:
    """Return seconds as the value of an interval parameter."""
    return timedelta(seconds=seconds)


def nanoseconds(time: datetime | None) -> int:
    """Return a timestamp column in nanoseconds since 1970; 0 for NULL."""
    return (time - _EPOCH) // timedelta(microseconds=1) * 1000 if time else 0


def json_text(value: object) -> str:
    """Return a value as the text of a json or jsonb parameter."""
    return orjson.dumps(value).decode()
