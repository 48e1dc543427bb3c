"""Stopping, suspending and resuming requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spincycle.batching.coalescer import Coalescer
from spincycle.errors import InvalidState, RequestNotFound
from spincycle.model.state import LIVE, State
from spincycle.request_manager.runners.directory import RunnerDirectory
from spincycle.request_manager.runners.dispatcher import Dispatcher, pass_on
from spincycle.request_manager.storage.change_bus import ChangeBus
from spincycle.request_manager.storage.desired_state_store import DesiredStateStore
from spincycle.request_manager.storage.model import DesiredState, Request
from spincycle.request_manager.storage.request_store import RequestStore


class RequestControl:
    """What people may wish of a request that has not ended.

    A wish is stored before anybody is told of it, so it is answered as soon as it cannot be
    lost. Every method raises RequestNotFound and DatabaseUnavailable.
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
        self._wishes = Coalescer[DesiredState, tuple[Request | None, bool]](self._ask)

    @property
    def coalescers(self) -> dict[str, Coalescer[Any, Any]]:
        """What is written together, by kind."""
        return {"wish": self._wishes}

    async def stop(self, request_id: str, user: str, reason: str) -> Request:
        """End a request for good; one that is STOPPED or COMPLETE is answered as it is.

        Raises:
            InvalidState: it has failed.
        """
        wish = DesiredState(request_id, State.STOPPED, user, reason or "stopped")
        return await self._wish(wish, {State.STOPPED, State.COMPLETE})

    async def suspend(self, request_id: str, user: str, reason: str) -> Request:
        """Halt a request until somebody resumes it.

        Raises:
            InvalidState: it has ended.
        """
        wish = DesiredState(request_id, State.SUSPENDED, user, reason or "suspended")
        return await self._wish(wish, set())

    async def resume(self, request_id: str, user: str) -> Request:
        """Let a suspended request go on; one that is not held is answered as it is.

        Raises:
            InvalidState: it has ended.
        """
        let = await self._desired_states.clear(request_id, user)
        request = await self.get(request_id)
        if request.state not in LIVE:
            raise InvalidState(request_id, request.state.name, _names(LIVE))
        if let:
            self._changes.changed([request_id])
            self._dispatcher.look()
        return request

    async def start(self, request_id: str) -> None:
        """Dispatch a PENDING request now.

        Raises:
            InvalidState: it is not PENDING.
        """
        request = await self.get(request_id)
        if request.state is not State.PENDING:
            raise InvalidState(request_id, request.state.name, State.PENDING.name)
        self._dispatcher.look()

    async def get(self, request_id: str) -> Request:
        """The request as it is."""
        request = (await self._store.get([request_id])).get(request_id)
        if request is None:
            raise RequestNotFound(request_id)
        return request

    async def _wish(self, wish: DesiredState, as_it_is: set[State]) -> Request:
        request, kept = await self._wishes.submit(wish)
        if request is None:
            raise RequestNotFound(wish.request_id)
        if not kept:
            if request.state in as_it_is:
                return request
            raise InvalidState(wish.request_id, request.state.name, _names(LIVE | as_it_is))
        if request.runner_id:
            client = (await self._runners.live()).get(request.runner_id)
            if client:
                await pass_on(client, {wish.request_id: wish.state}, wish.reason)
        return request

    async def _ask(
        self, wishes: Sequence[DesiredState]
    ) -> list[tuple[Request | None, bool] | BaseException]:
        """For each wish the request as it is then, and whether the wish was kept."""
        kept: set[str] = set()
        left = list(wishes)
        while left:
            # The latest of two wishes for one request wins, so they must not share a statement.
            now = {wish.request_id: wish for wish in reversed(left)}
            left = [wish for wish in left if now[wish.request_id] is not wish]
            kept |= await self._desired_states.set(list(now.values()))
        self._changes.changed(kept)
        found = await self._store.get(list({wish.request_id for wish in wishes}))
        return [(found.get(wish.request_id), wish.request_id in kept) for wish in wishes]


def _names(states: frozenset[State] | set[State]) -> str:
    return " or ".join(state.name for state in sorted(states))
