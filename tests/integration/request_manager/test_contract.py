"""Pages, plural skips, checkpoints of Watch and GetServerInfo, over a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from msgspec.structs import replace
from tests.integration.request_manager.conftest import (
    Manager,
    ShelvedJobLog,
    SteeredRunner,
    running_manager,
    until,
)
from tests.stream_messages import read_message

from spincycle.internal.v1 import job_runner_service_pb2 as runner_pb2
from spincycle.request_manager.config import RequestManagerConfig
from spincycle.request_manager.server_service import API_FEATURES
from spincycle.rpc.limits import MAX_MESSAGE_BYTES, PUBLIC
from spincycle.rpc.status import from_rpc_error
from spincycle.runtime.version import VERSION
from spincycle.v1 import (
    job_log_pb2,
    request_pb2,
    server_service_pb2,
    server_service_pb2_grpc,
    spec_service_pb2,
    state_pb2,
    status_pb2,
    waiting_pb2,
)
from spincycle.v1 import request_manager_service_pb2 as rpc

TWINS = """
sequences:
  twins:
    request: true
    nodes:
      left: {category: job, type: noop, deps: []}
      right: {category: job, type: noop, deps: []}
"""


@pytest.fixture
async def manager(
    config: RequestManagerConfig, job_log: tuple[ShelvedJobLog, str]
) -> AsyncIterator[Manager]:
    (config.specs_dir / "twins.yaml").write_text(TWINS)
    named = replace(config, installation_name="test bench")
    async with running_manager(named, job_log[0]) as running:
        yield running


class BusyRunner(SteeredRunner):
    """A runner that lists the jobs it is given, in the order of the contract."""

    running: tuple[status_pb2.JobStatus, ...] = ()

    async def ListRunning(self, request: Any, context: Any) -> runner_pb2.ListRunningResponse:
        def place(one: Any) -> tuple[bool, int, str, str]:
            return (
                not one.HasField("started_at"),
                one.started_at.seconds,
                one.request_id,
                one.job_id,
            )

        later = [
            job
            for job in sorted(self.running, key=place)
            if not request.HasField("after") or place(job) > place(request.after)
        ]
        return runner_pb2.ListRunningResponse(
            jobs=later[: request.filter.limit], total_size=len(self.running)
        )


def busy(runner_id: str, *jobs: tuple[str, int]) -> BusyRunner:
    """Return a runner of jobs, each with its start in seconds; 0 for none."""
    runner = BusyRunner(runner_id)
    statuses = []
    for job_id, start in jobs:
        status = status_pb2.JobStatus(request_id="r", job_id=job_id)
        if start:
            status.started_at.seconds = start
        statuses.append(status)
    runner.running = tuple(statuses)
    return runner


async def test_a_server_describes_itself(manager: Manager, config: RequestManagerConfig) -> None:
    async with grpc.aio.insecure_channel(config.listen) as channel:
        stub = server_service_pb2_grpc.ServerServiceStub(channel)
        info = await stub.GetServerInfo(server_service_pb2.GetServerInfoRequest())

        assert (info.version, info.installation_name) == (VERSION, "test bench")
        assert tuple(info.features) == API_FEATURES
        assert info.limits.response_bytes == MAX_MESSAGE_BYTES
        assert info.limits.calls_per_connection == PUBLIC.streams

        watch = type(manager.stub)(channel).Watch
        most = [str(number) for number in range(info.limits.watched_requests + 1)]
        assert await reason(watch(rpc.WatchRequest(request_ids=most))) == "INVALID_INPUT"
        assert await reason(watch(rpc.WatchRequest(request_ids=most[1:]))) == "REQUEST_NOT_FOUND"
        stop = type(manager.stub)(channel).Stop
        longest = "x" * info.limits.reason_bytes
        too_long = rpc.StopRequest(request_id="r", reason=longest + "x")
        assert await reason(stop(too_long)) == "INVALID_INPUT"
        fits = rpc.StopRequest(request_id="r", reason=longest)
        assert await reason(stop(fits)) == "REQUEST_NOT_FOUND"
        too_large = rpc.StopRequest(request_id="x" * info.limits.request_bytes)
        assert await reason(stop(too_large)) == "MESSAGE_TOO_LARGE"


async def reason(call: Any) -> str:
    """Return the reason for which a call fails."""
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await (call.read() if hasattr(call, "read") else call)
    return from_rpc_error(failure.value, "", "").reason


async def test_specs_are_listed_in_pages(manager: Manager) -> None:
    whole = await manager.specs.ListSpecs(spec_service_pb2.ListSpecsRequest())
    asked = spec_service_pb2.ListSpecsRequest(page_size=2)
    first = await manager.specs.ListSpecs(asked)
    asked.page_token = first.next_page_token
    second = await manager.specs.ListSpecs(asked)

    assert [spec.name for spec in first.specs] == ["nap", "one-nap"]
    assert [spec.name for spec in second.specs] == ["twins"]
    assert [*first.specs, *second.specs] == list(whole.specs)
    assert first.specs_hash == second.specs_hash
    assert not second.next_page_token
    assert not whole.next_page_token


@pytest.mark.parametrize(
    ("limit", "pages"),
    [(0, [["a", "c"], ["b", "e"], ["d"]]), (3, [["a", "c"], ["b"]]), (2, [["a", "c"]])],
)
async def test_running_jobs_are_listed_in_pages_over_all_runners(
    manager: Manager, limit: int, pages: list[list[str]]
) -> None:
    await manager.register(busy("one", ("a", 1), ("b", 3), ("d", 0)))
    await manager.register(busy("two", ("c", 2), ("e", 4)))
    asked = rpc.ListRunningJobsRequest(page_size=2)
    asked.filter.limit = limit
    found: list[list[str]] = []
    while not found or asked.page_token:
        page = await manager.stub.ListRunningJobs(asked)
        found.append([job.job_id for job in page.status.jobs])
        asked.page_token = page.next_page_token
        assert page.total_size == 5

    assert found == pages


async def test_a_lower_limit_ends_the_pages_of_running_jobs(manager: Manager) -> None:
    await manager.register(busy("one", *((f"job{number}", number + 1) for number in range(4))))
    request = rpc.ListRunningJobsRequest(page_size=2)
    request.page_token = (await manager.stub.ListRunningJobs(request)).next_page_token
    request.filter.limit = 1

    page = await manager.stub.ListRunningJobs(request)

    assert (list(page.status.jobs), page.next_page_token) == ([], "")


async def test_a_page_token_of_other_running_jobs_is_refused(manager: Manager) -> None:
    await manager.register(busy("one", ("a", 1), ("b", 3)))
    first = await manager.stub.ListRunningJobs(rpc.ListRunningJobsRequest(page_size=1))
    other = rpc.ListRunningJobsRequest(page_token=first.next_page_token)
    other.filter.request_id = "r"

    assert await reason(manager.stub.ListRunningJobs(other)) == "INVALID_PAGE_TOKEN"


async def test_an_explanation_has_pages_and_can_be_narrowed(manager: Manager) -> None:
    request_id = (await manager.create()).request.id
    whole = await manager.stub.Explain(rpc.ExplainRequest(request_id=request_id))
    ids = [job.job_id for job in whole.jobs]
    asked = rpc.ExplainRequest(request_id=request_id, page_size=2)
    first = await manager.stub.Explain(asked)
    asked.page_token = first.next_page_token
    second = await manager.stub.Explain(asked)
    parents = waiting_pb2.WAIT_REASON_PARENTS
    of_reason = rpc.ExplainRequest(request_id=request_id, reasons=[parents])
    of_job = rpc.ExplainRequest(request_id=request_id, job_ids=[ids[1]])

    assert len(ids) == 3
    assert [job.job_id for job in first.jobs] == ids[:2]
    assert [job.job_id for job in second.jobs] == ids[2:]
    assert not second.next_page_token
    assert [job.job_id for job in (await manager.stub.Explain(of_reason)).jobs] == ids[1:]
    assert [job.job_id for job in (await manager.stub.Explain(of_job)).jobs] == ids[1:2]


async def test_a_plan_has_its_chain_only_on_demand(manager: Manager) -> None:
    asked = rpc.PlanRequest(type="twins")
    lean = (await manager.stub.Plan(asked)).plan
    asked.include_job_chain = True
    whole = (await manager.stub.Plan(asked)).plan

    assert not lean.HasField("job_chain")
    assert len(whole.job_chain.jobs) == whole.total_jobs == lean.total_jobs
    assert lean.plan_hash == whole.plan_hash


@pytest.mark.parametrize("is_named", [True, False])
async def test_a_stream_is_synced_once_after_all_snapshots(
    manager: Manager, is_named: bool
) -> None:
    ids = [(await manager.create()).request.id for _ in range(3)]
    stream = manager.stub.Watch(rpc.WatchRequest(request_ids=ids if is_named else []))
    responses: list[rpc.WatchResponse] = []
    while not (responses and responses[-1].synced):
        responses.append(await read_message(stream))
    await manager.stub.Stop(rpc.StopRequest(request_id=ids[0]))
    later = await read_message(stream)
    while not later.events:
        assert not later.synced
        later = await read_message(stream)
    stream.cancel()

    before = [event for response in responses for event in response.events]
    assert {event.request_id for event in before if event.HasField("snapshot")} == set(ids)
    assert not later.synced


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (rpc.WatchRequest(filter=request_pb2.RequestFilter(limit=1)), "filter.limit"),
        (rpc.WatchRequest(filter=request_pb2.RequestFilter(offset=1)), "filter.offset"),
        (
            rpc.WatchRequest(filter=request_pb2.RequestFilter(since=Timestamp(seconds=1))),
            "filter.since",
        ),
        (
            rpc.WatchRequest(filter=request_pb2.RequestFilter(until=Timestamp(seconds=1))),
            "filter.until",
        ),
        (rpc.WatchRequest(include_live_output=True), "include_live_output"),
        (
            rpc.WatchRequest(request_ids=["r"], filter=request_pb2.RequestFilter(type="nap")),
            "filter",
        ),
    ],
)
async def test_a_field_that_watch_does_not_use_is_refused(
    manager: Manager, asked: rpc.WatchRequest, field: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await manager.stub.Watch(asked).read()

    assert from_rpc_error(failure.value, "", "").violations[0].field == field


async def test_two_failed_jobs_are_skipped_by_one_new_request_that_runs_neither(
    manager: Manager,
) -> None:
    runner = await manager.register(SteeredRunner("one"))
    old = (await manager.stub.Create(rpc.CreateRequest(type="twins"))).request.id
    await until(lambda: old in runner.chains)
    asked = rpc.GetJobChainRequest(request_id=old)
    chain = (await manager.stub.GetJobChain(asked)).job_chain
    begin, end = chain.jobs[0], chain.jobs[-1]
    failed = [job for job in chain.jobs if not job.structural]
    manager.job_log.entries[old] = [
        job_log_pb2.JobLog(
            request_id=old,
            job_id=job.id,
            name=job.name,
            type=job.type,
            try_number=1,
            state=state_pb2.STATE_COMPLETE if job is begin else state_pb2.STATE_FAIL,
            sequence_id=job.sequence_id,
            sequence_try_number=1,
            position=position,
            epoch=1,
        )
        for position, job in enumerate([begin, *failed], start=1)
    ]
    await manager.finish(old, 1, state_pb2.STATE_FAIL)
    skip = rpc.SkipRequest(
        request_id=old, job_ids=[job.id for job in failed], reason="by hand", idempotency_key="k"
    )

    new = (await manager.stub.Skip(skip)).request
    again = (await manager.stub.Skip(skip)).request

    assert new.id == again.id != old
    kept = {entry.job_id: entry for entry in manager.job_log.entries[new.id]}
    assert set(kept) == {begin.id, *(job.id for job in failed)}
    assert {kept[job.id].state for job in failed} == {state_pb2.STATE_COMPLETE}
    left = await manager.stub.Explain(rpc.ExplainRequest(request_id=new.id))
    assert {job.job_id for job in left.jobs} <= {end.id}


@pytest.mark.parametrize("job_ids", [[], [""]])
async def test_a_skip_names_at_least_one_job(manager: Manager, job_ids: list[str]) -> None:
    asked = rpc.SkipRequest(request_id="r", job_ids=job_ids, reason="by hand")

    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await manager.stub.Skip(asked)

    assert from_rpc_error(failure.value, "", "").violations[0].field == "job_ids"
