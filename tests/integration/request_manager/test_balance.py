"""Requests are spread evenly over runners, whichever request manager assigns them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.integration.request_manager.conftest import (
    Manager,
    ShelvedJobLog,
    SteeredRunner,
    another,
    running_manager,
    until,
)

from spincycle.request_manager.config import RequestManagerConfig

TOLERANCE = 0.2
"""Largest deviation of a runner's share from the mean."""


@pytest.fixture
async def managers(
    config: RequestManagerConfig, job_log: tuple[ShelvedJobLog, str]
) -> AsyncIterator[list[Manager]]:
    other = another(config)
    async with (
        running_manager(config, job_log[0]) as first,
        running_manager(other, job_log[0]) as second,
    ):
        yield [first, second]


async def give(managers: list[Manager], count: int, runners: list[SteeredRunner]) -> None:
    """Create requests at all request managers, and wait until all are assigned."""
    before = sum(len(runner.chains) for runner in runners)
    await asyncio.gather(*(managers[i % len(managers)].create() for i in range(count)))
    await until(lambda: sum(len(runner.chains) for runner in runners) == before + count)


def assert_balanced(runners: list[SteeredRunner]) -> None:
    """Assert that the runners have about the same number of requests."""
    shares = {runner.runner_id: len(runner.chains) for runner in runners}
    mean = sum(shares.values()) / len(shares)
    assert all(abs(share - mean) <= TOLERANCE * mean for share in shares.values()), shares


async def test_a_burst_is_spread_evenly_over_runners(managers: list[Manager]) -> None:
    runners = [await managers[0].register(SteeredRunner(f"r{number}")) for number in range(4)]

    await give(managers, 200, runners)

    assert_balanced(runners)


async def test_a_runner_that_registers_later_gets_the_next_requests(manager: Manager) -> None:
    runners = [await manager.register(SteeredRunner(f"r{number}")) for number in range(2)]
    await give([manager], 60, runners)

    runners.append(await manager.register(SteeredRunner("late")))
    await give([manager], 30, runners)

    assert_balanced(runners)


async def test_idle_runners_take_turns(manager: Manager) -> None:
    runners = [await manager.register(SteeredRunner(f"r{number}")) for number in range(4)]
    for _ in range(20):
        await give([manager], 1, runners)
        for runner in runners:
            for request_id, epoch in runner.chains.items():
                await manager.finish(request_id, epoch)

    assert_balanced(runners)
