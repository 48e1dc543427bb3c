"""Which runner gets a request, and what happens when it does not answer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from spincycle.errors import DatabaseUnavailable, RunnerUnreachable, SpinCycleError
from spincycle.request_manager.changes import Changes
from spincycle.request_manager.model import Assigned
from spincycle.request_manager.runner_client import Answer, RunnerClient
from spincycle.request_manager.runners import RunnerDirectory
from spincycle.request_manager.store import RequestStore
from spincycle.state import State

NEVER_RUNS = frozenset({"INVALID_CHAIN"})
"""Refusals after which no other runner need be asked."""


@dataclass(frozen=True, slots=True)
class DispatchPolicy:
    """How the dispatcher goes about its work.

    Attributes:
        flights: batches under way at once.
        batch: most requests in one of them.
        sweep_interval: seconds between two looks for requests that wait.
    """

    flights: int = 4
    batch: int = 200
    sweep_interval: float = 2.0


class Dispatcher:
    """Hands waiting requests to live runners, least loaded first.

    The database knows what waits; what is offered here only saves the time until the next
    look. A request that no runner takes stays as it is and is tried again.
    """

    def __init__(
        self,
        store: RequestStore,
        runners: RunnerDirectory,
        changes: Changes,
        recover: Callable[[Sequence[Assigned]], Awaitable[None]],
        policy: DispatchPolicy,
    ) -> None:
        self._store = store
        self._runners = runners
        self._changes = changes
        self._recover = recover
        self._policy = policy
        self._offered: deque[str] = deque()
        self._limited: set[str] = set()
        self._chains: dict[str, bytes] = {}
        self._something = asyncio.Event()
        self._look = asyncio.Event()

    def offer(self, request_id: str, job_chain: bytes) -> None:
        """Dispatch a request that was just stored, whose serialized chain is at hand."""
        if len(self._offered) < self._policy.batch * self._policy.flights * 4:
            self._offered.append(request_id)
            self._chains[request_id] = job_chain
            self._something.set()

    def look(self) -> None:
        """Look for waiting requests now: one was let go on, or a runner has come."""
        self._look.set()

    async def run(self) -> None:
        """Dispatch until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._policy.flights):
                group.create_task(self._fly())
            group.create_task(self._sweep())

    async def _sweep(self) -> None:
        while True:
            try:
                if await self._runners.live():
                    waiting = await self._store.waiting(self._policy.batch)
                    known = set(self._offered)
                    self._offered.extend(id_ for id_ in waiting if id_ not in known)
                    self._limited.update(id_ for id_, limited in waiting.items() if limited)
                    self._something.set()
            except DatabaseUnavailable:
                structlog.get_logger().debug("cannot look for waiting requests")
            try:
                async with asyncio.timeout(self._policy.sweep_interval):
                    await self._look.wait()
                    self._look.clear()
            except TimeoutError:
                continue

    async def _fly(self) -> None:
        while True:
            await self._something.wait()
            count = min(len(self._offered), self._policy.batch)
            if not count:
                self._something.clear()
                continue
            batch = list(dict.fromkeys(self._offered.popleft() for _ in range(count)))
            chains = {id_: self._chains.pop(id_) for id_ in batch if id_ in self._chains}
            try:
                await self._dispatch(batch, chains)
            except DatabaseUnavailable:
                structlog.get_logger().warning("cannot dispatch", requests=len(batch))

    async def _dispatch(self, batch: list[str], chains: dict[str, bytes]) -> None:
        chosen = await self._runners.choose(len(batch))
        if not chosen:
            return
        # The assignment is committed before the chain is sent: a runner that crashes after
        # accepting is then found by recovery, and one that never got it is too.
        pairs = dict(zip(batch, chosen, strict=False))
        limited = {id_: pairs.pop(id_) for id_ in batch if id_ in self._limited and id_ in pairs}
        self._limited.difference_update(batch)
        assigned = await self._store.assign(pairs) if pairs else []
        if limited:
            assigned += await self._store.assign_limited(limited)
        by_runner: dict[str, list[Assigned]] = {}
        for one in assigned:
            by_runner.setdefault(one.runner_id, []).append(one)
        clients = await self._runners.live()
        async with asyncio.TaskGroup() as group:
            for runner_id, its in by_runner.items():
                group.create_task(self._give(clients.get(runner_id), its, chains))

    async def _give(
        self, client: RunnerClient | None, assigned: list[Assigned], chains: dict[str, bytes]
    ) -> None:
        try:
            if client is None:
                await self._recover(assigned)
                return
            for answer in await self._send(client, assigned, chains):
                await self._settle(client, answer)
        except DatabaseUnavailable:
            # What was not settled is still assigned; the runner reports, or recovery finds it.
            structlog.get_logger().warning("cannot settle a dispatch", requests=len(assigned))

    async def _send(
        self, client: RunnerClient, assigned: list[Assigned], chains: dict[str, bytes]
    ) -> list[Answer]:
        resumed = [one.request_id for one in assigned if one.resumed]
        saved = await self._store.suspended_job_chains(resumed) if resumed else {}
        missing = [
            one.request_id
            for one in assigned
            if one.request_id not in saved and one.request_id not in chains
        ]
        if missing:
            chains = chains | await self._store.job_chains(missing)
        new = {one: chains[one.request_id] for one in assigned if one.request_id not in saved}
        old = {one: saved[one.request_id] for one in assigned if one.request_id in saved}
        answers = []
        if new:
            answers.append(await client.run(new))
        if old:
            answers.append(await client.resume(old))
        return answers

    async def _settle(self, client: RunnerClient, answer: Answer) -> None:
        log = structlog.get_logger().bind(runner_id=client.runner.runner_id)
        if answer.accepted:
            wishes = await self._store.accept(answer.accepted)
            self._changes.changed(wishes)
            await pass_on(client, {id_: wish for id_, wish in wishes.items() if wish})
            for one in answer.accepted:
                log.info("dispatched", request_id=one.request_id, epoch=one.epoch)
        if answer.unanswered:
            log.warning("runner did not answer", requests=len(answer.unanswered))
            self._runners.avoid(client.runner.runner_id)
            await self._recover(answer.unanswered)
        if answer.refused:
            await self._refused(client.runner.runner_id, answer.refused)

    async def _refused(self, runner_id: str, refused: dict[Assigned, SpinCycleError]) -> None:
        log = structlog.get_logger().bind(runner_id=runner_id)
        hopeless = {
            one: error.message for one, error in refused.items() if error.reason in NEVER_RUNS
        }
        if hopeless:
            self._changes.changed(await self._store.fail(hopeless))
        elsewhere = [one for one in refused if one not in hopeless]
        if elsewhere:
            self._runners.avoid(runner_id)
            self._changes.changed(await self._store.unassign(elsewhere))
            self.look()
        for one, error in refused.items():
            log.warning(
                "refused", request_id=one.request_id, reason=error.reason, why=error.message
            )


async def pass_on(client: RunnerClient, wishes: dict[str, State], reason: str = "") -> None:
    """Tell a runner what is wished of its requests.

    The wish is stored, so a runner that does not answer now is told again with its next beat.
    """
    try:
        stop = [id_ for id_, wish in wishes.items() if wish is State.STOPPED]
        if stop:
            await client.stop(stop, reason)
        suspend = [id_ for id_, wish in wishes.items() if wish is State.SUSPENDED]
        if suspend:
            await client.suspend(suspend, reason)
    except RunnerUnreachable as error:
        structlog.get_logger().warning("wish not passed on", why=error.message)
