"""A runner accepts only calls that are addressed to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.unit.job_runner.stage import Stage

from spincycle.errors import WrongRunner
from spincycle.internal.v1 import job_runner_service_pb2 as rpc
from spincycle.job_runner.event_log import EventLog
from spincycle.job_runner.service import JobRunnerService, encode_runner_event


async def uploaded(*parts: rpc.UploadChainRequest) -> AsyncIterator[rpc.UploadChainRequest]:
    for part in parts:
        yield part


@pytest.mark.parametrize("named", ["", "another"])
async def test_a_call_for_another_runner_or_for_none_is_refused(stage: Stage, named: str) -> None:
    service = JobRunnerService(stage.runner, EventLog(encode_runner_event), lambda: "me", "address")
    for call, request in (
        (service.RunChains, rpc.RunChainsRequest(runner_id=named)),
        (service.ResumeChains, rpc.ResumeChainsRequest(runner_id=named)),
    ):
        with pytest.raises(WrongRunner):
            await call(request, None)  # type: ignore[arg-type] # no context is needed
    with pytest.raises(WrongRunner):
        await service.UploadChain(uploaded(rpc.UploadChainRequest(runner_id=named, epoch=1)), None)  # type: ignore[arg-type] # no context is needed
    with pytest.raises(WrongRunner):
        await anext(service.WatchJobs(rpc.WatchJobsRequest(runner_id=named), None))  # type: ignore[arg-type] # no context is needed

    listed = await service.ListRunning(rpc.ListRunningRequest(), None)  # type: ignore[arg-type] # no context is needed
    assert listed.runner_id == "me"
