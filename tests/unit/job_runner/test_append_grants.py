"""The grant of an assignment travels with its chain, and each entry is appended under it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from tests.unit.chain.chains import chain
from tests.unit.job_runner.stage import Stage, works_until_stopped
from tests.waiting import until

from spincycle.identity.append_grants import GrantKeys
from spincycle.internal.v1 import job_runner_service_pb2 as rpc
from spincycle.job_runner.event_log import EventLog
from spincycle.job_runner.service import JobRunnerService, encode_runner_event
from spincycle.model.job_chain import SuspendedJobChain
from spincycle.wire.append_grants import encode_grant
from spincycle.wire.chain import encode_chain, encode_suspended_chain

KEYS = GrantKeys({"1": b"k" * 32})


@pytest.fixture
def service(stage: Stage) -> JobRunnerService:
    return JobRunnerService(stage.runner, EventLog(encode_runner_event), lambda: "me", "address")


def grant(request_id: str, epoch: int) -> Any:
    return KEYS.grant(request_id, epoch, "me")


async def uploaded(*parts: rpc.UploadChainRequest) -> AsyncIterator[rpc.UploadChainRequest]:
    for part in parts:
        yield part


async def test_new_chains_have_the_grants_of_their_assignments(
    stage: Stage, service: JobRunnerService
) -> None:
    request = rpc.RunChainsRequest(runner_id="me")
    for request_id in ("one", "two"):
        request.assignments.add(
            job_chain=encode_chain(chain("a", request_id=request_id)),
            epoch=3,
            append_grant=encode_grant(grant(request_id, 3)),
        )
    request.assignments.add(job_chain=encode_chain(chain("a", request_id="none")), epoch=3)

    await service.RunChains(request, cast("Any", None))
    await asyncio.gather(*(stage.reports.end(request_id) for request_id in ("one", "two", "none")))

    assert stage.journal.grants == {
        ("one", 3): grant("one", 3),
        ("two", 3): grant("two", 3),
        ("none", 3): None,
    }


async def test_resumed_chains_have_their_grants_in_any_order(
    stage: Stage, service: JobRunnerService
) -> None:
    request = rpc.ResumeChainsRequest(
        runner_id="me",
        append_grants=[encode_grant(grant("two", 2)), encode_grant(grant("one", 2))],
    )
    for request_id in ("one", "two", "none"):
        suspended = SuspendedJobChain(request_id, chain("a", request_id=request_id), epoch=2)
        request.suspended_job_chains.append(encode_suspended_chain(suspended))

    await service.ResumeChains(request, cast("Any", None))
    await asyncio.gather(*(stage.reports.end(request_id) for request_id in ("one", "two", "none")))

    assert stage.journal.grants == {
        ("one", 2): grant("one", 2),
        ("two", 2): grant("two", 2),
        ("none", 2): None,
    }


async def test_uploaded_chains_have_the_grants_of_their_first_parts(
    stage: Stage, service: JobRunnerService
) -> None:
    suspended = SuspendedJobChain("old", chain("a", request_id="old"), epoch=2)
    for first, rest in (
        (
            rpc.UploadChainRequest(epoch=1, append_grant=encode_grant(grant("new", 1))),
            rpc.UploadChainRequest(job_chain=encode_chain(chain("a", request_id="new"))),
        ),
        (
            rpc.UploadChainRequest(epoch=2, append_grant=encode_grant(grant("old", 2))),
            rpc.UploadChainRequest(suspended_job_chain=encode_suspended_chain(suspended)),
        ),
    ):
        first.runner_id = "me"
        if rest.HasField("suspended_job_chain"):
            first.suspended_job_chain.SetInParent()
        else:
            first.job_chain.SetInParent()
        await service.UploadChain(uploaded(first, rest), cast("Any", None))
    await asyncio.gather(stage.reports.end("new"), stage.reports.end("old"))

    assert stage.journal.grants == {("new", 1): grant("new", 1), ("old", 2): grant("old", 2)}


async def test_the_entries_of_an_older_epoch_keep_their_own_grant(stage: Stage) -> None:
    stage.plays["b"] = [works_until_stopped]
    stage.runner.run(chain("a > b"), 1, append_grant=grant("request", 1))
    await stage.until_started("b")

    stage.plays.clear()
    stage.runner.run(chain("a > b"), 2, append_grant=grant("request", 2))
    await until(lambda: ("request", 2) in stage.journal.grants)

    assert stage.journal.grants == {
        ("request", 1): grant("request", 1),
        ("request", 2): grant("request", 2),
    }
