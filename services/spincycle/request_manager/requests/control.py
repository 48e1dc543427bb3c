"""Stops, suspends and resumes requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog

from spincycle.access.caller import Caller
from spincycle.batching.coalescer import Coalescer
from spincycle.errors import InvalidState, RequestNotFound
from spincycle.model.operation import Operation
from spincycle.model.state import LIVE, State
from spincycle.request_manager.requests.access_control import AccessControl
from spincycle.request_manager.runners.directory import RunnerDirectory
from spincycle.request_manager.runners.dispatcher import Dispatcher
from spincycle.request_manager.runners.forwarding import forward
from spincycle.request_manager.storage.change_bus import ChangeBus
from spincycle.request_manager.storage.desired_state_store import DesiredStateStore
from spincycle.request_manager.storage.model import DesiredState, Request
from spincycle.request_manager.storage.request_store import RequestStore
from spincycle.rpc.limits import REASON_BYTES
from spincycle.text.shortening import shortened


class RequestControl:
    """Changes the desired states of requests that have not ended.

    A desired state is committed before it is forwarded to the runner, so that a call returns as
    soon as it cannot be lost. Every method raises RequestNotFound, AccessDenied and
    DatabaseUnavailable.
    """

    def __init__(
        self,
        store: RequestStore,
        desired_states: DesiredStateStore,
        runners: RunnerDirectory,
        dispatcher: Dispatcher,
        changes: ChangeBus,
        access: AccessControl,
    ) -> None:
        self._store = store
        self._access = access
        self._desired_states = desired_states
        self._runners = runners
        self._dispatcher = dispatcher
        self._changes = changes
        self._reads = Coalescer[str, Request | None](self._read)
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
        desired = await self._desired(request_id, State.STOPPED, caller, reason)
        return await self._set_desired_state(desired, {State.STOPPED, State.COMPLETE})

    async def suspend(self, request_id: str, caller: Caller, reason: str) -> Request:
        """Suspend a request until a user resumes it.

        Raises:
            InvalidState: it has ended.
        """
        desired = await self._desired(request_id, State.SUSPENDED, caller, reason)
        return await self._set_desired_state(desired, set())

    async def resume(self, request_id: str, caller: Caller) -> Request:
        """Resume a suspended request; one that is not suspended is returned unchanged.

        Raises:
            InvalidState: it has ended.
        """
        request = await self.get(request_id)
        actor = await self._access.authorize(
            caller, Operation.RESUME, request.type, request_id=request_id
        )
        is_cleared = await self._desired_states.clear(request_id, actor)
        request = await self.get(request_id)
        if request.state not in LIVE:
            raise InvalidState(request_id, request.state.name, _names(LIVE))
        if is_cleared:
            structlog.get_logger().info("resumed", request_id=request_id, user=actor.user)
            self._changes.publish([request_id])
            self._dispatcher.wake()
        return request

    async def start(self, request_id: str, caller: Caller) -> None:
        """Dispatch a PENDING request now.

        Raises:
            InvalidState: it is not PENDING.
        """
        request = await self.get(request_id)
        await self._access.authorize(caller, Operation.START, request.type, request_id=request_id)
        if request.state is not State.PENDING:
            raise InvalidState(request_id, request.state.name, State.PENDING.name)
        self._dispatcher.wake()

    async def get(self, request_id: str) -> Request:
        """Return a request."""
        request = await self._reads.submit(request_id)
        if request is None:
            raise RequestNotFound(request_id)
        return request

    async def _desired(
        self, request_id: str, state: State, caller: Caller, reason: str
    ) -> DesiredState:
        """Authorize a caller to set a desired state, and return what is stored of it."""
        request = await self.get(request_id)
        operation, done = _OPERATIONS[state]
        actor = await self._access.authorize(caller, operation, request.type, request_id=request_id)
        return DesiredState(request_id, state, actor, _reason(done, actor.user, reason))

    async def _set_desired_state(
        self, desired: DesiredState, unchanged_states: set[State]
    ) -> Request:
        """Store and forward a desired state; return a request in `unchanged_states` as it is."""
        request, is_stored = await self._writes.submit(desired)
        if request is None:
            raise RequestNotFound(desired.request_id)
        if is_stored:
            structlog.get_logger().info(
                "desired state set",
                request_id=desired.request_id,
                state=desired.state.name,
                user=desired.actor.user,
                reason=desired.reason,
            )
        else:
            if request.state in unchanged_states:
                return request
            allowed = _names(LIVE | unchanged_states)
            raise InvalidState(desired.request_id, request.state.name, allowed)
        if request.runner_id:
            client = (await self._runners.live()).get(request.runner_id)
            if client:
                await forward(client, {desired.request_id: desired.state}, desired.reason)
        return request

    async def _read(self, request_ids: Sequence[str]) -> list[Request | None]:
        found = await self._store.get(list(set(request_ids)))
        return [found.get(request_id) for request_id in request_ids]

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


_OPERATIONS = {
    State.STOPPED: (Operation.STOP, "stopped"),
    State.SUSPENDED: (Operation.SUSPEND, "suspended"),
}
"""The operation that sets a desired state, and the word for it in reasons."""


def _reason(done: str, user: str, given: str) -> str:
    """Return the reason of a request, such as "stopped by ann: wrong host"."""
    if not user:
        return given or done
    return shortened(f"{done} by {user}: {given}" if given else f"{done} by {user}", REASON_BYTES)


def _names(states: frozenset[State] | set[State]) -> str:
    return " or ".join(state.name for state in sorted(states))
