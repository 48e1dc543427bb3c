"""Directory of live runners: their load, their clients, and the choice of runners for chains."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterable, Sequence

from spincycle.request_manager.runners.client import GrantSource, RunnerClient
from spincycle.request_manager.runners.silence import Silence, SilenceMonitor
from spincycle.request_manager.storage.model import NO_REQUIREMENTS, Requirements, Runner
from spincycle.request_manager.storage.runner_store import RunnerStore
from spincycle.rpc.channel import Dial, open_channel

REFRESH_INTERVAL = 1.0
"""Seconds after which the list of runners is read again."""

REFUSED_BACKOFF = 1.0
"""Seconds for which a runner that refused a chain is not picked."""

UNREACHABLE_BACKOFF = 5.0
"""Seconds for which a runner that did not respond is not picked."""

MAX_JOURNAL_LAG = 5.0
"""Seconds of journal lag from which a runner is not picked."""

MAX_LOOP_LAG = 1.0
"""Seconds of lag of its event loop from which a runner is not picked."""


class RunnerDirectory:
    """Caches the live runners, and picks runners for chains.

    Args:
        timeout: seconds for calls to runners.
        doubtful_after: seconds of silence after which a runner is not picked.
        grants: as in RunnerClient.
    """

    def __init__(
        self,
        store: RunnerStore,
        silences: SilenceMonitor,
        timeout: float,
        doubtful_after: float,
        dial: Dial = open_channel,
        grants: GrantSource | None = None,
    ) -> None:
        self._dial = dial
        self._grants = grants
        self._store = store
        self._silences = silences
        self._timeout = timeout
        self._doubtful_after = doubtful_after
        self._clients: dict[str, RunnerClient] = {}
        self._picked: dict[str, int] = {}
        self._turns: dict[str, int] = {}
        self._turn = 0
        self._backed_off_until: dict[str, float] = {}
        self._read_at = float("-inf")
        self._invalidations = 0
        self._reading = asyncio.Lock()

    async def live(self) -> dict[str, RunnerClient]:
        """Return the clients of all live runners by runner id.

        Raises:
            DatabaseUnavailable: the cached runners are stale and cannot be read.
        """
        async with self._reading:
            if self._is_stale():
                await self._read()
        return self._clients

    def invalidate(self) -> None:
        """Read the runners again at the next use."""
        self._read_at = float("-inf")
        self._invalidations += 1

    @property
    def cached(self) -> frozenset[str]:
        """Ids of the cached runners, stale or not."""
        return frozenset(self._clients)

    async def disconnect(self, runner_ids: Iterable[str]) -> None:
        """Close the channels to these runners, and so the streams from them."""
        clients = [self._clients.pop(id_) for id_ in runner_ids if id_ in self._clients]
        await asyncio.gather(*(client.close() for client in clients))

    def back_off_runner(self, runner_id: str, seconds: float = REFUSED_BACKOFF) -> None:
        """Do not pick a runner for some seconds."""
        self._backed_off_until[runner_id] = asyncio.get_running_loop().time() + seconds

    def silence(self, runner_id: str) -> Silence:
        """Return the silence of a live runner as measured by this request manager."""
        return self._silences.silence(runner_id)

    def unavailable(self) -> list[str]:
        """Return the ids of live runners that cannot be picked now, for any requirements.

        Empty if the cached runners are stale; nothing is read.
        """
        if self._is_stale():
            return []
        available = {
            runner.runner_id
            for runner in self._available()
            if not runner.max_chains or self._load(runner) < runner.max_chains
        }
        return [runner_id for runner_id in self._clients if runner_id not in available]

    async def pick_runners(
        self, count: int, requirements: Requirements = NO_REQUIREMENTS
    ) -> list[str]:
        """Pick runners for `count` chains, least loaded first; return one runner id per chain.

        Only runners that meet the requirements are picked; fewer ids are returned if all of them
        are full. Among equally loaded runners, the least recently picked comes first.
        """
        await self.live()
        heap = [
            (self._load(runner), self._turns.get(runner.runner_id, 0), runner.runner_id)
            for runner in self._available()
            if runner.can_run(requirements)
        ]
        heapq.heapify(heap)
        picked: list[str] = []
        while heap and len(picked) < count:
            load, _, runner_id = heapq.heappop(heap)
            limit = self._clients[runner_id].runner.max_chains
            if limit and load >= limit:
                continue
            picked.append(runner_id)
            self._turn += 1
            self._turns[runner_id] = self._turn
            heapq.heappush(heap, (load + 1, self._turn, runner_id))
        for runner_id in picked:
            self._picked[runner_id] = self._picked.get(runner_id, 0) + 1
        return picked

    def _is_stale(self) -> bool:
        return asyncio.get_running_loop().time() - self._read_at > REFRESH_INTERVAL

    def _available(self) -> list[Runner]:
        """Return the runners that accept chains now, full or not."""
        now = asyncio.get_running_loop().time()
        return [
            runner
            for runner in (client.runner for client in self._clients.values())
            if not runner.draining
            and runner.journal_lag < MAX_JOURNAL_LAG
            and runner.loop_lag < MAX_LOOP_LAG
            and self.silence(runner.runner_id).seconds < self._doubtful_after
            and self._backed_off_until.get(runner.runner_id, 0) < now
        ]

    def _load(self, runner: Runner) -> int:
        return runner.requests + self._picked.get(runner.runner_id, 0)

    async def close(self) -> None:
        """Close all channels."""
        await asyncio.gather(*(client.close() for client in self._clients.values()))
        self._clients.clear()

    async def _read(self) -> None:
        invalidations = self._invalidations
        runners: Sequence[Runner] = await self._store.live()
        live = {runner.runner_id: runner for runner in runners}
        self._silences.read({id_: runner.heartbeat for id_, runner in live.items()})
        removed = [self._clients.pop(id_) for id_ in list(self._clients) if id_ not in live]
        for runner in runners:
            client = self._clients.get(runner.runner_id)
            if client is None:
                self._clients[runner.runner_id] = RunnerClient(
                    runner, self._timeout, self._dial, self._grants
                )
            else:
                client.runner = runner
        # A runner whose event loop is blocked does not respond, and is picked again once it does.
        self._backed_off_until = {
            id_: until
            for id_, until in self._backed_off_until.items()
            if id_ in live and live[id_].loop_lag < MAX_LOOP_LAG
        }
        self._turns = {id_: turn for id_, turn in self._turns.items() if id_ in live}
        # Assignments of earlier picks are in the database by now, except those being stored.
        self._picked.clear()
        if self._invalidations == invalidations:
            self._read_at = asyncio.get_running_loop().time()
        await asyncio.gather(*(client.close() for client in removed))
