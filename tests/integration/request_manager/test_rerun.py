from __future__ import annotations

import asyncio

import asyncpg
import grpc
import pytest
from tests.integration.request_manager.conftest import (
    ACCOUNT,
    Manager,
    ShelvedJobLog,
    SteeredRunner,
    another,
    running_manager,
    until,
)

from spincycle.database.migrations import load_migrations
from spincycle.errors import SpinCycleError
from spincycle.request_manager.process import PACKAGE
from spincycle.rpc.status import from_rpc_error
from spincycle.v1 import job_chain_pb2, job_log_pb2, state_pb2
from spincycle.v1 import request_manager_service_pb2 as rpc

COMPLETE = state_pb2.STATE_COMPLETE
FAIL = state_pb2.STATE_FAIL
PENDING = state_pb2.STATE_PENDING


async def test_a_rerun_keeps_what_is_complete_and_runs_the_rest(manager: Manager) -> None:
    old, chain = await failed_nap(manager)

    new = (await manager.stub.Rerun(rpc.RerunRequest(request_id=old))).request

    assert (new.rerun_of_request_id, new.finished_jobs, new.total_jobs) == (old, 1, 3)
    assert [entry.job_id for entry in manager.job_log.entries[new.id]] == [chain.jobs[0].id]
    runner = manager.runners[0]
    await until(lambda: new.id in runner.resumed)
    states = {job.id: job.state for job in runner.resumed[new.id].job_chain.jobs}
    assert [states[job.id] for job in chain.jobs] == [COMPLETE, PENDING, PENDING]
    assert not runner.resumed[new.id].total_job_tries[chain.jobs[1].id]


async def test_the_old_request_stays_as_it_was(manager: Manager) -> None:
    old, _ = await failed_nap(manager)
    entries = list(manager.job_log.entries[old])

    await manager.stub.Rerun(rpc.RerunRequest(request_id=old))

    assert await manager.state(old) == FAIL
    assert manager.job_log.entries[old] == entries


async def test_a_named_job_is_rerun_with_all_its_successors(manager: Manager) -> None:
    old, chain = await failed_nap(manager)

    new = (
        await manager.stub.Rerun(rpc.RerunRequest(request_id=old, job_ids=[chain.jobs[0].id]))
    ).request

    assert new.finished_jobs == 0


async def test_a_skipped_job_counts_as_complete_with_user_and_reason(manager: Manager) -> None:
    old, chain = await failed_nap(manager)
    rest = chain.jobs[1]

    new = (
        await manager.stub.Skip(
            rpc.SkipRequest(request_id=old, job_ids=[rest.id], reason="slept elsewhere")
        )
    ).request

    assert new.finished_jobs == 2
    skipped = manager.job_log.entries[new.id][-1]
    assert (skipped.job_id, skipped.state) == (rest.id, COMPLETE)
    assert skipped.error == f"skipped by {ACCOUNT}: slept elsewhere"


async def test_a_skip_without_a_reason_is_refused(manager: Manager) -> None:
    old, chain = await failed_nap(manager)

    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await manager.stub.Skip(rpc.SkipRequest(request_id=old, job_ids=[chain.jobs[1].id]))

    assert from_rpc_error(failure.value, "", "").violations[0].field == "reason"


async def test_a_job_that_was_not_reached_cannot_be_skipped(manager: Manager) -> None:
    old, chain = await failed_nap(manager)

    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await manager.stub.Skip(
            rpc.SkipRequest(request_id=old, job_ids=[chain.jobs[2].id], reason="no")
        )

    assert "has not been reached" in from_rpc_error(failure.value, "", "").message


async def test_a_live_request_cannot_be_rerun(manager: Manager) -> None:
    request_id = (await manager.create()).request.id

    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await manager.stub.Rerun(rpc.RerunRequest(request_id=request_id))

    assert from_rpc_error(failure.value, "", "").reason == "INVALID_STATE"


async def test_a_second_rerun_with_the_same_key_returns_the_first_one(manager: Manager) -> None:
    old, _ = await failed_nap(manager)
    request = rpc.RerunRequest(request_id=old, idempotency_key="again")

    first = (await manager.stub.Rerun(request)).request
    second = (await manager.stub.Rerun(request)).request

    assert first.id == second.id


async def test_a_refused_skip_names_the_job_by_its_path(manager: Manager) -> None:
    old, chain = await failed_nap(manager)
    begin, _, end = chain.jobs

    for job, problem in ((begin, "is COMPLETE"), (end, "has not failed")):
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await manager.stub.Skip(rpc.SkipRequest(request_id=old, job_ids=[job.id], reason="no"))
        assert f"job {job.path} ({job.id}) {problem}" in (failure.value.details() or "")


async def test_the_entry_of_a_skipped_job_has_its_path(manager: Manager) -> None:
    old, chain = await failed_nap(manager)
    skip = rpc.SkipRequest(request_id=old, job_ids=[chain.jobs[1].id], reason="slept elsewhere")

    new = (await manager.stub.Skip(skip)).request

    assert manager.job_log.entries[new.id][-1].path == "rest"


@pytest.mark.parametrize("given", ["path", "similar"])
async def test_an_unknown_job_is_answered_with_the_one_that_may_be_meant(
    manager: Manager, given: str
) -> None:
    old, chain = await failed_nap(manager)
    job = chain.jobs[1]
    unknown = job.path if given == "path" else f"{job.id}x"

    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await manager.stub.Rerun(rpc.RerunRequest(request_id=old, job_ids=[unknown]))

    assert failure.value.details() == (
        f"job {unknown} not found in request {old} (did you mean {job.id}, rest?)"
    )


async def test_a_request_is_not_rerun_while_its_rerun_is_live(manager: Manager) -> None:
    old, chain = await failed_nap(manager)
    first = await rerun(manager, old)
    entries = dict(manager.job_log.entries)

    refused = await refusal(manager, rpc.RerunRequest(request_id=old))
    skip = rpc.SkipRequest(request_id=old, job_ids=[chain.jobs[1].id], reason="done by hand")
    refused_skip = await refusal(manager, skip)

    assert refused.reason == refused_skip.reason == "RERUN_NOT_ENDED"
    assert f"request {old} is run again by request {first}, which is" in refused.message
    assert manager.job_log.entries == entries


async def test_a_request_is_rerun_again_as_soon_as_its_rerun_has_ended(manager: Manager) -> None:
    old, _ = await failed_nap(manager)
    first = await rerun(manager, old)
    await end(manager, first)

    assert await rerun(manager, old) != first


async def test_a_suspended_rerun_has_not_ended(manager: Manager) -> None:
    old, _ = await failed_nap(manager)
    await manager.runners[0].server.stop(0)
    new = await rerun(manager, old)
    await manager.stub.Suspend(rpc.SuspendRequest(request_id=new))
    await manager.until_state(new, state_pb2.STATE_SUSPENDED)

    refused = await refusal(manager, rpc.RerunRequest(request_id=old))

    assert "is SUSPENDED and has not ended" in refused.message


async def test_of_all_requests_that_descend_from_one_by_reruns_one_is_live(
    manager: Manager,
) -> None:
    old, _ = await failed_nap(manager)
    child = await rerun(manager, old)
    await end(manager, child)
    grandchild = await rerun(manager, child)

    of_old = await refusal(manager, rpc.RerunRequest(request_id=old))
    await end(manager, grandchild)
    sibling = await rerun(manager, old)
    of_child = await refusal(manager, rpc.RerunRequest(request_id=child))
    of_grandchild = await refusal(manager, rpc.RerunRequest(request_id=grandchild))

    assert f"by request {grandchild}" in of_old.message
    assert f"by request {sibling}" in of_child.message
    assert f"by request {sibling}" in of_grandchild.message


async def test_reruns_of_other_requests_do_not_count(manager: Manager) -> None:
    old, _ = await failed_nap(manager)
    await rerun(manager, old)
    await manager.create()
    other = (await manager.create()).request.id
    await end(manager, other)

    assert await rerun(manager, other)


async def test_concurrent_reruns_are_created_where_the_caller_allows_them(
    manager: Manager,
) -> None:
    old, chain = await failed_nap(manager)
    first = await rerun(manager, old)
    skip = rpc.SkipRequest(
        request_id=old, job_ids=[chain.jobs[1].id], reason="done by hand", allow_concurrent=True
    )

    second = await rerun(manager, old, allow_concurrent=True)
    third = (await manager.stub.Skip(skip)).request.id
    await end(manager, first)
    await end(manager, third)
    refused = await refusal(manager, rpc.RerunRequest(request_id=old))

    assert f"by request {second}" in refused.message


async def test_the_key_of_a_live_rerun_returns_it_from_any_copy(
    manager: Manager, job_log: tuple[ShelvedJobLog, str]
) -> None:
    old, _ = await failed_nap(manager)
    request = rpc.RerunRequest(request_id=old, idempotency_key="again")

    async with running_manager(another(manager.config), job_log[0]) as other:
        calls = [one.stub.Rerun(request) for one in (manager, other) for _ in range(5)]
        found = {response.request.id for response in await asyncio.gather(*calls)}

    assert len(found) == 1
    request.allow_concurrent = True
    assert (await manager.stub.Rerun(request)).request.id in found


async def test_of_concurrent_reruns_through_two_copies_one_is_created(
    manager: Manager, connection: asyncpg.Connection, job_log: tuple[ShelvedJobLog, str]
) -> None:
    old, _ = await failed_nap(manager)

    async def outcome(at: Manager) -> str:
        try:
            return (await at.stub.Rerun(rpc.RerunRequest(request_id=old))).request.id
        except grpc.aio.AioRpcError as failure:
            return from_rpc_error(failure, "", "").reason

    async with running_manager(another(manager.config), job_log[0]) as other:
        calls = [outcome(one) for one in (manager, other) for _ in range(10)]
        outcomes = sorted(await asyncio.gather(*calls))

    stored = "SELECT request_id FROM request_manager.requests WHERE rerun_of = $1"
    (created,) = [row["request_id"] for row in await connection.fetch(stored, old)]
    assert outcomes == sorted([created, *["RERUN_NOT_ENDED"] * 19])


async def test_reruns_of_an_older_version_get_their_roots_when_the_schema_is_migrated(
    manager: Manager, connection: asyncpg.Connection
) -> None:
    old, _ = await failed_nap(manager)
    child = await rerun(manager, old)
    await end(manager, child)
    grandchild = await rerun(manager, child)
    sibling = await rerun(manager, old, allow_concurrent=True)
    await connection.execute(
        "ALTER TABLE request_manager.requests DROP COLUMN rerun_root, DROP COLUMN allow_concurrent"
    )

    step = next(one for one in load_migrations(PACKAGE) if one.name == "rerun_roots")
    await connection.execute(step.sql)

    rows = await connection.fetch("SELECT request_id, rerun_root FROM request_manager.requests")
    roots = {row["request_id"]: row["rerun_root"] for row in rows}
    assert roots == {old: None, child: old, grandchild: old, sibling: old}
    refused = await refusal(manager, rpc.RerunRequest(request_id=child))
    assert f"by request {sibling}" in refused.message


async def rerun(manager: Manager, request_id: str, *, allow_concurrent: bool = False) -> str:
    """Rerun a request and return the id of the new one."""
    request = rpc.RerunRequest(request_id=request_id, allow_concurrent=allow_concurrent)
    return (await manager.stub.Rerun(request)).request.id


async def refusal(manager: Manager, request: rpc.RerunRequest | rpc.SkipRequest) -> SpinCycleError:
    """Make a call that is refused, and return why."""
    stub = manager.stub
    call = stub.Skip(request) if isinstance(request, rpc.SkipRequest) else stub.Rerun(request)
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await call
    assert failure.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    return from_rpc_error(failure.value, "", "")


async def end(manager: Manager, request_id: str) -> None:
    """Have a request FAIL as soon as the runner has it."""
    runner = manager.runners[0]
    await until(lambda: request_id in runner.chains)
    await manager.finish(request_id, runner.chains[request_id], FAIL)


async def failed_nap(manager: Manager) -> tuple[str, job_chain_pb2.JobChain]:
    """Create a request whose first job is COMPLETE and whose second one has failed."""
    runner = await manager.register(SteeredRunner("one"))
    request_id = (await manager.create()).request.id
    await until(lambda: request_id in runner.chains)
    chain = (
        await manager.stub.GetJobChain(rpc.GetJobChainRequest(request_id=request_id))
    ).job_chain
    states = [COMPLETE, FAIL]
    manager.job_log.entries[request_id] = [
        job_log_pb2.JobLog(
            request_id=request_id,
            job_id=job.id,
            name=job.name,
            type=job.type,
            state=state,
            sequence_id=job.sequence_id,
            sequence_try_number=1,
            position=position,
            epoch=1,
            try_number=1,
        )
        for position, (job, state) in enumerate(zip(chain.jobs, states, strict=False), start=1)
    ]
    await manager.finish(request_id, 1, FAIL)
    return request_id, chain
