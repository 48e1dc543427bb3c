"""Stops, suspends and resumes requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spincycle.access.caller import Caller
from spincycle.batching.coalescer import Coalescer
from spincycle.errors import InvalidState, RequestNotFound
from spincycle.model.state import LIVE, State
from spincycle.request_manager.runners.directory import RunnerDirectory
from spincycle.request_manager.runners.dispatcher import Dispatcher
from spincycle.request_manager.runners.forwarding import forward
from spincycle.request_manager.storage.actor import Actor
from spincycle.request_manager.storage.change_bus import ChangeBus
from spincycle.request_manager.storage.desired_state_store import DesiredStateStore
from spincycle.request_manager.storage.model import DesiredState, Request
from spincycle.request_manager.storage.request_store import RequestStore


class RequestControl:
    """Changes the desired states of requests that have not ended.

    A desired state is committed before it is forwarded to the runner, so that a call returns as
    soon as it cannot be lost. Every method raises RequestNotFound and DatabaseUnavailable.
    """

    def __init__(
        self,
        store: RequestStore,
        desired_states: DesiredStateStore,
        runners: RunnerDirectory,
        dispatcher: Dispatcher,
        changes: ChangeBus,
    ) -> None:
        self._store = store
        self._desired_states = desired_states
        self._runners = runners
        self._dispatcher = dispatcher
        self._changes = changes
        self._writes = Coalescer[DesiredState, tuple[Request | None, bool]](self._write)

    @property
    def coalescers(self) -> dict[str, Coalescer[Any, Any]]:
        """Coalescers of the writes, by kind."""
        return {"desired_state": self._writes}

    async def stop(self, request_id: str, caller: Caller, reason: str) -> Request:
        """Stop a request for good; one that is STOPPED or COMPLETE is returned unchanged.

        Raises:
            InvalidState: it has failed.
        """
        desired = DesiredState(request_id, State.STOPPED, Actor.of(caller, ""), reason or "stopped")
        return await self._set_desired_state(desired, {State.STOPPED, State.COMPLETE})

    async def suspend(self, request_id: str, caller: Caller, reason: str) -> Request:
        """Suspend a request until a user resumes it.

        Raises:
            InvalidState: it has ended.
        """
        desired = DesiredState(
            request_id, State.SUSPENDED, Actor.of(caller, ""), reason or "suspended"
        )
        return await self._set_desired_state(desired, set())

    async def resume(self, request_id: str, caller: Caller) -> Request:
        """Resume a suspended request; one that is not suspended is returned unchanged.

        Raises:
            InvalidState: it has ended.
        """
        is_cleared = await self._desired_states.clear(request_id, Actor.of(caller, ""))
        request = await self.get(request_id)
        if request.state not in LIVE:
            raise InvalidState(request_id, request.state.name, _names(LIVE))
        if is_cleared:
            self._changes.publish([request_id])
            self._dispatcher.wake()
        return request

    async def start(self, request_id: str) -> None:
        """Dispatch a PENDING request now.

        Raises:
            InvalidState: it is not PENDING.
        """
        request = await self.get(request_id)
        if request.state is not State.PENDING:
            raise InvalidState(request_id, request.state.name, State.PENDING.name)
        self._dispatcher.wake()

    async def get(self, request_id: str) -> Request:
        """Return a request."""
        request = (await self._store.get([request_id])).get(request_id)
        if request is None:
            raise RequestNotFound(request_id)
        return request

    async def _set_desired_state(
        self, desired: DesiredState, unchanged_states: set[State]
    ) -> Request:
        """Store and forward a desired state; return a request in `unchanged_states` as it is."""
        request, is_stored = await self._writes.submit(desired)
        if request is None:
            raise RequestNotFound(desired.request_id)
        if not is_stored:
            if request.state in unchanged_states:
                return request
            allowed = _names(LIVE | unchanged_states)
            raise InvalidState(desired.request_id, request.state.name, allowed)
        if request.runner_id:
            client = (await self._runners.live()).get(request.runner_id)
            if client:
                await forward(client, {desired.request_id: desired.state}, desired.reason)
        return request

    async def _write(
        self, desired: Sequence[DesiredState]
    ) -> list[tuple[Request | None, bool] | BaseException]:
        """Store desired states; return, for each, its request, and whether it was stored."""
        stored: set[str] = set()
        remaining = list(desired)
        while remaining:
            # Of two for the same request the later one wins, so they need two statements.
            batch = {one.request_id: one for one in reversed(remaining)}
            remaining = [one for one in remaining if batch[one.request_id] is not one]
            stored |= await self._desired_states.set(list(batch.values()))
        self._changes.publish(stored)
        requests = await self._store.get(list({one.request_id for one in desired}))
        return [(requests.get(one.request_id), one.request_id in stored) for one in desired]


def _names(states: frozenset[State] | set[State]) -> str:
    return " or ".join(state.name for state in sorted(states))
