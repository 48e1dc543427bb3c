"""Forged reports on a request that runs on another runner."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.security.attempt import TIMEOUT, reason_of
from tests.security.installation import Installation
from tests.security.rogue_runner import RogueRunner

from spincycle.identity.service_identity import JOB_RUNNER, REQUEST_MANAGER
from spincycle.internal.v1 import runner_coordination_service_pb2 as coordination_pb2
from spincycle.internal.v1.runner_coordination_service_pb2_grpc import (
    RunnerCoordinationServiceStub,
)
from spincycle.v1 import job_chain_pb2, state_pb2
from spincycle.v1 import request_manager_service_pb2 as manager_pb2
from spincycle.v1.request_manager_service_pb2_grpc import RequestManagerServiceStub

Report = coordination_pb2.RunnerReport


async def chain_of(installation: Installation, request_id: str) -> job_chain_pb2.JobChain:
    async with installation.public_channel(REQUEST_MANAGER) as channel:
        get = manager_pb2.GetJobChainRequest(request_id=request_id)
        return (await RequestManagerServiceStub(channel).GetJobChain(get)).job_chain


async def reports(installation: Installation, request_id: str, epoch: int) -> dict[str, Report]:
    """A report of each kind."""
    chain = await chain_of(installation, request_id)
    progress, failed, completed, saved = Report(), Report(), Report(), Report()
    progress.progress.request_id = request_id
    progress.progress.finished_jobs = 1
    progress.progress.epoch = epoch
    for report, state in (
        (failed, state_pb2.STATE_FAIL),
        (completed, state_pb2.STATE_COMPLETE),
    ):
        report.finish.request_id = request_id
        report.finish.state = state
        report.finish.finished_at.GetCurrentTime()
        report.finish.epoch = epoch
    saved.suspended.request_id = request_id
    saved.suspended.epoch = epoch
    saved.suspended.job_chain.CopyFrom(chain)
    return {"progress": progress, "failed": failed, "completed": completed, "saved": saved}


async def test_a_runner_cannot_report_on_a_request_that_runs_elsewhere(
    installation: Installation, rogue: RogueRunner, request_id: str
) -> None:
    await rogue.register()
    _, epoch = await installation.assignment(request_id)
    before = await installation.rows()

    for kind, report in (await reports(installation, request_id, epoch)).items():
        assert await rogue.report(report) == "NOT_YOURS", kind

    assert await installation.changes_since(before) == []


async def test_a_runner_cannot_report_under_the_id_of_another_one(
    installation: Installation, rogue: RogueRunner, request_id: str
) -> None:
    runner_id, epoch = await installation.assignment(request_id)
    before = await installation.rows()

    for kind, report in (await reports(installation, request_id, epoch)).items():
        for named in (runner_id, "", "no such runner"):
            assert await rogue.report(report, named) == "NOT_YOURS", kind

    assert await installation.changes_since(before) == []


async def test_a_report_under_another_epoch_changes_nothing(
    installation: Installation, rogue: RogueRunner, request_id: str
) -> None:
    await rogue.register()
    _, epoch = await installation.assignment(request_id)
    before = await installation.rows()

    for other, reason in (
        (0, {"INVALID_INPUT"}),
        (epoch + 1, {"STALE_EPOCH"}),
        (2**62, {"STALE_EPOCH"}),
        (2**64 - 1, {"STALE_EPOCH", "INVALID_INPUT"}),
    ):
        for kind, report in (await reports(installation, request_id, other)).items():
            assert await rogue.report(report) in reason, (other, kind)

    assert await installation.changes_since(before) == []


async def test_one_forged_report_among_others_is_refused_alone(
    installation: Installation, rogue: RogueRunner, request_id: str
) -> None:
    await rogue.register()
    _, epoch = await installation.assignment(request_id)
    forged = await reports(installation, request_id, epoch)
    unknown = Report()
    unknown.progress.request_id = "unknown"
    unknown.progress.epoch = 1

    response = await rogue.manager.Report(
        coordination_pb2.ReportRequest(
            runner_id=rogue.runner_id, reports=[unknown, forged["failed"], unknown]
        )
    )

    reasons = [result.refused.reason for result in response.results]
    assert reasons == ["REQUEST_NOT_FOUND", "NOT_YOURS", "REQUEST_NOT_FOUND"]


@pytest.mark.parametrize("is_own_id", [True, False])
async def test_a_runner_cannot_upload_the_saved_state_of_a_request_that_runs_elsewhere(
    installation: Installation, rogue: RogueRunner, request_id: str, is_own_id: bool
) -> None:
    await rogue.register()
    runner_id, epoch = await installation.assignment(request_id)
    saved = (await reports(installation, request_id, epoch))["saved"].suspended
    before = await installation.rows()

    upload = coordination_pb2.UploadSuspendedRequest(
        runner_id=rogue.runner_id if is_own_id else runner_id, part=saved
    )
    reason = await reason_of(rogue.manager.UploadSuspended(iter([upload]), timeout=TIMEOUT))

    assert reason == "NOT_YOURS"
    assert await installation.changes_since(before) == []


async def test_a_later_part_of_an_upload_cannot_name_another_request(
    installation: Installation, rogue: RogueRunner, request_id: str
) -> None:
    await rogue.register()
    _, epoch = await installation.assignment(request_id)
    saved = (await reports(installation, request_id, epoch))["saved"].suspended
    before = await installation.rows()

    parts = [
        coordination_pb2.UploadSuspendedRequest(runner_id=rogue.runner_id),
        coordination_pb2.UploadSuspendedRequest(part=saved),
    ]
    reason = await reason_of(rogue.manager.UploadSuspended(iter(parts), timeout=TIMEOUT))

    assert reason == "NOT_YOURS"
    assert await installation.changes_since(before) == []


def another_job(chain: job_chain_pb2.JobChain) -> None:
    chain.jobs[0].id = "zzzz"


def one_job_more(chain: job_chain_pb2.JobChain) -> None:
    chain.jobs.add(id="zzzz", type="shell-command", bytes=b"rm -rf /")


def another_type(chain: job_chain_pb2.JobChain) -> None:
    chain.jobs[0].type = "shell-command"


def other_bytes(chain: job_chain_pb2.JobChain) -> None:
    chain.jobs[0].bytes = b"rm -rf /"


def other_edges(chain: job_chain_pb2.JobChain) -> None:
    del chain.adjacency_list[:]


@pytest.mark.parametrize(
    "forge", [another_job, one_job_more, another_type, other_bytes, other_edges]
)
async def test_a_saved_chain_with_another_job_is_refused(
    installation: Installation,
    request_id: str,
    forge: Callable[[job_chain_pb2.JobChain], None],
) -> None:
    """The caller has the certificate of the runner on which the request is RUNNING."""
    runner_id, epoch = await installation.assignment(request_id)
    report = (await reports(installation, request_id, epoch))["saved"]
    forge(report.suspended.job_chain)
    before = await installation.rows()

    async with installation.channel(REQUEST_MANAGER, installation.identity(JOB_RUNNER)) as channel:
        response = await RunnerCoordinationServiceStub(channel).Report(
            coordination_pb2.ReportRequest(runner_id=runner_id, reports=[report])
        )

    assert [result.refused.reason for result in response.results] == ["INVALID_CHAIN"]
    assert await installation.changes_since(before) == []
