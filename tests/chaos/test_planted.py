"""The tests of this folder are worth something only if they see a fault that is there."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.chaos.cluster import Cluster, Shape
from tests.chaos.load import Load
from tests.chaos.storm import Storm

SMALL = Shape(request_managers=1, job_runners=1, job_logs=1, gateway=False)


@pytest.mark.parametrize(
    "shape", [replace(SMALL, planted={"JR": "acknowledge-before-the-commit"})], ids=["runner"]
)
async def test_a_runner_that_does_not_wait_for_the_commit_is_found_out(
    cluster: Cluster, load: Load
) -> None:
    storm = Storm(cluster, load)

    await storm.blow(lambda: asyncio.sleep(2), rate=4, ms=50)

    verdict = await storm.verdict()
    assert any("before the completion" in problem for problem in verdict.wrong)


@pytest.mark.chaos
@pytest.mark.parametrize(
    "shape", [replace(SMALL, planted={"RM": "forget-the-journal"})], ids=["request-manager"]
)
async def test_a_request_manager_that_does_not_read_the_journal_is_found_out(
    cluster: Cluster, load: Load
) -> None:
    storm = Storm(cluster, load)

    for _ in range(8):
        await load.create("busy", 300)
    await asyncio.sleep(1)
    await storm.kill(cluster.job_runners[0])
    await storm.settled()

    verdict = await storm.verdict()
    assert any("ran again" in problem for problem in verdict.wrong)
