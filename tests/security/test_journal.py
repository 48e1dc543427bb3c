"""Forged entries of the journal, forged output and forged fences."""

from __future__ import annotations

from collections.abc import AsyncIterable, Sequence
from dataclasses import replace
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from tests.security.attempt import TIMEOUT, reason_of
from tests.security.installation import ROGUE, Installation
from tests.security.rogue_runner import IDENTITY, RogueRunner
from tests.stream_messages import read_message
from tests.waiting import until

from spincycle.identity.append_grants import AppendGrant
from spincycle.identity.service_identity import JOB_LOG, JOB_RUNNER, REQUEST_MANAGER
from spincycle.internal.v1 import append_grant_pb2
from spincycle.internal.v1 import journal_service_pb2 as journal_pb2
from spincycle.internal.v1.journal_service_pb2_grpc import JournalServiceStub
from spincycle.model.revision import FREE_EPOCHS
from spincycle.rpc.status import from_rpc_error
from spincycle.v1 import job_log_pb2, job_log_service_pb2, job_output_pb2, state_pb2
from spincycle.v1.job_log_service_pb2_grpc import JobLogServiceStub

HONEST = "spiffe://spincycle/spincycle/job-runner/1"


def entry(request_id: str, epoch: int, position: int = 50) -> job_log_pb2.JobLog:
    """The completion of a job that does not exist."""
    message = job_log_pb2.JobLog(
        request_id=request_id,
        job_id="zzzz",
        try_number=1,
        name="forged",
        type="shell-command",
        state=state_pb2.STATE_COMPLETE,
        sequence_id="zzzz",
        sequence_try_number=1,
        position=position,
        epoch=epoch,
        started_at=Timestamp(seconds=1),
        finished_at=Timestamp(seconds=2),
    )
    message.final = True
    return message


def shown(grant: AppendGrant) -> append_grant_pb2.AppendGrant:
    return append_grant_pb2.AppendGrant(
        request_id=grant.request_id, epoch=grant.epoch, key_id=grant.key_id, code=grant.code
    )


async def append(
    installation: Installation,
    entries: Sequence[job_log_pb2.JobLog],
    grants: Sequence[append_grant_pb2.AppendGrant] = (),
    service: str = JOB_RUNNER,
    instance: str = ROGUE,
) -> list[str]:
    """Append a batch; return why the call or entries of it were refused."""
    async with installation.channel(JOB_LOG, installation.identity(service, instance)) as channel:
        batch = journal_pb2.AppendRequest(batch=1, entries=entries, grants=grants)
        call = JournalServiceStub(channel).Append(iter([batch]), timeout=TIMEOUT)
        refused: list[str] = []
        try:
            async for response in call:
                refused += [one.error.reason for one in response.refused]
        except grpc.aio.AioRpcError as failure:
            refused.append(from_rpc_error(failure, "job log", "").reason)
    return refused


@pytest.mark.parametrize(
    "kind",
    [
        "no grant",
        "epoch 0",
        "position 0",
        "another request",
        "another epoch",
        "a higher epoch",
        "another runner",
        "an unknown key",
        "a made-up code",
        "no code",
        "a shorter code",
    ],
)
async def test_an_entry_needs_a_grant_for_its_request_epoch_and_runner(
    installation: Installation, request_id: str, kind: str
) -> None:
    _, epoch = await installation.assignment(request_id)
    honest = installation.grant(request_id, epoch, HONEST)
    own = installation.grant(request_id, epoch, IDENTITY)
    forged = entry(request_id, epoch)
    grants: dict[str, list[AppendGrant]] = {
        "another request": [installation.grant("another", epoch, IDENTITY)],
        "another epoch": [installation.grant(request_id, epoch + 1, IDENTITY)],
        "a higher epoch": [own],
        "another runner": [honest],
        "an unknown key": [replace(own, key_id="2")],
        "a made-up code": [replace(own, code=bytes(32))],
        "no code": [replace(own, code=b"")],
        "a shorter code": [replace(own, code=own.code[:16])],
    }
    if kind == "epoch 0":
        forged = entry(request_id, 0)
    elif kind == "a higher epoch":
        forged = entry(request_id, epoch + 1)
    elif kind == "position 0":
        forged = entry(request_id, epoch, position=0)
    before = await installation.rows()

    refused = await append(installation, [forged], [shown(one) for one in grants.get(kind, [])])

    assert refused == ["NOT_YOURS"]
    assert await installation.changes_since(before) == []


async def test_the_runner_of_a_request_cannot_append_to_another_one(
    installation: Installation, request_id: str
) -> None:
    """Each request needs its own grant, though both run on the runner whose certificate it is."""
    _, epoch = await installation.assignment(request_id)
    grant = shown(installation.grant("another", epoch, HONEST))
    before = await installation.rows()

    forged = [entry("another", epoch), entry(request_id, epoch)]
    refused = await append(installation, forged, [grant], instance="1")

    assert refused == ["NOT_YOURS"]
    assert await installation.changes_since(before) == [], "nothing of the batch is stored"


async def test_a_valid_grant_is_of_use(installation: Installation) -> None:
    """The refusals here are due to what is wrong with the grants."""
    grant = shown(installation.grant("ours", 1, IDENTITY))

    assert await append(installation, [entry("ours", 1)], [grant]) == []


async def test_a_grant_is_of_no_use_after_its_runner_was_lost(
    installation: Installation, rogue: RogueRunner
) -> None:
    await rogue.register(job_types=[])
    requests = []
    while not rogue.grants:
        # The runner with fewer requests gets the next one.
        requests.append(await installation.create_request())

        async def is_assigned(request_id: str = requests[-1]) -> bool:
            runner_id, _ = await installation.assignment(request_id)
            return runner_id != rogue.runner_id or request_id in rogue.grants

        await until(is_assigned)
    request_id, grant = next(iter(rogue.grants.items()))
    assert grant.epoch == (await installation.assignment(request_id))[1]

    await rogue.beat(leaving=True)

    async def has_moved() -> bool:
        return (await installation.assignment(request_id))[0] not in ("", rogue.runner_id)

    await until(has_moved)
    await installation.until_begun(request_id)
    _, epoch = await installation.assignment(request_id)
    before = await installation.rows()
    assert await append(installation, [entry(request_id, grant.epoch)], [grant]) == ["STALE_EPOCH"]
    assert await append(installation, [entry(request_id, epoch)], [grant]) == ["NOT_YOURS"]
    grant.epoch = epoch
    assert await append(installation, [entry(request_id, epoch)], [grant]) == ["NOT_YOURS"]
    assert await installation.changes_since(before) == []
    for id_ in requests:
        await installation.stop_request(id_)


async def test_a_grant_is_of_no_use_after_its_request_was_suspended_and_resumed(
    installation: Installation, request_id: str
) -> None:
    """The earlier runner saved the request, and was not lost."""
    _, earlier = await installation.assignment(request_id)
    grant = shown(installation.grant(request_id, earlier, HONEST))

    await installation.suspend_and_resume_request(request_id)

    _, epoch = await installation.assignment(request_id)
    assert epoch > earlier
    before = await installation.rows()
    forged = [entry(request_id, earlier)]
    assert await append(installation, forged, [grant], instance="1") == ["STALE_EPOCH"]
    assert await installation.changes_since(before) == []


@pytest.mark.parametrize("service", [JOB_LOG, "gateway"])
async def test_other_services_append_nothing_even_with_a_grant(
    installation: Installation, request_id: str, service: str
) -> None:
    _, epoch = await installation.assignment(request_id)
    caller = f"spiffe://spincycle/spincycle/{service}/1"
    grant = shown(installation.grant(request_id, epoch, caller))
    before = await installation.rows()

    forged = [entry(request_id, epoch)]
    refused = await append(installation, forged, [grant], service, instance="1")

    assert refused == ["CALLER_NOT_ALLOWED"]
    assert await installation.changes_since(before) == []


def output(request_id: str, text: bytes) -> job_output_pb2.JobOutput:
    return job_output_pb2.JobOutput(
        request_id=request_id,
        job_id="zzzz",
        try_number=1,
        stream=job_output_pb2.OUTPUT_STREAM_STDOUT,
        data=text,
    )


async def test_output_of_a_foreign_request_is_refused(
    installation: Installation, request_id: str
) -> None:
    """A follower receives only what was offered with a grant for the caller."""
    _, epoch = await installation.assignment(request_id)
    own = shown(installation.grant(request_id, epoch, IDENTITY))
    forged = {
        "no grant": [],
        "another request": [shown(installation.grant("another", epoch, IDENTITY))],
        "another runner": [shown(installation.grant(request_id, epoch, HONEST))],
    }
    async with (
        installation.public_channel(JOB_LOG) as public,
        installation.channel(JOB_LOG, installation.identity(JOB_RUNNER, ROGUE)) as channel,
    ):
        stub = JournalServiceStub(channel)
        tail = JobLogServiceStub(public).Tail(
            job_log_service_pb2.TailRequest(
                request_id=request_id, follow=True, include_live_output=True
            )
        )
        honest = stub.OfferOutput()
        while request_id not in (await read_message(honest)).request_ids:
            pass
        for kind, grants in forged.items():
            offered = journal_pb2.OfferOutputRequest(
                pieces=[output(request_id, b"forged")], grants=grants
            )
            offer = stub.OfferOutput(timeout=TIMEOUT)
            await offer.write(offered)
            assert await end_of(offer) == "NOT_YOURS", kind
        await honest.write(
            journal_pb2.OfferOutputRequest(pieces=[output(request_id, b"honest")], grants=[own])
        )
        pieces: list[bytes] = []
        while not pieces:
            response = await read_message(tail)
            pieces += [event.output.data for event in response.events if event.HasField("output")]
        tail.cancel()
        honest.cancel()

    assert pieces == [b"honest"]


async def end_of(call: AsyncIterable[Any]) -> str:
    """The reason for which a stream ends, whatever it returned before."""
    try:
        async for _ in call:
            pass
    except grpc.aio.AioRpcError as failure:
        return from_rpc_error(failure, "job log", "").reason
    return ""


async def fence(installation: Installation, service: str, request_id: str, epoch: int) -> str:
    async with installation.channel(JOB_LOG, installation.identity(service)) as channel:
        request = journal_pb2.FenceRequest(
            fences=[journal_pb2.EpochFence(request_id=request_id, epoch=epoch)]
        )
        return await reason_of(JournalServiceStub(channel).Fence(request, timeout=TIMEOUT))


async def test_a_runner_cannot_fence_a_request(installation: Installation, request_id: str) -> None:
    before = await installation.rows()

    assert await fence(installation, JOB_RUNNER, request_id, 2) == "CALLER_NOT_ALLOWED"

    assert await installation.changes_since(before) == []


@pytest.mark.parametrize("epoch", [FREE_EPOCHS + 2, 2**40, 2**63 - 1])
async def test_a_request_manager_cannot_fence_a_request_for_ever(
    installation: Installation, request_id: str, epoch: int
) -> None:
    before = await installation.rows()

    assert await fence(installation, REQUEST_MANAGER, request_id, epoch) == "FENCE_TOO_HIGH"

    assert await installation.changes_since(before) == []


async def test_a_fence_beyond_all_numbers_is_refused(
    installation: Installation, request_id: str
) -> None:
    assert await fence(installation, REQUEST_MANAGER, request_id, 2**64 - 1) == "INVALID_INPUT"
