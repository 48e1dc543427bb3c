from __future__ import annotations

import gc
from collections.abc import AsyncGenerator
from typing import Any, cast

import pytest
from tests.unit.chain.chains import chain
from tests.unit.job_runner.stage import Stage, turns, works_until_stopped

from spincycle.errors import RequestNotFound
from spincycle.internal.v1 import job_runner_service_pb2 as rpc
from spincycle.job import State
from spincycle.job_runner import service as service_module
from spincycle.job_runner.chain_view import ChainView
from spincycle.job_runner.event_log import EventLog
from spincycle.job_runner.service import JobRunnerService, encode_runner_event
from spincycle.model.job_chain import SuspendedJobChain
from spincycle.model.job_status import JobStatus
from spincycle.wire.chain import encode_suspended_chain


async def test_a_chain_that_cannot_be_read_is_refused_and_the_next_one_is_run(
    stage: Stage,
) -> None:
    """Both are in one call, since request managers batch chains."""
    service = JobRunnerService(stage.runner, EventLog(encode_runner_event), lambda: "", "address")
    request = rpc.ResumeChainsRequest()
    for request_id in ("broken", "sound"):
        made = SuspendedJobChain(request_id, chain("a", request_id=request_id), epoch=2)
        request.suspended_job_chains.append(encode_suspended_chain(made))
    broken = request.suspended_job_chains[0].job_chain
    broken.jobs.append(broken.jobs[0])

    response = await service.ResumeChains(request, cast("Any", None))

    assert [refusal.request_id for refusal in response.refusals] == ["broken"]
    assert (await stage.reports.end("sound")).state is State.COMPLETE


async def test_a_new_stream_starts_with_the_resident_chains(stage: Stage) -> None:
    stage.plays["a"] = [works_until_stopped]
    service = JobRunnerService(stage.runner, EventLog(encode_runner_event), lambda: "", "address")
    stage.runner.run(chain("a", request_id="r"), 1)
    await stage.until_started("a")

    stream = service.WatchJobs(rpc.WatchJobsRequest(), cast("Any", None))
    first = (await anext(stream)).started
    resumed = service.WatchJobs(rpc.WatchJobsRequest(after_offset=first.offset), cast("Any", None))
    resumed_start = (await anext(resumed)).started
    known = rpc.DescribeChainsRequest(chains=[rpc.KnownChain(request_id="r")])
    described = await service.DescribeChains(known, cast("Any", None))
    for each in (stream, resumed):
        await cast("AsyncGenerator[rpc.WatchJobsResponse]", each).aclose()
    stage.runner.stop("r", "")
    await stage.reports.end("r")

    assert list(first.request_ids) == ["r"]
    assert not resumed_start.request_ids
    assert described.offset == first.offset
    assert [one.request_id for one in described.chains] == ["r"]


async def test_describing_a_chain_with_uncommitted_entries_times_out_and_leaves_no_view(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "DESCRIBE_TIMEOUT", 0.01)
    service = JobRunnerService(stage.runner, EventLog(encode_runner_event), lambda: "", "address")
    stage.journal.disconnected = True
    stage.runner.run(chain("a > b", request_id="late"), 1)
    await stage.until_started("a")
    await turns()

    known = rpc.DescribeChainsRequest(
        chains=[rpc.KnownChain(request_id="late"), rpc.KnownChain(request_id="unknown")]
    )
    described = await service.DescribeChains(known, cast("Any", None))

    assert list(described.uncommitted_request_ids) == ["late"]
    assert not described.chains
    views = [one for one in gc.get_objects() if isinstance(one, ChainView)]
    assert "late" not in [view.request_id for view in views]
    stage.journal.reconnect()
    await stage.reports.end("late")


async def test_a_chain_with_uncommitted_entries_explains_what_it_waits_for(
    stage: Stage,
) -> None:
    stored = False
    service = JobRunnerService(
        stage.runner,
        EventLog(encode_runner_event),
        lambda: "me",
        "address",
        lambda: {} if stored else {"late": 1},
    )

    async def explain() -> rpc.ExplainChainResponse:
        return await service.ExplainChain(
            rpc.ExplainChainRequest(request_id="late"), cast("Any", None)
        )

    stage.journal.disconnected = True
    stage.plays["a"] = [works_until_stopped]
    stage.runner.run(chain("a", request_id="late"), 1)
    await stage.until_started("a")
    assert await explain() == rpc.ExplainChainResponse()

    stage.runner.stop("late", "")
    await turns()
    assert await explain() == rpc.ExplainChainResponse(
        message="the journal entries of the last jobs are not committed yet"
    )

    stage.journal.reconnect()
    await stage.reports.end("late")
    await turns()
    assert await explain() == rpc.ExplainChainResponse(
        message="runner me has reported the end of the chain; no request manager has stored it yet"
    )
    stored = True
    with pytest.raises(RequestNotFound):
        await explain()


async def test_a_list_of_running_jobs_is_a_page_of_1000_without_a_limit(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[int] = []

    def running(_: str, limit: int, *_after: object) -> list[JobStatus]:
        limits.append(limit)
        return []

    monkeypatch.setattr(stage.runner, "running", running)
    service = JobRunnerService(stage.runner, EventLog(encode_runner_event), lambda: "", "address")
    for limit in (0, 5, 5000):
        request = rpc.ListRunningRequest()
        request.filter.limit = limit
        await service.ListRunning(request, cast("Any", None))

    assert limits == [1000, 5, 1001]


async def test_running_jobs_are_those_of_the_selected_requests(stage: Stage) -> None:
    stage.plays["a"] = [works_until_stopped, works_until_stopped]
    service = JobRunnerService(stage.runner, EventLog(encode_runner_event), lambda: "", "address")
    for request_id in ("r1", "r2"):
        stage.runner.run(chain("a", request_id=request_id), 1)
    await stage.until_started("a")
    await turns()

    async def listed(request_id: str = "", *request_ids: str) -> tuple[set[str], int]:
        request = rpc.ListRunningRequest(request_ids=request_ids)
        request.filter.request_id = request_id
        response = await service.ListRunning(request, cast("Any", None))
        return {job.request_id for job in response.jobs}, response.total_size

    assert await listed() == ({"r1", "r2"}, 2)
    assert await listed("", "r2", "other") == ({"r2"}, 1)
    assert await listed("r1") == ({"r1"}, 1)
    assert await listed("r1", "r1", "r2") == ({"r1"}, 1)
    assert await listed("r1", "r2") == (set(), 0)
    for request_id in ("r1", "r2"):
        stage.runner.stop(request_id, "")
        await stage.reports.end(request_id)
