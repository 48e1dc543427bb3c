"""Registry of the chains on one runner: admission, control and draining."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from heapq import nsmallest
from typing import TYPE_CHECKING

from spincycle.chain.chain_state import ChainState
from spincycle.chain.features import check_features
from spincycle.chain.validation import check_new, check_resumed
from spincycle.errors import InvalidChain, JournalBehind, RunnerDraining, RunnerFull, StaleEpoch
from spincycle.job_runner.chain_executor import ChainExecutor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from spincycle.chain.waiting import WaitingJob, WaitSelection
    from spincycle.identity.append_grants import AppendGrant
    from spincycle.job import Job
    from spincycle.job.try_output import TryOutput
    from spincycle.job_runner.chain_view import ChainView
    from spincycle.job_runner.ports import ChainDependencies
    from spincycle.model.job_chain import JobChain, SuspendedJobChain
    from spincycle.model.job_status import JobStatus

_RETAINED_EPOCHS = 10_000
UNSTARTED = 2**63
"""Start of a job without a started try in the order of running jobs."""

RunningPosition = tuple[int, str, str]
"""Start in nanoseconds since 1970, request id and job id."""


@dataclass(slots=True)
class _Resident:
    """A chain on this runner and its successor, which starts once the chain's jobs have ended."""

    current: ChainExecutor
    successor: ChainExecutor | None = None

    @property
    def epoch(self) -> int:
        return (self.successor or self.current).epoch


class JobRunner:
    """Admits, runs, stops and releases chains, each under its assigned epoch.

    Call every method on the event loop, except `prepare` and `prepare_resumed`. `max_chains`
    limits the chains; `dependencies.job_slots` limits the running jobs.
    """

    def __init__(self, dependencies: ChainDependencies, max_chains: int | None = None) -> None:
        self._deps = dependencies
        self._max_chains = max_chains
        self._chains: dict[str, _Resident] = {}
        self._ended: OrderedDict[str, int] = OrderedDict()
        self._draining = False
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def draining(self) -> bool:
        """Whether the runner admits no more chains."""
        return self._draining

    @property
    def chains(self) -> int:
        """Number of resident chains."""
        return len(self._chains)

    @property
    def jobs(self) -> int:
        """Number of running jobs."""
        return self._deps.job_slots.in_use

    def prepare(self, chain: JobChain, epoch: int) -> ChainState:
        """Validate a new chain and return its state; may be called on any thread.

        Raises:
            InvalidChain, FeatureNotSupported: as in `run`.
        """
        check_features(chain.request_id, chain.required_features)
        check_new(chain)
        return ChainState.new(chain, epoch, self._deps.draw)

    def prepare_resumed(self, suspended: SuspendedJobChain, epoch: int) -> ChainState:
        """Validate a suspended chain and return its state; may be called on any thread.

        Raises:
            InvalidChain, FeatureNotSupported: as in `run`.
        """
        chain = suspended.job_chain
        if chain.request_id != suspended.request_id:
            raise InvalidChain(
                suspended.request_id,
                f"the suspended chain of request {suspended.request_id} holds a chain of"
                f' "{chain.request_id}"',
            )
        check_features(chain.request_id, chain.required_features)
        check_resumed(chain)
        return ChainState.resumed(suspended, epoch, self._deps.draw)

    def run(
        self,
        chain: JobChain,
        epoch: int,
        prepared: ChainState | None = None,
        append_grant: AppendGrant | None = None,
    ) -> None:
        """Start a new chain; `prepared` is the result of `prepare`, if already called.

        Idempotent: a chain that this runner has accepted under the same epoch is accepted again
        and nothing changes. Under a higher epoch it replaces the resident chain once that
        chain's jobs have ended.

        Raises:
            InvalidChain: the chain can never run.
            FeatureNotSupported: the chain requires a feature that this version lacks.
            StaleEpoch: this runner has accepted the chain under a higher epoch.
            RunnerFull: `max_chains` chains are resident.
            RunnerDraining: the runner is shutting down.
            JournalBehind: too many journal bytes await a commit.
        """
        if self._is_duplicate(chain.request_id, epoch):
            return
        state = prepared or self.prepare(chain, epoch)
        self._admit(ChainExecutor(chain, epoch, state, self._deps, self._on_removed, append_grant))

    def resume(
        self,
        suspended: SuspendedJobChain,
        epoch: int,
        prepared: ChainState | None = None,
        append_grant: AppendGrant | None = None,
    ) -> None:
        """Resume a suspended chain, under the same rules as `run`.

        Raises:
            InvalidChain, FeatureNotSupported, StaleEpoch, RunnerFull, RunnerDraining,
                JournalBehind: as in `run`.
        """
        if self._is_duplicate(suspended.request_id, epoch):
            return
        state = prepared or self.prepare_resumed(suspended, epoch)
        chain = suspended.job_chain
        self._admit(ChainExecutor(chain, epoch, state, self._deps, self._on_removed, append_grant))

    def stop(self, request_id: str, reason: str) -> bool:
        """Stop a chain for good and report `reason`; return False if it is not resident."""
        return self._apply(request_id, partial(ChainExecutor.stop, reason=reason))

    def suspend(self, request_id: str) -> bool:
        """Suspend a chain so that it can be resumed; return False if it is not resident."""
        return self._apply(request_id, ChainExecutor.suspend)

    def abandon(self, request_id: str, epoch: int) -> None:
        """Stop a chain without a report, unless it is resident under a later epoch.

        Another runner owns it under a later epoch than `epoch`.
        """
        resident = self._chains.get(request_id)
        if resident is not None and resident.current.epoch <= epoch:
            resident.current.abandon()

    def abandon_all(self) -> None:
        """Stop every chain without a report: the runner was evicted, and others resume them."""
        for resident in list(self._chains.values()):
            resident.successor = None
            resident.current.abandon(hand_over=True)

    async def drain(self, grace: float) -> list[str]:
        """Admit no more chains and suspend the resident ones.

        Return the ids of the requests whose chains are still resident after `grace` seconds;
        they must be recovered from the journal.
        """
        self._draining = True
        for request_id in list(self._chains):
            self._apply(request_id, partial(ChainExecutor.suspend, hand_over=True))
        try:
            async with asyncio.timeout(grace):
                await self._empty.wait()
        except TimeoutError:
            return list(self._chains)
        return []

    def epoch(self, request_id: str) -> int | None:
        """Return the epoch of a chain; None if it is not resident."""
        resident = self._chains.get(request_id)
        return resident.epoch if resident else None

    def epochs(self) -> dict[str, int]:
        """Return the epochs of all resident chains by request id."""
        return {request_id: resident.epoch for request_id, resident in self._chains.items()}

    def append_grants(self) -> dict[str, AppendGrant]:
        """Return the grants that came with resident chains, by request id."""
        residents = self._chains.items()
        grants = {id_: (one.successor or one.current).append_grant for id_, one in residents}
        return {request_id: grant for request_id, grant in grants.items() if grant is not None}

    def request_ids(self) -> list[str]:
        """Return the request ids of all resident chains."""
        return list(self._chains)

    def running(
        self,
        request_ids: frozenset[str] | None = None,
        limit: int = 1000,
        after: RunningPosition = (0, "", ""),
    ) -> list[JobStatus]:
        """Return at most `limit` jobs that run or wait between tries, after the position `after`.

        They are ordered by start of the try, request and job; jobs that have not started come
        last. Without `request_ids`, those of all chains are returned.
        """
        positions = (position for position in self._running(request_ids) if position > after)
        found = nsmallest(limit, positions)
        return [self._chains[id_].current.status(job_id) for _, id_, job_id in found]

    def count_running(self, request_ids: frozenset[str] | None = None) -> int:
        """Return how many jobs run or wait between tries."""
        return sum(1 for _ in self._running(request_ids))

    def _running(self, request_ids: frozenset[str] | None) -> Iterator[RunningPosition]:
        for id_ in self._chains if request_ids is None else request_ids:
            chain = self._chains.get(id_)
            if chain is None:
                continue
            for started_at, job_id in chain.current.active():
                yield started_at or UNSTARTED, id_, job_id

    def waits(self, request_id: str, which: WaitSelection) -> Iterator[WaitingJob] | None:
        """Yield the waiting jobs of a chain, whatever their reasons; None if it is not resident."""
        resident = self._chains.get(request_id)
        return resident.current.waits(which) if resident else None

    def waits_for(self, request_id: str) -> str:
        """Return what the chain as a whole waits for; empty if nothing or if not resident."""
        resident = self._chains.get(request_id)
        return resident.current.waits_for() if resident else ""

    def describe(
        self, request_id: str, deliver: Callable[[ChainView], None]
    ) -> Callable[[], None] | None:
        """Deliver a view of a chain, as ChainExecutor.describe does; None if not resident."""
        resident = self._chains.get(request_id)
        return resident.current.describe(deliver) if resident else None

    def jobs_with_output(self, request_id: str) -> Iterator[tuple[Job, TryOutput]]:
        """Return the running jobs of a chain that have printed, with the output of their tries."""
        resident = self._chains.get(request_id)
        return resident.current.jobs_with_output() if resident else iter(())

    def append_grant(self, request_id: str) -> AppendGrant | None:
        """Return the grant of a chain; None if it has none or is not resident."""
        resident = self._chains.get(request_id)
        return resident.current.append_grant if resident else None

    def _is_duplicate(self, request_id: str, epoch: int) -> bool:
        """Return whether the chain was already accepted under this epoch."""
        resident = self._chains.get(request_id)
        latest = resident.epoch if resident else self._ended.get(request_id)
        if latest is None or latest < epoch:
            return False
        if latest > epoch:
            raise StaleEpoch(request_id, epoch, latest)
        return True

    def _admit(self, executor: ChainExecutor) -> None:
        if self._draining:
            raise RunnerDraining
        resident = self._chains.get(executor.request_id)
        if resident is not None:
            resident.successor = executor
            resident.current.abandon(hand_over=True)
            return
        if self._deps.journal.full:
            raise JournalBehind
        if self._max_chains is not None and len(self._chains) >= self._max_chains:
            raise RunnerFull(self._max_chains)
        self._chains[executor.request_id] = _Resident(executor)
        self._empty.clear()
        executor.start()

    def _apply(self, request_id: str, action: Callable[[ChainExecutor], None]) -> bool:
        resident = self._chains.get(request_id)
        if resident is None or (resident.successor or resident.current).has_ended:
            return False
        action(resident.successor or resident.current)
        return True

    def _on_removed(self, executor: ChainExecutor) -> None:
        resident = self._chains[executor.request_id]
        self._record_epoch(executor)
        if executor is resident.successor:
            resident.successor = None
        elif resident.successor is not None:
            resident.current, resident.successor = resident.successor, None
            resident.current.start()
        else:
            del self._chains[executor.request_id]
            if not self._chains:
                self._empty.set()

    def _record_epoch(self, executor: ChainExecutor) -> None:
        self._ended[executor.request_id] = executor.epoch
        self._ended.move_to_end(executor.request_id)
        if len(self._ended) > _RETAINED_EPOCHS:
            self._ended.popitem(last=False)
