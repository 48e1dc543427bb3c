"""The chains of one runner: what it takes, what it refuses, and how it ends."""

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
    from spincycle.job import Job
    from spincycle.job_runner.chain_view import ChainView
    from spincycle.job_runner.ports import ChainDependencies
    from spincycle.model.job_chain import JobChain, SuspendedJobChain
    from spincycle.model.job_status import JobStatus

_REMEMBERED = 10_000
NEVER = 2**63
"""Start of a job that has none in the order of running jobs."""

RunningPlace = tuple[int, str, str]
"""Start in nanoseconds since 1970, request id and job id."""


@dataclass(slots=True)
class _Held:
    """A chain that is here, and the one that takes its place once its jobs have ended."""

    current: ChainExecutor
    successor: ChainExecutor | None = None

    @property
    def epoch(self) -> int:
        return (self.successor or self.current).epoch


class JobRunner:
    """Runs chains, each under the epoch with which it was given.

    Every method but those that prepare is to be called on the event loop. `max_chains` is how
    many chains it takes; how many jobs run at once is up to `around.places`.
    """

    def __init__(self, around: ChainDependencies, max_chains: int | None = None) -> None:
        self._around = around
        self._max_chains = max_chains
        self._chains: dict[str, _Held] = {}
        self._ended: OrderedDict[str, int] = OrderedDict()
        self._draining = False
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def draining(self) -> bool:
        """True once it takes no more chains."""
        return self._draining

    @property
    def chains(self) -> int:
        """Chains that are here."""
        return len(self._chains)

    @property
    def jobs(self) -> int:
        """Jobs that run."""
        return self._around.places.taken

    def prepare(self, chain: JobChain, epoch: int) -> ChainState:
        """Check a chain that never ran, and make its state; may be called on any thread.

        Raises:
            InvalidChain, FeatureNotSupported: as in `run`.
        """
        check_features(chain.request_id, chain.required_features)
        check_new(chain)
        return ChainState.new(chain, epoch, self._around.draw)

    def prepare_resumed(self, suspended: SuspendedJobChain, epoch: int) -> ChainState:
        """Check a chain that ran before, and make its state, likewise."""
        chain = suspended.job_chain
        if chain.request_id != suspended.request_id:
            raise InvalidChain(
                suspended.request_id,
                f"the suspended chain of request {suspended.request_id} holds a chain of"
                f' "{chain.request_id}"',
            )
        check_features(chain.request_id, chain.required_features)
        check_resumed(chain)
        return ChainState.resumed(suspended, epoch, self._around.draw)

    def run(self, chain: JobChain, epoch: int, prepared: ChainState | None = None) -> None:
        """Start a chain that never ran, with its state if that has been made already.

        Idempotent: a chain that runs here, or ran here, under the same epoch is accepted
        again and nothing changes. Under a higher epoch it takes the place of the one that
        runs, as soon as that one's jobs have ended.

        Raises:
            InvalidChain: the chain can never be run.
            FeatureNotSupported: the chain requires more than this version runs.
            StaleEpoch: the chain was given to this runner under a higher epoch before.
            RunnerFull: there are `max_chains` chains.
            RunnerDraining: the runner is about to end.
            JournalBehind: too much waits for the job log.
        """
        if self._is_known(chain.request_id, epoch):
            return
        state = prepared or self.prepare(chain, epoch)
        self._take(ChainExecutor(chain, epoch, state, self._around, self._gone))

    def resume(
        self, suspended: SuspendedJobChain, epoch: int, prepared: ChainState | None = None
    ) -> None:
        """Go on with a chain that ran before, as `run` starts a new one.

        Raises:
            InvalidChain, FeatureNotSupported, StaleEpoch, RunnerFull, RunnerDraining,
                JournalBehind: as in `run`.
        """
        if self._is_known(suspended.request_id, epoch):
            return
        state = prepared or self.prepare_resumed(suspended, epoch)
        chain = suspended.job_chain
        self._take(ChainExecutor(chain, epoch, state, self._around, self._gone))

    def stop(self, request_id: str, reason: str) -> bool:
        """Stop a chain for good; False if it is not here. `reason` goes into its report."""
        return self._tell(request_id, partial(ChainExecutor.stop, reason=reason))

    def suspend(self, request_id: str) -> bool:
        """Stop a chain so that it can be resumed; False if it is not here."""
        return self._tell(request_id, ChainExecutor.suspend)

    def abandon(self, request_id: str, epoch: int) -> None:
        """Stop a chain that another runner owns by now, unless it is here under a later epoch."""
        held = self._chains.get(request_id)
        if held is not None and held.current.epoch <= epoch:
            held.current.abandon()

    def abandon_all(self) -> None:
        """Stop every chain without a report: the runner was given up, and others go on."""
        for held in list(self._chains.values()):
            held.successor = None
            held.current.abandon(hand_over=True)

    async def drain(self, grace: float) -> list[str]:
        """Take no more chains and suspend those that are here.

        Answers the requests whose chains are still here after `grace` seconds; they will
        have to be recovered from the journal.
        """
        self._draining = True
        for request_id in list(self._chains):
            self._tell(request_id, partial(ChainExecutor.suspend, hand_over=True))
        try:
            async with asyncio.timeout(grace):
                await self._empty.wait()
        except TimeoutError:
            return list(self._chains)
        return []

    def epoch(self, request_id: str) -> int | None:
        """Epoch of a chain that is here."""
        held = self._chains.get(request_id)
        return held.epoch if held else None

    def epochs(self) -> dict[str, int]:
        """Epochs of all chains that are here, by request id."""
        return {request_id: held.epoch for request_id, held in self._chains.items()}

    def request_ids(self) -> list[str]:
        """Requests whose chains are here."""
        return list(self._chains)

    def running(
        self, request_id: str = "", limit: int = 1000, after: RunningPlace = (0, "", "")
    ) -> list[JobStatus]:
        """Return at most `limit` jobs that run or wait between tries, after the place `after`.

        They are ordered by start of the try, request and job. Jobs without a start come last.
        """
        places = (place for place in self._running(request_id) if place > after)
        found = nsmallest(limit, places)
        return [self._chains[id_].current.status(job_id) for _, id_, job_id in found]

    def count_running(self, request_id: str = "") -> int:
        """Return how many jobs run or wait between tries."""
        return sum(1 for _ in self._running(request_id))

    def _running(self, request_id: str) -> Iterator[RunningPlace]:
        held = self._chains.get(request_id)
        chains = ({request_id: held} if held else {}) if request_id else self._chains
        for id_, chain in chains.items():
            for started_at, job_id in chain.current.under_way():
                yield started_at or NEVER, id_, job_id

    def waits(self, request_id: str, which: WaitSelection) -> Iterator[WaitingJob] | None:
        """Return waiting jobs of a chain, whatever their reasons; None if it is not here."""
        held = self._chains.get(request_id)
        return held.current.waits(which) if held else None

    def waits_for(self, request_id: str) -> str:
        """What a chain as a whole waits for; empty if for nothing, or if it is not here."""
        held = self._chains.get(request_id)
        return held.current.waits_for() if held else ""

    def describe(
        self, request_id: str, tell: Callable[[ChainView], None]
    ) -> Callable[[], None] | None:
        """Tell how a chain is, as Traverser.describe does; None if it is not here."""
        held = self._chains.get(request_id)
        return held.current.describe(tell) if held else None

    def printing(self, request_id: str) -> Iterator[Job]:
        """Jobs of a chain that run and have printed something."""
        held = self._chains.get(request_id)
        return held.current.printing() if held else iter(())

    def _is_known(self, request_id: str, epoch: int) -> bool:
        """Whether a chain was taken before under this very epoch."""
        held = self._chains.get(request_id)
        known = held.epoch if held else self._ended.get(request_id)
        if known is None or known < epoch:
            return False
        if known > epoch:
            raise StaleEpoch(request_id, epoch, known)
        return True

    def _take(self, traverser: ChainExecutor) -> None:
        if self._draining:
            raise RunnerDraining
        held = self._chains.get(traverser.request_id)
        if held is not None:
            held.successor = traverser
            held.current.abandon(hand_over=True)
            return
        if self._around.journal.full:
            raise JournalBehind
        if self._max_chains is not None and len(self._chains) >= self._max_chains:
            raise RunnerFull(self._max_chains)
        self._chains[traverser.request_id] = _Held(traverser)
        self._empty.clear()
        traverser.start()

    def _tell(self, request_id: str, wish: Callable[[ChainExecutor], None]) -> bool:
        held = self._chains.get(request_id)
        if held is None or (held.successor or held.current).is_over:
            return False
        wish(held.successor or held.current)
        return True

    def _gone(self, traverser: ChainExecutor) -> None:
        held = self._chains[traverser.request_id]
        self._remember(traverser)
        if traverser is held.successor:
            held.successor = None
        elif held.successor is not None:
            held.current, held.successor = held.successor, None
            held.current.start()
        else:
            del self._chains[traverser.request_id]
            if not self._chains:
                self._empty.set()

    def _remember(self, traverser: ChainExecutor) -> None:
        self._ended[traverser.request_id] = traverser.epoch
        self._ended.move_to_end(traverser.request_id)
        if len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)
