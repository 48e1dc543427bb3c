"""Stopping, suspending and resuming requests."""

from __future__ import annotations

from spincycle.errors import InvalidState, RequestNotFound
from spincycle.request_manager.changes import Changes
from spincycle.request_manager.dispatch import Dispatcher, pass_on
from spincycle.request_manager.model import Request
from spincycle.request_manager.runners import RunnerDirectory
from spincycle.request_manager.store import RequestStore
from spincycle.state import LIVE, State


class Control:
    """What people may wish of a request that has not ended.

    A wish is stored before anybody is told of it, so it is answered as soon as it cannot be
    lost. Every method raises RequestNotFound and DatabaseUnavailable.
    """

    def __init__(
        self,
        store: RequestStore,
        runners: RunnerDirectory,
        dispatcher: Dispatcher,
        changes: Changes,
    ) -> None:
        self._store = store
        self._runners = runners
        self._dispatcher = dispatcher
        self._changes = changes

    async def stop(self, request_id: str, user: str, reason: str) -> Request:
        """End a request for good; one that is STOPPED or COMPLETE is answered as it is.

        Raises:
            InvalidState: it has failed.
        """
        return await self._wish(
            request_id, State.STOPPED, user, reason or "stopped", {State.STOPPED, State.COMPLETE}
        )

    async def suspend(self, request_id: str, user: str, reason: str) -> Request:
        """Halt a request until somebody resumes it.

        Raises:
            InvalidState: it has ended.
        """
        return await self._wish(request_id, State.SUSPENDED, user, reason or "suspended", set())

    async def resume(self, request_id: str, user: str) -> Request:
        """Let a suspended request go on; one that is not held is answered as it is.

        Raises:
            InvalidState: it has ended.
        """
        let = await self._store.let_go_on(request_id, user)
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

    async def _wish(
        self, request_id: str, wish: State, user: str, reason: str, as_it_is: set[State]
    ) -> Request:
        request = await self._store.ask_for(request_id, wish, user, reason)
        if request is None:
            request = await self.get(request_id)
            if request.state in as_it_is:
                return request
            raise InvalidState(request_id, request.state.name, _names(LIVE | as_it_is))
        self._changes.changed([request_id])
        if request.runner_id:
            client = (await self._runners.live()).get(request.runner_id)
            if client:
                await pass_on(client, {request_id: wish}, reason)
        return request


def _names(states: frozenset[State] | set[State]) -> str:
    return " or ".join(state.name for state in sorted(states))
