from __future__ import annotations

import grpc
import pytest
from tests.integration.request_manager.conftest import Manager, SteeredRunner, until

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
    assert skipped.error == "skipped by an unknown user: slept elsewhere"


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
