"""Chains that are sent to a job runner by others than the request manager."""

from __future__ import annotations

import pytest
from tests.security.attempt import TIMEOUT, reason_of
from tests.security.installation import ROGUE, Installation

from spincycle.identity.service_identity import GATEWAY, JOB_LOG, JOB_RUNNER, REQUEST_MANAGER
from spincycle.internal.v1 import job_runner_service_pb2 as runner_pb2
from spincycle.internal.v1.job_runner_service_pb2_grpc import JobRunnerServiceStub
from spincycle.v1 import job_chain_pb2, suspended_job_chain_pb2
from spincycle.v1 import request_manager_service_pb2 as manager_pb2
from spincycle.v1.request_manager_service_pb2_grpc import RequestManagerServiceStub

FORGED = "forged"
"""Id of a request that does not exist."""


async def chain_like(installation: Installation, request_id: str) -> job_chain_pb2.JobChain:
    """A chain that runs."""
    async with installation.public_channel(REQUEST_MANAGER) as channel:
        get = manager_pb2.GetJobChainRequest(request_id=request_id)
        return (await RequestManagerServiceStub(channel).GetJobChain(get)).job_chain


async def running(installation: Installation) -> set[str]:
    """Requests with jobs that run."""
    async with installation.channel(JOB_RUNNER, installation.identity(REQUEST_MANAGER)) as channel:
        listed = await JobRunnerServiceStub(channel).ListRunning(runner_pb2.ListRunningRequest())
    return {job.request_id for job in listed.jobs}


@pytest.mark.parametrize(
    ("service", "instance"),
    [(JOB_RUNNER, "1"), (JOB_RUNNER, ROGUE), (JOB_LOG, "1"), (GATEWAY, "1")],
)
async def test_only_a_request_manager_sends_chains_to_a_runner(
    installation: Installation, request_id: str, service: str, instance: str
) -> None:
    runner_id, _ = await installation.assignment(request_id)
    chain = await chain_like(installation, request_id)
    chain.request_id = FORGED
    saved = suspended_job_chain_pb2.SuspendedJobChain(request_id=FORGED, job_chain=chain, epoch=1)

    async with installation.channel(
        JOB_RUNNER, installation.identity(service, instance)
    ) as channel:
        stub = JobRunnerServiceStub(channel)
        refused = {
            await reason_of(call)
            for call in (
                stub.RunChains(
                    runner_pb2.RunChainsRequest(
                        runner_id=runner_id,
                        assignments=[runner_pb2.Assignment(job_chain=chain, epoch=1)],
                    ),
                    timeout=TIMEOUT,
                ),
                stub.ResumeChains(
                    runner_pb2.ResumeChainsRequest(
                        runner_id=runner_id, suspended_job_chains=[saved]
                    ),
                    timeout=TIMEOUT,
                ),
                stub.UploadChain(
                    iter(
                        [
                            runner_pb2.UploadChainRequest(
                                runner_id=runner_id, epoch=1, job_chain=chain
                            )
                        ]
                    ),
                    timeout=TIMEOUT,
                ),
                stub.StopChains(
                    runner_pb2.StopChainsRequest(request_ids=[request_id]), timeout=TIMEOUT
                ),
                stub.SuspendChains(
                    runner_pb2.SuspendChainsRequest(request_ids=[request_id]), timeout=TIMEOUT
                ),
            )
        }

    assert refused == {"CALLER_NOT_ALLOWED"}
    assert await running(installation) == {request_id}


@pytest.mark.parametrize("named", ["", "another runner"])
async def test_a_chain_for_no_runner_or_another_one_is_not_run(
    installation: Installation, request_id: str, named: str
) -> None:
    """Even with the certificate of a request manager."""
    chain = await chain_like(installation, request_id)
    chain.request_id = FORGED
    before = await installation.rows()

    async with installation.channel(JOB_RUNNER, installation.identity(REQUEST_MANAGER)) as channel:
        stub = JobRunnerServiceStub(channel)
        assignment = runner_pb2.Assignment(job_chain=chain, epoch=1)
        run = runner_pb2.RunChainsRequest(runner_id=named, assignments=[assignment])
        upload = runner_pb2.UploadChainRequest(runner_id=named, epoch=1, job_chain=chain)
        refused = {
            await reason_of(stub.RunChains(run, timeout=TIMEOUT)),
            await reason_of(stub.UploadChain(iter([upload]), timeout=TIMEOUT)),
        }

    assert refused == {"WRONG_RUNNER"}
    assert await running(installation) == {request_id}
    assert await installation.changes_since(before) == []


async def test_a_chain_of_an_old_epoch_is_not_run(
    installation: Installation, request_id: str
) -> None:
    runner_id, epoch = await installation.assignment(request_id)
    chain = await chain_like(installation, request_id)
    chain.jobs[0].type = "shell-command"
    before = await installation.rows()

    async with installation.channel(JOB_RUNNER, installation.identity(REQUEST_MANAGER)) as channel:
        response = await JobRunnerServiceStub(channel).RunChains(
            runner_pb2.RunChainsRequest(
                runner_id=runner_id,
                assignments=[runner_pb2.Assignment(job_chain=chain, epoch=epoch - 1)],
            ),
            timeout=TIMEOUT,
        )

    assert [refusal.error.reason for refusal in response.refusals] == ["STALE_EPOCH"]
    assert await running(installation) == {request_id}
    assert await installation.changes_since(before) == []
