"""Reports need an epoch, and cannot change the planned chain."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from tests.integration.request_manager.conftest import Manager, SteeredRunner, until

from spincycle.internal.v1 import runner_coordination_service_pb2 as coordination_pb2
from spincycle.v1 import job_chain_pb2, state_pb2
from spincycle.v1 import request_manager_service_pb2 as rpc

JobChain = job_chain_pb2.JobChain


async def running(manager: Manager) -> tuple[str, SteeredRunner]:
    runner = await manager.register(SteeredRunner("one"))
    request_id = (await manager.create()).request.id
    await manager.until_state(request_id, state_pb2.STATE_RUNNING)
    return request_id, runner


async def refused(manager: Manager, report: coordination_pb2.RunnerReport) -> str:
    """Return the reason of the refusal; empty if the report was stored."""
    request = coordination_pb2.ReportRequest(runner_id="one", reports=[report])
    return (await manager.coordination.Report(request)).results[0].refused.reason


async def chain_of(manager: Manager, request_id: str) -> JobChain:
    request = rpc.GetJobChainRequest(request_id=request_id)
    return (await manager.stub.GetJobChain(request)).job_chain


def saved(request_id: str, epoch: int, chain: JobChain) -> coordination_pb2.RunnerReport:
    report = coordination_pb2.RunnerReport()
    report.suspended.request_id = request_id
    report.suspended.epoch = epoch
    report.suspended.job_chain.CopyFrom(chain)
    return report


@pytest.mark.parametrize("kind", ["progress", "finish", "suspended"])
async def test_a_report_without_an_epoch_is_refused(manager: Manager, kind: str) -> None:
    request_id, _ = await running(manager)
    report = coordination_pb2.RunnerReport()
    getattr(report, kind).request_id = request_id
    if kind == "finish":
        report.finish.state = state_pb2.STATE_COMPLETE

    assert await refused(manager, report) == "INVALID_INPUT"
    assert await manager.state(request_id) == state_pb2.STATE_RUNNING


def another_job(chain: JobChain) -> None:
    chain.jobs[1].id = "ZZZZ"


def one_job_more(chain: JobChain) -> None:
    chain.jobs.add(id="ZZZZ", type="shell-command")


def one_job_less(chain: JobChain) -> None:
    del chain.jobs[1]


def one_job_twice(chain: JobChain) -> None:
    chain.jobs.append(chain.jobs[1])


def another_type(chain: JobChain) -> None:
    chain.jobs[1].type = "shell-command"


def other_bytes(chain: JobChain) -> None:
    chain.jobs[1].bytes = b"rm -rf /"


def other_args(chain: JobChain) -> None:
    chain.jobs[1].args.update({"duration": "9"})


def another_edge(chain: JobChain) -> None:
    chain.adjacency_list[0].next_job_ids.append(chain.jobs[-1].id)


def no_edges(chain: JobChain) -> None:
    chain.ClearField("adjacency_list")


@pytest.mark.parametrize(
    "change",
    [
        another_job,
        one_job_more,
        one_job_less,
        one_job_twice,
        another_type,
        other_bytes,
        other_args,
        another_edge,
        no_edges,
    ],
    ids=lambda change: change.__name__,
)
async def test_a_saved_chain_that_is_not_the_planned_one_is_refused(
    manager: Manager, change: Callable[[JobChain], None]
) -> None:
    request_id, runner = await running(manager)
    chain = await chain_of(manager, request_id)
    change(chain)

    report = saved(request_id, runner.chains[request_id], chain)

    assert await refused(manager, report) == "INVALID_CHAIN"
    assert await manager.state(request_id) == state_pb2.STATE_RUNNING


async def test_of_a_saved_chain_only_states_and_data_of_jobs_are_stored(manager: Manager) -> None:
    request_id, runner = await running(manager)
    chain = await chain_of(manager, request_id)
    chain.jobs[0].state = state_pb2.STATE_COMPLETE
    chain.jobs[0].data.update({"found": "this"})
    chain.jobs[1].retry = 100
    chain.jobs[1].ClearField("sequence_id")
    chain.timeout.seconds = 1
    chain.finished_jobs = 1
    report = saved(request_id, runner.chains.pop(request_id), chain)

    assert await refused(manager, report) == ""

    await until(lambda: request_id in runner.resumed)
    resumed = runner.resumed[request_id].job_chain
    planned = await chain_of(manager, request_id)
    assert resumed.jobs[0].state == state_pb2.STATE_COMPLETE
    assert resumed.jobs[0].data["found"] == "this"
    assert resumed.jobs[1].retry == planned.jobs[1].retry
    assert resumed.jobs[1].sequence_id == planned.jobs[1].sequence_id
    assert not resumed.HasField("timeout")
    assert resumed.finished_jobs == 1


async def test_a_request_does_not_end_before_it_was_created(manager: Manager) -> None:
    request_id, runner = await running(manager)
    report = coordination_pb2.RunnerReport()
    report.finish.request_id = request_id
    report.finish.state = state_pb2.STATE_COMPLETE
    report.finish.epoch = runner.chains[request_id]
    # The runner's clock is hours behind.
    report.finish.finished_at.CopyFrom(Timestamp(seconds=1_000_000_000))

    assert await refused(manager, report) == ""

    request = (await manager.stub.Get(rpc.GetRequest(request_id=request_id))).request
    assert request.state == state_pb2.STATE_COMPLETE
    assert request.finished_at.ToNanoseconds() >= request.created_at.ToNanoseconds()
