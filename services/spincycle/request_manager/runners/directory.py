"""Which runners there are, how loaded they are, and how to speak with them."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterable, Sequence

from spincycle.request_manager.runners.client import RunnerClient
from spincycle.request_manager.runners.silence import Silence, SilenceMonitor
from spincycle.request_manager.storage.model import NO_REQUIREMENTS, Requirements, Runner
from spincycle.request_manager.storage.runner_store import RunnerStore
from spincycle.rpc.channel import Dial, open_channel

REFRESH_INTERVAL = 1.0
"""Seconds for which the list of runners is taken as it was read."""

FULL_FOR = 1.0
"""Seconds for which a runner that refused a chain is not asked again."""

UNREACHABLE_FOR = 5.0
"""Seconds for which a runner that did not answer is not asked again."""

TOO_FAR_BEHIND = 5.0
"""Seconds that a runner's journal may be behind before it gets nothing more to do."""


class RunnerDirectory:
    """The live runners as the database knows them, read again when somebody asks."""

    def __init__(
        self,
        store: RunnerStore,
        silences: SilenceMonitor,
        timeout: float,
        doubtful_after: float,
        dial: Dial = open_channel,
    ) -> None:
        self._dial = dial
        self._store = store
        self._silences = silences
        self._timeout = timeout
        self._doubtful_after = doubtful_after
        self._clients: dict[str, RunnerClient] = {}
        self._given: dict[str, int] = {}
        self._turns: dict[str, int] = {}
        self._turn = 0
        self._avoided: dict[str, float] = {}
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def live(self) -> dict[str, RunnerClient]:
        """Clients of all live runners by runner id.

        Raises:
            DatabaseUnavailable: they cannot be read and were not read just now.
        """
        async with self._reading:
            if self._is_stale():
                await self._read()
        return self._clients

    def forget(self) -> None:
        """Read the runners anew when somebody asks next."""
        self._read_at = float("-inf")

    @property
    def known(self) -> frozenset[str]:
        """Ids of the runners that were live when they were read last."""
        return frozenset(self._clients)

    async def drop(self, gone: Iterable[str]) -> None:
        """Close the channels to runners that are gone, and so the streams from them."""
        clients = [self._clients.pop(runner_id) for runner_id in gone if runner_id in self._clients]
        await asyncio.gather(*(client.close() for client in clients))

    def avoid(self, runner_id: str, seconds: float = FULL_FOR) -> None:
        """Do not choose a runner for a moment: it has just refused a chain."""
        self._avoided[runner_id] = asyncio.get_running_loop().time() + seconds

    def silence(self, runner_id: str) -> Silence:
        """How long a live runner has been silent, as this request manager sees it."""
        return self._silences.silence(runner_id)

    def unavailable(self) -> list[str]:
        """Return the ids of live runners that `choose` would not choose now, whatever is required.

        None if the runners were not read just now. This reads nothing.
        """
        if self._is_stale():
            return []
        available = {
            runner.runner_id
            for runner in self._available()
            if not runner.max_chains or self._load(runner) < runner.max_chains
        }
        return [runner_id for runner_id in self._clients if runner_id not in available]

    async def choose(self, count: int, requirements: Requirements = NO_REQUIREMENTS) -> list[str]:
        """Choose runners for `count` chains, least loaded first, one id per chain.

        Only runners that have what is required are chosen; fewer ids are returned if all of them
        are full. Among equally loaded ones, the one chosen longest ago comes first.
        """
        await self.live()
        heap = [
            (self._load(runner), self._turns.get(runner.runner_id, 0), runner.runner_id)
            for runner in self._available()
            if runner.can_run(requirements)
        ]
        heapq.heapify(heap)
        chosen: list[str] = []
        while heap and len(chosen) < count:
            load, _, runner_id = heapq.heappop(heap)
            limit = self._clients[runner_id].runner.max_chains
            if limit and load >= limit:
                continue
            chosen.append(runner_id)
            self._turn += 1
            self._turns[runner_id] = self._turn
            heapq.heappush(heap, (load + 1, self._turn, runner_id))
        for runner_id in chosen:
            self._given[runner_id] = self._given.get(runner_id, 0) + 1
        return chosen

    def _is_stale(self) -> bool:
        return asyncio.get_running_loop().time() - self._read_at > REFRESH_INTERVAL

    def _available(self) -> list[Runner]:
        """Runners that take chains now, full or not."""
        now = asyncio.get_running_loop().time()
        return [
            runner
            for runner in (client.runner for client in self._clients.values())
            if not runner.draining
            and runner.journal_lag < TOO_FAR_BEHIND
            and self.silence(runner.runner_id).seconds < self._doubtful_after
            and self._avoided.get(runner.runner_id, 0) < now
        ]

    def _load(self, runner: Runner) -> int:
        return runner.requests + self._given.get(runner.runner_id, 0)

    async def close(self) -> None:
        """Close all channels."""
        await asyncio.gather(*(client.close() for client in self._clients.values()))
        self._clients.clear()

    async def _read(self) -> None:
        runners: Sequence[Runner] = await self._store.live()
        known = {runner.runner_id: runner for runner in runners}
        self._silences.read({id_: runner.heartbeat for id_, runner in known.items()})
        gone = [self._clients.pop(old) for old in list(self._clients) if old not in known]
        for runner in runners:
            client = self._clients.get(runner.runner_id)
            if client is None:
                self._clients[runner.runner_id] = RunnerClient(runner, self._timeout, self._dial)
            else:
                client.runner = runner
        self._avoided = {id_: until for id_, until in self._avoided.items() if id_ in known}
        self._turns = {id_: turn for id_, turn in self._turns.items() if id_ in known}
        # What was given before is counted by the database by now, but for what is on its way.
        self._given.clear()
        self._read_at = asyncio.get_running_loop().time()
        await asyncio.gather(*(client.close() for client in gone))
