"""Which runner gets a request, and what happens when it does not answer."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

import structlog

from spincycle.errors import DatabaseUnavailable, RunnerUnreachable, SpinCycleError
from spincycle.model.state import State
from spincycle.request_manager.runners.claims import ClaimMonitor
from spincycle.request_manager.runners.client import DispatchResult, RunnerClient
from spincycle.request_manager.runners.directory import FULL_FOR, UNREACHABLE_FOR, RunnerDirectory
from spincycle.request_manager.storage.archive_store import ArchiveStore
from spincycle.request_manager.storage.change_bus import ChangeBus
from spincycle.request_manager.storage.claim_store import ClaimStore
from spincycle.request_manager.storage.dispatch_store import DispatchStore
from spincycle.request_manager.storage.model import Assignment, Requirements, Waiting
from spincycle.runtime.watchdog import Watchdog

MAX_BATCH_BYTES = 16 * 1024 * 1024
"""Size up to which a call to a runner takes chains; a larger one travels alone, in parts."""

AT_HAND_BYTES = 1024 * 1024
"""Largest chain that is kept at hand between its creation and its dispatch."""

NOT_THERE = frozenset({"WRONG_RUNNER", "RUNNER_UNREACHABLE"})
"""Refusals of a runner that is not where it was thought to be."""

NEVER_RUNS = frozenset({"INVALID_CHAIN"})
"""Refusals after which no other runner need be asked."""


@dataclass(frozen=True, slots=True)
class DispatchPolicy:
    """How the dispatcher goes about its work.

    Attributes:
        flights: batches under way at once.
        batch: most requests in one of them.
        sweep_interval: seconds between two looks for requests that wait.
        lease: seconds in which a request that was given to a runner must be accepted, or it is
            sent again, by each request manager's own clock; longer than a runner has to answer.
    """

    flights: int = 4
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
    """Hands waiting requests to live runners, least loaded first.

    The database knows what waits. A new request is given to a runner as it is stored, if one
    has room, and only needs to be sent. A request that no runner takes stays as it is and is
    tried again.

    Attributes:
        answers: how often requests were accepted, refused, unanswered, and sent again.
    """

    def __init__(
        self,
        stores: DispatchStores,
        runners: RunnerDirectory,
        changes: ChangeBus,
        recover: Callable[[Sequence[Assignment]], Awaitable[None]],
        policy: DispatchPolicy,
    ) -> None:
        self._store = stores.dispatch
        self._claims = stores.claims
        self._archives = stores.archives
        self._runners = runners
        self._changes = changes
        self._recover = recover
        self._policy = policy
        self._offered: dict[str, Waiting] = {}
        self._stored: dict[Assignment, bytes] = {}
        self._more = False
        self._something = asyncio.Event()
        self._look = asyncio.Event()
        self.pulse = Watchdog()
        self.answers: Counter[str] = Counter()

    async def choose(self, requirements: dict[str, Requirements]) -> tuple[dict[str, str], float]:
        """Choose runners for requests that are about to be stored, by what each requires.

        Return the runner of each request, and the seconds for which it has the request. Requests
        have none if no runner that can run them has room, or if too much waits to be sent
        already. The others are then stored as given to their runner, and handed to `send`.
        """
        if len(self._stored) >= self._policy.batch * self._policy.flights * 4:
            return {}, self._policy.lease
        return await self._pairs(requirements), self._policy.lease

    def send(self, assigned: Assignment, job_chain: bytes) -> None:
        """Send a request that was just stored as given to a runner, whose chain is at hand."""
        self._stored[assigned] = job_chain if len(job_chain) <= AT_HAND_BYTES else b""
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
            group.create_task(self._send_again())

    async def _sweep(self) -> None:
        self.pulse.start()
        while True:
            try:
                waiting = await self._store.waiting(self._runners.unavailable(), self._policy.batch)
                if waiting and await self._runners.live():
                    self._offered.update(waiting)
                    self._more = len(waiting) == self._policy.batch
                    self._something.set()
            except DatabaseUnavailable:
                structlog.get_logger().debug("cannot look for waiting requests")
            self.pulse.tick()
            try:
                async with asyncio.timeout(self._policy.sweep_interval):
                    await self._look.wait()
                    self._look.clear()
            except TimeoutError:
                continue

    async def _send_again(self) -> None:
        """Send what was given to a runner that never said that it has it.

        A runner that has it says so again. So this may follow on anything that went wrong
        with the first sending, the death of the request manager included.
        """
        claims = ClaimMonitor(self._policy.lease)
        while True:
            await asyncio.sleep(self._policy.sweep_interval)
            try:
                ended = claims.ended(await self._claims.unaccepted())[: self._policy.batch]
                if not ended:
                    continue
                forgotten = await self._claims.take_over(ended, self._policy.lease)
                if forgotten:
                    structlog.get_logger().warning("sent again", requests=len(forgotten))
                    self.answers["sent again"] += len(forgotten)
                    await self._give_all(forgotten, {})
            except DatabaseUnavailable:
                structlog.get_logger().debug("cannot look for requests to send again")

    async def _fly(self) -> None:
        while True:
            await self._something.wait()
            if self._stored:
                stored = dict(islice(self._stored.items(), self._policy.batch))
                for one in stored:
                    del self._stored[one]
                chains = {one.request_id: chain for one, chain in stored.items() if chain}
                request_ids = [one.request_id for one in stored]
                await self._attempt(request_ids, self._give_all(list(stored), chains))
                continue
            count = min(len(self._offered), self._policy.batch)
            if not count:
                self._something.clear()
                if self._more:
                    self._more = False
                    self.look()
                continue
            batch = dict(islice(self._offered.items(), count))
            for request_id in batch:
                del self._offered[request_id]
            await self._attempt(list(batch), self._dispatch(batch))

    async def _attempt(self, batch: list[str], work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except DatabaseUnavailable:
            structlog.get_logger().debug("cannot dispatch", requests=len(batch))
        except Exception:  # noqa: BLE001 # what is wrong with one batch must not end the others
            structlog.get_logger().exception("cannot dispatch", request_ids=batch)

    async def _dispatch(self, batch: dict[str, Waiting]) -> None:
        pairs = await self._pairs({id_: one.requirements for id_, one in batch.items()})
        if not pairs:
            return
        # The assignment is committed before the chain is sent: a runner that crashes after
        # accepting is then found by recovery, and one that never got it is too.
        limited = {id_: pairs.pop(id_) for id_ in batch if batch[id_].limited and id_ in pairs}
        assigned = await self._store.assign(pairs, self._policy.lease) if pairs else []
        if limited:
            assigned += await self._store.assign_limited(limited, self._policy.lease)
        await self._give_all(assigned, {})

    async def _pairs(self, requirements: dict[str, Requirements]) -> dict[str, str]:
        """Choose a runner for each request, as far as runners that can run it have room.

        Neighbours that require the same are chosen for together, so that requests get the places
        of runners in their order, whatever they require.
        """
        pairs: dict[str, str] = {}
        for required, group in groupby(requirements.items(), key=itemgetter(1)):
            request_ids = [request_id for request_id, _ in group]
            chosen = await self._runners.choose(len(request_ids), required)
            pairs.update(zip(request_ids, chosen, strict=False))
        return pairs

    async def _give_all(self, assigned: list[Assignment], chains: dict[str, bytes]) -> None:
        by_runner: dict[str, list[Assignment]] = {}
        for one in assigned:
            by_runner.setdefault(one.runner_id, []).append(one)
        clients = await self._runners.live()
        async with asyncio.TaskGroup() as group:
            for runner_id, its in by_runner.items():
                group.create_task(self._give(clients.get(runner_id), its, chains))

    async def _give(
        self,
        client: RunnerClient | None,
        assigned: list[Assignment],
        chains: dict[str, bytes],
    ) -> None:
        try:
            if client is None:
                # It is gone since it was chosen, so nothing was sent, or not by this process.
                await self._take_back([one for one in assigned if self._is_left_to_us(one)])
                await self._recover([one for one in assigned if not self._is_left_to_us(one)])
                return
            async with aclosing(self._send(client, assigned, chains)) as answers:
                async for answer in answers:
                    answer.doubt(self._is_doubtful)
                    await self._settle(client, answer)
        except DatabaseUnavailable:
            # What was not settled is still assigned, and is sent again.
            structlog.get_logger().debug("cannot settle a dispatch", requests=len(assigned))

    def _is_left_to_us(self, one: Assignment) -> bool:
        """Whether nobody else can have sent a request to its runner.

        Others send it again after the lease; the half that is left is for what this process
        does upon the answer.
        """
        return time.monotonic() - one.given_at < self._policy.lease / 2

    def _is_doubtful(self, one: Assignment, error: SpinCycleError) -> bool:
        """Whether a runner that refused a request may get it, or have got it, from somebody else.

        A request that is taken back goes to the next runner as if it had never been sent.
        """
        return error.reason not in NEVER_RUNS and not self._is_left_to_us(one)

    async def _send(
        self, client: RunnerClient, assigned: list[Assignment], chains: dict[str, bytes]
    ) -> AsyncGenerator[DispatchResult, None]:
        left = {one.request_id: one for one in assigned}
        resumed = [one.request_id for one in assigned if one.resumed]
        async for saved in self._archives.suspended_job_chains(resumed):
            for part in _parts({left.pop(id_): state for id_, state in saved.items()}):
                yield await self._hand_over(client.resume, part)
        at_hand = {left.pop(id_): chain for id_, chain in chains.items() if id_ in left}
        for part in _parts(at_hand):
            yield await self._hand_over(client.run, part)
        async for archived in self._archives.chain_portions(list(left)):
            for part in _parts({left.pop(id_): chain for id_, chain in archived.items()}):
                yield await self._hand_over(client.run, part)

    async def _hand_over(
        self,
        give: Callable[[dict[Assignment, bytes]], Awaitable[DispatchResult]],
        chains: dict[Assignment, bytes],
    ) -> DispatchResult:
        if sum(map(len, chains.values())) <= MAX_BATCH_BYTES:
            return await give(chains)
        holding = asyncio.create_task(self._hold(list(chains)))
        try:
            return await give(chains)
        finally:
            holding.cancel()

    async def _hold(self, assigned: Sequence[Assignment]) -> None:
        """Keep what takes long to be sent from being sent again meanwhile."""
        while True:
            with suppress(DatabaseUnavailable):
                await self._store.hold_assignments(assigned, self._policy.lease)
            await asyncio.sleep(self._policy.lease / 4)

    async def _settle(self, client: RunnerClient, answer: DispatchResult) -> None:
        log = structlog.get_logger().bind(runner_id=client.runner.runner_id)
        self.answers["accepted"] += len(answer.accepted)
        self.answers["unanswered"] += len(answer.unanswered)
        self.answers["refused"] += len(answer.refused)
        if answer.accepted:
            wishes = await self._store.accept(answer.accepted)
            self._changes.changed(wishes)
            await pass_on(client, {id_: wish for id_, wish in wishes.items() if wish})
            for one in answer.accepted:
                log.info("dispatched", request_id=one.request_id, epoch=one.epoch)
        if answer.unanswered:
            log.warning("runner did not answer", requests=len(answer.unanswered))
            self._runners.avoid(client.runner.runner_id, UNREACHABLE_FOR)
            await self._recover(answer.unanswered)
        if answer.damaged:
            for one in answer.damaged:
                log.error("saved state is damaged", request_id=one.request_id, epoch=one.epoch)
            await self._recover(answer.damaged)
        if answer.refused:
            await self._refused(client.runner.runner_id, answer.refused)

    async def _take_back(self, assigned: list[Assignment]) -> None:
        if not assigned:
            return
        self._changes.changed(await self._store.unassign(assigned))
        self.look()

    async def _refused(self, runner_id: str, refused: dict[Assignment, SpinCycleError]) -> None:
        log = structlog.get_logger().bind(runner_id=runner_id)
        hopeless = {
            one: error.message for one, error in refused.items() if error.reason in NEVER_RUNS
        }
        if hopeless:
            self._changes.changed(await self._store.fail(hopeless))
        elsewhere = [one for one in refused if one not in hopeless]
        if elsewhere:
            unreachable = any(error.reason in NOT_THERE for error in refused.values())
            self._runners.avoid(runner_id, UNREACHABLE_FOR if unreachable else FULL_FOR)
            await self._take_back(elsewhere)
        for one, error in refused.items():
            log.warning(
                "refused", request_id=one.request_id, reason=error.reason, why=error.message
            )


def _parts(chains: dict[Assignment, bytes]) -> Iterator[dict[Assignment, bytes]]:
    """Chains in parts that fit a message."""
    part: dict[Assignment, bytes] = {}
    size = 0
    for assigned, chain in chains.items():
        if part and size + len(chain) > MAX_BATCH_BYTES:
            yield part
            part, size = {}, 0
        part[assigned] = chain
        size += len(chain)
    if part:
        yield part


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
