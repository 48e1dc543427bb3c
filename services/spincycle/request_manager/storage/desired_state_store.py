"""Desired states of requests in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

from spincycle.database.database import Database
from spincycle.request_manager.storage.actor import Actor
from spincycle.request_manager.storage.model import DesiredState
from spincycle.request_manager.storage.request_counts import RequestCounts
from spincycle.request_manager.storage.row_values import actor_columns, states_of


class DesiredStateStore:
    """Sets and clears the desired states of requests.

    Every method raises DatabaseUnavailable while the database is away.
    """

    def __init__(self, database: Database, counts: RequestCounts) -> None:
        self._database = database
        self._counts = counts

    async def set(self, desired: Sequence[DesiredState]) -> set[str]:
        """Set desired states, at most one per request; return the ids of live requests."""
        rows = await self._database.fetch(
            "set_desired_states",
            request_ids=[one.request_id for one in desired],
            desired_states=[int(one.state) for one in desired],
            reasons=[one.reason for one in desired],
            **actor_columns([one.actor for one in desired]),
        )
        states = states_of(rows)
        self._counts.count_stopped(states.values())
        return set(states)

    async def clear(self, request_id: str, actor: Actor) -> bool:
        """Clear the desired state SUSPENDED of a request; return False if it was not set."""
        row = await self._database.fetch_one(
            "clear_desired_state", request_id=request_id, **actor.columns
        )
        return row is not None
