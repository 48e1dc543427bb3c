"""Assigns waiting requests to runners, and sends them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import aclosing, suppress
from dataclasses import dataclass
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

import structlog

from spincycle.errors import DatabaseUnavailable, SpinCycleError
from spincycle.request_manager.runners.chain_batches import MAX_BATCH_BYTES, in_batches, readable
from spincycle.request_manager.runners.claims import ClaimMonitor
from spincycle.request_manager.runners.client import DispatchResult, RunnerClient
from spincycle.request_manager.runners.directory import (
    REFUSED_BACKOFF,
    UNREACHABLE_BACKOFF,
    RunnerDirectory,
)
from spincycle.request_manager.runners.forwarding import forward
from spincycle.request_manager.storage.archive_store import ArchiveStore
from spincycle.request_manager.storage.change_bus import ChangeBus
from spincycle.request_manager.storage.claim_store import ClaimStore
from spincycle.request_manager.storage.dispatch_store import DispatchStore
from spincycle.request_manager.storage.model import FIRST_EPOCH, Assignment, Requirements, Waiting
from spincycle.runtime.watchdog import Watchdog

MAX_CACHED_BYTES = 1024 * 1024
"""Size of the largest chain that is kept in memory between its creation and its dispatch."""

UNREACHABLE = frozenset({"WRONG_RUNNER", "RUNNER_UNREACHABLE"})
"""Reasons of refusals of a runner that is not at its address."""

NON_RETRYABLE = frozenset({"INVALID_CHAIN"})
"""Reasons of refusals that every runner would give."""


@dataclass(frozen=True, slots=True)
class DispatchPolicy:
    """Parameters of the dispatcher.

    Attributes:
        workers: batches that are dispatched at the same time.
        batch: most requests in a batch.
        sweep_interval: seconds between two queries for waiting requests.
        lease: seconds within which an assigned request must be accepted, or it is sent again;
            measured by the clock of each request manager. Longer than the timeout of a call.
    """

    workers: int = 4
    batch: int = 200
    sweep_interval: float = 2.0
    lease: float = 8.0


@dataclass(frozen=True, slots=True)
class DispatchStores:
    """Stores that the dispatcher uses."""

    dispatch: DispatchStore
    claims: ClaimStore
    archives: ArchiveStore


class Dispatcher:
    """Assigns waiting requests to live runners, least loaded first, and sends them.

    The queue is in the database. A new request is assigned as it is stored, if a runner has room,
    and only has to be sent. A request that no runner accepts keeps waiting.

    Args:
        recover: recovers requests that a runner may or may not have accepted.
        fence: raises the fences of journals to epochs by request id.

    Attributes:
        outcomes: number of requests by outcome: accepted, refused, unanswered, sent again,
            unreadable.
    """

    def __init__(
        self,
        stores: DispatchStores,
        runners: RunnerDirectory,
        changes: ChangeBus,
        recover: Callable[[Sequence[Assignment]], Awaitable[None]],
        fence: Callable[[Mapping[str, int]], Awaitable[None]],
        policy: DispatchPolicy,
    ) -> None:
        self._store = stores.dispatch
        self._claims = stores.claims
        self._archives = stores.archives
        self._runners = runners
        self._changes = changes
        self._recover = recover
        self._fence = fence
        self._policy = policy
        self._waiting: dict[str, Waiting] = {}
        self._assigned: dict[Assignment, bytes] = {}
        self._has_more = False
        self._has_work = asyncio.Event()
        self._wake = asyncio.Event()
        self.watchdog = Watchdog()
        self.outcomes: Counter[str] = Counter()

    async def pick_runners(
        self, requirements: dict[str, Requirements]
    ) -> tuple[dict[str, str], float]:
        """Pick runners for requests that are about to be stored, by request id.

        Return the runner of each request, and the lease of the assignments in seconds. A request
        has no runner if none that can run it has room, or if too many requests are to be sent
        already. The others must be stored as assigned, and then passed to `send`.
        """
        if len(self._assigned) >= self._policy.batch * self._policy.workers * 4:
            return {}, self._policy.lease
        return await self._pick(requirements), self._policy.lease

    def send(self, assigned: Assignment, job_chain: bytes) -> None:
        """Send a request that was stored as assigned, with its chain."""
        self._assigned[assigned] = job_chain if len(job_chain) <= MAX_CACHED_BYTES else b""
        self._has_work.set()

    def wake(self) -> None:
        """Query for waiting requests now."""
        self._wake.set()

    async def run(self) -> None:
        """Dispatch until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._policy.workers):
                group.create_task(self._work())
            group.create_task(self._sweep())
            group.create_task(self._resend_unaccepted())

    async def _sweep(self) -> None:
        """Query for waiting requests, at every interval and when woken."""
        self.watchdog.start()
        while True:
            try:
                waiting = await self._store.waiting(self._runners.unavailable(), self._policy.batch)
                if waiting and await self._runners.live():
                    self._waiting.update(waiting)
                    self._has_more = len(waiting) == self._policy.batch
                    self._has_work.set()
            except DatabaseUnavailable:
                structlog.get_logger().debug("cannot query waiting requests")
            self.watchdog.tick()
            try:
                async with asyncio.timeout(self._policy.sweep_interval):
                    await self._wake.wait()
                    self._wake.clear()
            except TimeoutError:
                continue

    async def _resend_unaccepted(self) -> None:
        """Send requests again that were not accepted within their lease.

        A runner that holds a request accepts it again. So this is safe after any failure of the
        first attempt, including the death of its request manager.
        """
        claims = ClaimMonitor(self._policy.lease)
        while True:
            await asyncio.sleep(self._policy.sweep_interval)
            try:
                expired = claims.expired(await self._claims.unaccepted())[: self._policy.batch]
                if not expired:
                    continue
                assigned = await self._claims.take_over(expired, self._policy.lease)
                if assigned:
                    structlog.get_logger().warning("requests sent again", requests=len(assigned))
                    self.outcomes["sent again"] += len(assigned)
                    await self._send_all(assigned, {})
            except DatabaseUnavailable:
                structlog.get_logger().debug("cannot query unaccepted requests")

    async def _work(self) -> None:
        """Dispatch batches of assigned and of waiting requests."""
        while True:
            await self._has_work.wait()
            if self._assigned:
                batch = dict(islice(self._assigned.items(), self._policy.batch))
                for one in batch:
                    del self._assigned[one]
                chains = {one.request_id: chain for one, chain in batch.items() if chain}
                request_ids = [one.request_id for one in batch]
                await self._attempt(request_ids, self._send_all(list(batch), chains))
                continue
            count = min(len(self._waiting), self._policy.batch)
            if not count:
                self._has_work.clear()
                if self._has_more:
                    self._has_more = False
                    self.wake()
                continue
            waiting = dict(islice(self._waiting.items(), count))
            for request_id in waiting:
                del self._waiting[request_id]
            await self._attempt(list(waiting), self._dispatch(waiting))

    async def _attempt(self, request_ids: list[str], work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except DatabaseUnavailable:
            structlog.get_logger().debug("cannot dispatch", requests=len(request_ids))
        except Exception:  # noqa: BLE001 # the failure of one batch must not end the worker
            structlog.get_logger().exception("cannot dispatch", request_ids=request_ids)

    async def _dispatch(self, batch: dict[str, Waiting]) -> None:
        pairs = await self._pick({id_: one.requirements for id_, one in batch.items()})
        if not pairs:
            return
        # The assignment is committed before the chain is sent, so that recovery finds the request
        # whether or not the runner received it before crashing.
        limited = {id_: pairs.pop(id_) for id_ in batch if batch[id_].limited and id_ in pairs}
        assigned = await self._store.assign(pairs, self._policy.lease) if pairs else []
        if limited:
            assigned += await self._store.assign_limited(limited, self._policy.lease)
        await self._send_all(assigned, {})

    async def _pick(self, requirements: dict[str, Requirements]) -> dict[str, str]:
        """Pick a runner for each request, as far as runners that can run it have room.

        Consecutive requests with the same requirements are picked for together, so that requests
        get the room on runners in their order, whatever they require.
        """
        pairs: dict[str, str] = {}
        for required, group in groupby(requirements.items(), key=itemgetter(1)):
            request_ids = [request_id for request_id, _ in group]
            picked = await self._runners.pick_runners(len(request_ids), required)
            pairs.update(zip(request_ids, picked, strict=False))
        return pairs

    async def _send_all(self, assigned: list[Assignment], chains: dict[str, bytes]) -> None:
        """Send assigned requests to their runners; `chains` has those that are in memory."""
        by_runner: dict[str, list[Assignment]] = {}
        for one in assigned:
            by_runner.setdefault(one.runner_id, []).append(one)
        clients = await self._runners.live()
        async with asyncio.TaskGroup() as group:
            for runner_id, its in by_runner.items():
                group.create_task(self._send_to(clients.get(runner_id), its, chains))

    async def _send_to(
        self,
        client: RunnerClient | None,
        assigned: list[Assignment],
        chains: dict[str, bytes],
    ) -> None:
        try:
            if client is None:
                # The runner was deregistered since: nothing was sent, or not by this process.
                await self._unassign([one for one in assigned if self._is_only_sender(one)])
                await self._recover([one for one in assigned if not self._is_only_sender(one)])
                return
            async with aclosing(self._results(client, assigned, chains)) as results:
                async for result in results:
                    result.mark_doubtful(self._is_doubtful)
                    await self._apply(client, result)
        except DatabaseUnavailable:
            # Requests without a stored outcome are still assigned, and are sent again.
            structlog.get_logger().debug("cannot store dispatch results", requests=len(assigned))

    def _is_only_sender(self, one: Assignment) -> bool:
        """Return whether no other process can have sent a request to its runner.

        Others send it again after the lease; its second half is left to this process to store
        the response.
        """
        return time.monotonic() - one.assigned_at < self._policy.lease / 2

    def _is_doubtful(self, one: Assignment, error: SpinCycleError) -> bool:
        """Return whether another process may have sent a refused request, too.

        A request that is unassigned is assigned to the next runner as if it had never been sent.
        """
        return error.reason not in NON_RETRYABLE and not self._is_only_sender(one)

    async def _results(
        self, client: RunnerClient, assigned: list[Assignment], chains: dict[str, bytes]
    ) -> AsyncGenerator[DispatchResult, None]:
        """Send requests, those with a saved state to be resumed; yield the results of the calls."""
        left = {one.request_id: one for one in assigned}
        in_memory = {left.pop(id_): chain for id_, chain in chains.items() if id_ in left}
        for part in in_batches(in_memory):
            yield await self._call(client.run, part)
        resumed = [one.request_id for one in assigned if one.resumed]
        async for saved in self._archives.suspended_job_chains(resumed):
            states = readable({left.pop(id_): state for id_, state in saved.items()}, self.outcomes)
            if await self._fence_earlier_epochs(states):
                for part in in_batches(states):
                    yield await self._call(client.resume, part)
        async for archived in self._archives.chain_portions(list(left)):
            new = readable({left.pop(id_): chain for id_, chain in archived.items()}, self.outcomes)
            for part in in_batches(new):
                yield await self._call(client.run, part)

    async def _fence_earlier_epochs(self, assigned: Iterable[Assignment]) -> bool:
        """Have the journals refuse entries of the runners that had the requests before.

        Return whether they do. Otherwise the requests are sent again after their lease.
        """
        epochs = {one.request_id: one.epoch for one in assigned if one.epoch > FIRST_EPOCH}
        try:
            async with asyncio.timeout(self._policy.lease / 4):
                if epochs:
                    await self._fence(epochs)
        except (TimeoutError, SpinCycleError) as error:
            structlog.get_logger().warning(
                "cannot fence journals yet", requests=len(epochs), why=str(error)
            )
            return False
        return True

    async def _call(
        self,
        send: Callable[[dict[Assignment, bytes]], Awaitable[DispatchResult]],
        chains: dict[Assignment, bytes],
    ) -> DispatchResult:
        if sum(map(len, chains.values())) <= MAX_BATCH_BYTES:
            return await send(chains)
        holding = asyncio.create_task(self._hold(list(chains)))
        try:
            return await send(chains)
        finally:
            holding.cancel()

    async def _hold(self, assigned: Sequence[Assignment]) -> None:
        """Extend the claims on requests that take long to be sent, so that none is sent again."""
        while True:
            with suppress(DatabaseUnavailable):
                await self._store.hold_assignments(assigned, self._policy.lease)
            await asyncio.sleep(self._policy.lease / 4)

    async def _apply(self, client: RunnerClient, result: DispatchResult) -> None:
        log = structlog.get_logger().bind(runner_id=client.runner.runner_id)
        self.outcomes["accepted"] += len(result.accepted)
        self.outcomes["unanswered"] += len(result.unanswered)
        self.outcomes["refused"] += len(result.refused)
        if result.accepted:
            desired = await self._store.accept(result.accepted)
            self._changes.publish(desired)
            await forward(client, {id_: state for id_, state in desired.items() if state})
            for one in result.accepted:
                log.info("dispatched", request_id=one.request_id, epoch=one.epoch)
        if result.unanswered:
            log.warning("runner did not respond", requests=len(result.unanswered))
            self._runners.back_off_runner(client.runner.runner_id, UNREACHABLE_BACKOFF)
            await self._recover(result.unanswered)
        if result.damaged:
            for one in result.damaged:
                log.error("saved state damaged", request_id=one.request_id, epoch=one.epoch)
            await self._recover(result.damaged)
        if result.refused:
            await self._apply_refusals(client.runner.runner_id, result.refused)

    async def _unassign(self, assigned: list[Assignment]) -> None:
        if not assigned:
            return
        self._changes.publish(await self._store.unassign(assigned))
        self.wake()

    async def _apply_refusals(
        self, runner_id: str, refused: dict[Assignment, SpinCycleError]
    ) -> None:
        log = structlog.get_logger().bind(runner_id=runner_id)
        non_retryable = {
            one: error.message for one, error in refused.items() if error.reason in NON_RETRYABLE
        }
        if non_retryable:
            self._changes.publish(await self._store.fail(non_retryable))
        retryable = [one for one in refused if one not in non_retryable]
        if retryable:
            is_unreachable = any(error.reason in UNREACHABLE for error in refused.values())
            backoff = UNREACHABLE_BACKOFF if is_unreachable else REFUSED_BACKOFF
            self._runners.back_off_runner(runner_id, backoff)
            await self._unassign(retryable)
        for one, error in refused.items():
            log.warning(
                "refused", request_id=one.request_id, reason=error.reason, why=error.message
            )
