from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import cast

import pytest

from spincycle.request_manager.runners.directory import RunnerDirectory
from spincycle.request_manager.runners.recovery import RecoveryPolicy
from spincycle.request_manager.runners.silence import SilenceMonitor
from spincycle.request_manager.storage.heartbeats import HeartbeatId
from spincycle.request_manager.storage.model import Requirements, Runner
from spincycle.request_manager.storage.runner_store import RunnerStore


class Known:
    """A store of live runners."""

    def __init__(self, **requests: int) -> None:
        self.requests = requests
        self.timeouts: dict[str, int] = {}
        self.lags: dict[str, float] = {}
        self.features: dict[str, frozenset[str]] = {}
        self.job_types: dict[str, frozenset[str]] = {}

    async def live(self) -> Sequence[Runner]:
        return [
            Runner(
                runner_id=runner_id,
                address="127.0.0.1:1",
                max_chains=self.timeouts.get(runner_id, 0),
                max_jobs=0,
                chains=0,
                jobs=0,
                draining=False,
                journal_lag=0.0,
                loop_lag=self.lags.get(runner_id, 0.0),
                heartbeat=HeartbeatId("observer", 1),
                requests=requests,
                features=self.features.get(runner_id, frozenset()),
                job_types=self.job_types.get(runner_id, frozenset()),
            )
            for runner_id, requests in self.requests.items()
        ]


@pytest.fixture
def known() -> Known:
    return Known(a=0, b=0, c=0)


@pytest.fixture
async def directory(known: Known) -> AsyncIterator[RunnerDirectory]:
    silences = SilenceMonitor(RecoveryPolicy().timeouts)
    directory = RunnerDirectory(cast("RunnerStore", known), silences, 1.0, doubtful_after=5.0)
    yield directory
    await directory.close()


async def test_equally_loaded_runners_take_turns_however_often_they_are_read(
    directory: RunnerDirectory,
) -> None:
    chosen: Counter[str] = Counter()
    for _ in range(30):
        directory.invalidate()
        chosen.update(await directory.pick_runners(1))

    assert chosen == {"a": 10, "b": 10, "c": 10}


async def test_assignments_of_other_request_managers_count_at_once(
    directory: RunnerDirectory, known: Known
) -> None:
    known.requests.update(a=20, b=10, c=0)

    assert Counter(await directory.pick_runners(30)) == {"b": 10, "c": 20}


async def test_picks_count_until_the_runners_are_read_again(
    directory: RunnerDirectory, known: Known
) -> None:
    known.requests.update(a=0, b=0, c=6)

    assert sorted(await directory.pick_runners(4)) == ["a", "a", "b", "b"]
    assert sorted(await directory.pick_runners(4)) == ["a", "a", "b", "b"]


async def test_a_runner_gets_no_more_than_its_maximum_of_chains(
    directory: RunnerDirectory, known: Known
) -> None:
    known.timeouts = {"a": 2, "b": 3, "c": 1}

    assert Counter(await directory.pick_runners(30)) == {"a": 2, "b": 3, "c": 1}


def features(*names: str) -> Requirements:
    return Requirements(features=frozenset(names))


async def test_only_runners_that_support_all_features_of_a_chain_are_picked(
    directory: RunnerDirectory, known: Known
) -> None:
    known.features = {"a": frozenset({"gates"}), "b": frozenset({"gates", "locks"})}

    assert set(await directory.pick_runners(6, features("gates"))) == {"a", "b"}
    assert set(await directory.pick_runners(6, features("gates", "locks"))) == {"b"}
    assert await directory.pick_runners(6, features("waves")) == []
    assert set(await directory.pick_runners(30)) == {"a", "b", "c"}


def job_types(*names: str) -> Requirements:
    return Requirements(job_types=frozenset(names))


async def test_only_runners_that_have_all_job_types_of_a_chain_are_picked(
    directory: RunnerDirectory, known: Known
) -> None:
    known.job_types = {"a": frozenset({"sleep"}), "b": frozenset({"sleep", "copy"})}
    del known.requests["c"]

    assert set(await directory.pick_runners(6, job_types("sleep"))) == {"a", "b"}
    assert set(await directory.pick_runners(6, job_types("sleep", "copy"))) == {"b"}
    assert await directory.pick_runners(6, job_types("fonce")) == []
    assert set(await directory.pick_runners(30)) == {"a", "b"}


async def test_a_runner_without_job_types_is_picked_for_any(
    directory: RunnerDirectory,
) -> None:
    assert set(await directory.pick_runners(6, job_types("sleep"))) == {"a", "b", "c"}


async def test_full_runners_are_unavailable_until_the_directory_is_stale(
    directory: RunnerDirectory, known: Known
) -> None:
    known.timeouts = {"a": 2, "b": 3}
    known.requests.update(a=2, b=1, c=5)
    assert directory.unavailable() == []

    await directory.live()
    assert directory.unavailable() == ["a"]
    await directory.pick_runners(2)
    assert directory.unavailable() == ["a", "b"]
    directory.invalidate()
    assert directory.unavailable() == []


async def test_a_runner_whose_event_loop_is_blocked_is_not_picked(
    directory: RunnerDirectory, known: Known
) -> None:
    known.lags = {"a": 1.0, "b": 0.9}

    assert set(await directory.pick_runners(30)) == {"b", "c"}


async def test_a_runner_that_did_not_respond_while_its_loop_was_blocked_is_picked_once_it_is_not(
    directory: RunnerDirectory, known: Known
) -> None:
    await directory.live()
    for runner_id in known.requests:
        directory.back_off_runner(runner_id, 3600.0)
    known.lags = {"a": 2.0}
    directory.invalidate()
    assert await directory.pick_runners(1) == []

    known.lags = {}
    directory.invalidate()

    assert set(await directory.pick_runners(30)) == {"a"}


async def test_a_runner_that_registers_while_runners_are_read_is_in_the_next_list(
    known: Known, directory: RunnerDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = known.live

    async def live() -> Sequence[Runner]:
        runners = await read()
        if "d" not in known.requests:
            known.requests["d"] = 0
            directory.invalidate()
        return runners

    monkeypatch.setattr(known, "live", live)

    assert set(await directory.live()) == {"a", "b", "c"}
    assert set(await directory.live()) == {"a", "b", "c", "d"}
