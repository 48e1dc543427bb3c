"""The largest chains that a runner is given do not hold up its event loop.

A pause is CPU time of the loop's thread between two turns, so that a busy machine counts for
nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any, cast

import pytest
from tests.unit.job_runner.stage import Stage
from tests.waiting import until

from spincycle.internal.v1 import job_runner_service_pb2 as rpc
from spincycle.job_chain import Job, JobChain, SuspendedJobChain, Value
from spincycle.job_runner.service import JobRunnerService, encode_happening
from spincycle.job_runner.watchers import Watchers
from spincycle.wire.chain import encode_chain, encode_suspended_chain
from spincycle.wire.chain_parts import WHOLE_UP_TO, cut_chain

LONGEST_PAUSE = 0.25
"""Seconds."""

JOBS = 50_000


class Pauses:
    longest = 0.0
    count = 0


@asynccontextmanager
async def measured() -> AsyncIterator[Pauses]:
    pauses = Pauses()

    async def measure() -> None:
        while True:
            began = time.thread_time()
            await asyncio.sleep(0.001)
            pauses.longest = max(pauses.longest, time.thread_time() - began)
            pauses.count += 1

    measuring = asyncio.create_task(measure())
    await asyncio.sleep(0)
    yield pauses
    measuring.cancel()


def chain_of(work: dict[str, dict[str, Value]]) -> JobChain:
    """Jobs with these arguments, one after another."""
    jobs = {"b": Job(id="b", name="b", type="noop", structural=True, sequence_id="b")}
    for job_id, args in work.items():
        jobs[job_id] = Job(id=job_id, name="one", type="noop", sequence_id="b", args=args)
    jobs["e"] = Job(id="e", name="e", type="noop", structural=True, sequence_id="b")
    return JobChain("large", jobs, {one: [following] for one, following in pairwise(jobs)})


def values() -> JobChain:
    flags: Value = [True] * 250_000
    return chain_of({f"j{n}": {"flags": flags} for n in range(6)})


def many_jobs() -> JobChain:
    return chain_of({f"j{n}": {"host": "h"} for n in range(JOBS)})


@pytest.mark.parametrize("make", [values, many_jobs])
@pytest.mark.parametrize("call", ["run", "resume", "upload"])
async def test_the_largest_chains_hold_no_job_up(stage: Stage, make: Any, call: str) -> None:
    service = JobRunnerService(stage.runner, Watchers(encode_happening), lambda: "", "address")
    context = cast(Any, None)
    chain = make()
    if call == "resume":
        resumed = encode_suspended_chain(SuspendedJobChain("large", chain, epoch=1))
        assert resumed.ByteSize() < WHOLE_UP_TO
        resume = rpc.ResumeChainsRequest(suspended_job_chains=[resumed])
    else:
        message = encode_chain(chain)
        assert message.ByteSize() < WHOLE_UP_TO
        run = rpc.RunChainsRequest(assignments=[rpc.Assignment(job_chain=message, epoch=1)])
        uploads = [
            rpc.UploadChainRequest(job_chain=part, epoch=1)
            for part in cut_chain(message.SerializeToString())
        ]

    async def parts() -> AsyncIterator[rpc.UploadChainRequest]:
        for upload in uploads:
            yield upload

    async with measured() as pauses:
        if call == "run":
            response: Any = await service.RunChains(run, context)
        elif call == "resume":
            response = await service.ResumeChains(resume, context)
        else:
            response = await service.UploadChain(parts(), context)
        counted = pauses.count
        await until(lambda: pauses.count > counted + 1)
        longest = pauses.longest

    assert not getattr(response, "refusals", [])
    assert longest <= LONGEST_PAUSE
    stage.runner.stop("large", "")
