from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from spincycle.errors import (
    RunnerFull,
    RunnerUnreachable,
    ServiceUnavailable,
    SpinCycleError,
)
from spincycle.model.state import State
from spincycle.request_manager.runners.client import DispatchResult
from spincycle.request_manager.runners.dispatcher import Dispatcher, DispatchPolicy, DispatchStores
from spincycle.request_manager.storage.change_bus import ChangeBus
from spincycle.request_manager.storage.model import Assignment, Requirements

POLICY = DispatchPolicy()

SLEEP = Requirements(job_types=frozenset({"sleep"}))
COPY = Requirements(job_types=frozenset({"copy"}))


class Refusing:
    """A runner that refuses all requests."""

    runner = SimpleNamespace(runner_id="full")

    def __init__(self, why: SpinCycleError) -> None:
        self._why = why

    async def run(self, chains: dict[Assignment, bytes]) -> DispatchResult:
        return DispatchResult(refused=dict.fromkeys(chains, self._why))


class Recorder:
    """Collaborators of a dispatcher, which record unassigned and recovered requests."""

    def __init__(self, runner: Refusing | None) -> None:
        self._runner = runner
        self.unassigned: list[Assignment] = []
        self.recovered: list[Assignment] = []

    async def unassign(self, assigned: Sequence[Assignment]) -> dict[str, State]:
        self.unassigned += assigned
        return {}

    async def recover(self, assigned: Sequence[Assignment]) -> None:
        self.recovered += assigned

    async def fence(self, epochs: Mapping[str, int]) -> None:
        raise NotImplementedError

    async def live(self) -> dict[str, Refusing]:
        return {"full": self._runner} if self._runner else {}

    def back_off_runner(self, runner_id: str, seconds: float) -> None:
        return None

    async def suspended_job_chains(self, ids: Sequence[str]) -> AsyncIterator[dict[str, bytes]]:
        for _ in ():
            yield {}

    chain_portions = suspended_job_chains


async def sent(runner: Refusing | None, seconds_ago: float) -> Recorder:
    """Send a request that was assigned some seconds ago; return what was recorded."""
    recorder: Any = Recorder(runner)
    dispatcher = Dispatcher(
        DispatchStores(recorder, recorder, recorder),
        recorder,
        ChangeBus(),
        recorder.recover,
        recorder.fence,
        POLICY,
    )
    one = Assignment("r1", "full", 1, resumed=False, assigned_at=time.monotonic() - seconds_ago)
    await dispatcher._send_all([one], {"r1": b"chain"})
    assert isinstance(recorder, Recorder)
    return recorder


@pytest.mark.parametrize(
    "runner", [Refusing(RunnerFull(1)), Refusing(RunnerUnreachable("full", "here", "no")), None]
)
async def test_a_request_that_was_refused_in_time_is_unassigned(
    runner: Refusing | None,
) -> None:
    recorder = await sent(runner, 0.0)

    assert (len(recorder.unassigned), recorder.recovered) == (1, [])


@pytest.mark.parametrize(
    "runner", [Refusing(RunnerFull(1)), Refusing(RunnerUnreachable("full", "here", "no")), None]
)
async def test_a_refused_request_that_another_process_may_have_sent_is_recovered(
    runner: Refusing | None,
) -> None:
    recorder = await sent(runner, POLICY.lease)

    assert (recorder.unassigned, len(recorder.recovered)) == ([], 1)


class RoomForTwo:
    """A directory with one runner that has room for two requests."""

    left = 2

    async def pick_runners(self, count: int, requirements: Requirements) -> list[str]:
        chosen = ["runner"] * min(count, self.left)
        self.left -= len(chosen)
        return chosen


async def test_requests_are_assigned_in_their_order_whatever_they_require() -> None:
    unused: Any = None
    runners: Any = RoomForTwo()
    dispatcher = Dispatcher(
        DispatchStores(unused, unused, unused), runners, ChangeBus(), unused, unused, POLICY
    )

    chosen, _ = await dispatcher.pick_runners({"first": SLEEP, "second": COPY, "third": SLEEP})

    assert chosen == {"first": "runner", "second": "runner"}


class Resuming:
    """A runner, the archive of saved states and the job log, which record their calls in order."""

    runner = SimpleNamespace(runner_id="runner")

    def __init__(self, problem: SpinCycleError | None) -> None:
        self._problem = problem
        self.calls: list[tuple[str, dict[str, int]]] = []

    async def suspended_job_chains(self, ids: Sequence[str]) -> AsyncIterator[dict[str, bytes]]:
        yield dict.fromkeys(ids, b"saved")

    async def chain_portions(self, ids: Sequence[str]) -> AsyncIterator[dict[str, bytes]]:
        for _ in ids:
            yield {}

    async def fence(self, epochs: Mapping[str, int]) -> None:
        self.calls.append(("fence", dict(epochs)))
        if self._problem:
            raise self._problem

    async def resume(self, chains: dict[Assignment, bytes]) -> DispatchResult:
        self.calls.append(("resume", {one.request_id: one.epoch for one in chains}))
        return DispatchResult()

    async def run(self, chains: dict[Assignment, bytes]) -> DispatchResult:
        self.calls.append(("run", {one.request_id: one.epoch for one in chains}))
        return DispatchResult()

    async def live(self) -> dict[str, Resuming]:
        return {"runner": self}


@pytest.mark.parametrize("problem", [None, ServiceUnavailable("job log", "here")])
async def test_a_suspended_request_is_resumed_once_the_journal_refuses_its_earlier_runner(
    problem: SpinCycleError | None,
) -> None:
    """Requests that were not suspended are sent first: they need no fence."""
    recorder: Any = Resuming(problem)
    unused: Any = None
    dispatcher = Dispatcher(
        DispatchStores(recorder, recorder, recorder),
        recorder,
        ChangeBus(),
        unused,
        recorder.fence,
        POLICY,
    )
    assigned = [
        Assignment("suspended", "runner", 4, resumed=True),
        Assignment("new", "runner", 1, resumed=False),
    ]

    await dispatcher._send_all(assigned, {"new": b"chain"})

    sent = [("run", {"new": 1}), ("fence", {"suspended": 4})]
    assert recorder.calls == sent + ([] if problem else [("resume", {"suspended": 4})])
