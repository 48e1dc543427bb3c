from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import grpc
import orjson
import pytest
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from tests.integration.request_manager.conftest import ACCOUNT, Manager, SteeredRunner, until
from tests.integration.request_manager.refusal import reason

from spincycle.internal.v1 import runner_coordination_service_pb2 as coordination_pb2
from spincycle.rpc.status import from_rpc_error
from spincycle.v1 import request_manager_service_pb2 as rpc
from spincycle.v1 import request_pb2, request_report_pb2, state_pb2, waiting_pb2

PENDING = state_pb2.STATE_PENDING
RUNNING = state_pb2.STATE_RUNNING
COMPLETE = state_pb2.STATE_COMPLETE
FAIL = state_pb2.STATE_FAIL
STOPPED = state_pb2.STATE_STOPPED
SUSPENDED = state_pb2.STATE_SUSPENDED


async def test_a_created_request_waits_until_a_runner_registers_and_then_runs(
    manager: Manager,
) -> None:
    created = (await manager.create()).request
    assert created.state == PENDING
    assert created.total_jobs == 3

    runner = await manager.register(SteeredRunner("one"))
    await manager.until_state(created.id, RUNNING)

    assert runner.chains == {created.id: 1}


async def test_a_finished_request_keeps_its_state_and_frees_its_runner(manager: Manager) -> None:
    runner = await manager.register(SteeredRunner("one"))
    request_id = (await manager.create()).request.id
    await until(lambda: request_id in runner.chains)

    assert not (await manager.finish(request_id, 1)).HasField("refused")

    request = (await manager.stub.Get(rpc.GetRequest(request_id=request_id))).request
    assert (request.state, request.finished_jobs, request.runner_id) == (COMPLETE, 3, "")
    assert request.HasField("started_at")
    assert request.HasField("finished_at")


async def test_a_finish_report_is_idempotent(manager: Manager) -> None:
    runner = await manager.register(SteeredRunner("one"))
    request_id = (await manager.create()).request.id
    await until(lambda: request_id in runner.chains)
    await manager.finish(request_id, 1)

    assert not (await manager.finish(request_id, 1)).HasField("refused")


async def test_a_different_finish_report_of_an_ended_request_is_refused(manager: Manager) -> None:
    runner = await manager.register(SteeredRunner("one"))
    request_id = (await manager.create()).request.id
    await until(lambda: request_id in runner.chains)
    await manager.finish(request_id, 1)

    assert (await manager.finish(request_id, 1, FAIL)).refused.reason == "INVALID_STATE"


async def test_a_report_with_an_old_epoch_is_refused(manager: Manager) -> None:
    runner = await manager.register(SteeredRunner("one"))
    request_id = (await manager.create()).request.id
    await until(lambda: request_id in runner.chains)

    assert (await manager.finish(request_id, 7)).refused.reason == "STALE_EPOCH"
    assert await manager.state(request_id) in (PENDING, RUNNING)


async def test_a_second_create_with_the_same_key_returns_the_first_request(
    manager: Manager,
) -> None:
    first = await manager.create(idempotency_key="monday")
    second = await manager.create(idempotency_key="monday")

    assert second.request.id == first.request.id
    assert (first.existed, second.existed) == (False, True)


async def test_a_key_with_other_content_is_a_conflict(manager: Manager) -> None:
    await manager.create(idempotency_key="monday")

    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await manager.create(idempotency_key="monday", priority=3)

    assert failure.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert reason(failure) == "IDEMPOTENCY_CONFLICT"


async def test_all_wrong_arguments_are_reported_together(manager: Manager) -> None:
    args = Struct()
    args.update({"sm": "1", "wy": "?"})

    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await manager.stub.Create(rpc.CreateRequest(type="nap", args=args))

    error = from_rpc_error(failure.value, "", "")
    assert error.reason == "INVALID_ARGS"
    assert [violation.field for violation in error.violations] == [
        "args.sm",
        "args.wy",
        "args.ms",
    ]


@pytest.mark.parametrize(
    ("method", "message", "field"),
    [
        ("Create", rpc.CreateRequest(type="nap", idempotency_key="a\0"), "idempotency_key"),
        ("Stop", rpc.StopRequest(request_id="r", reason="a\0"), "reason"),
        ("Get", rpc.GetRequest(request_id="a\0"), "request_id"),
        ("Skip", rpc.SkipRequest(request_id="r", job_ids=["aaaa"], reason="a\0"), "reason"),
        ("List", rpc.ListRequest(filter=request_pb2.RequestFilter(type="a\0")), "filter.type"),
    ],
)
async def test_the_character_nul_is_refused_with_the_name_of_its_field(
    manager: Manager, method: str, message: Message, field: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await getattr(manager.stub, method)(message)

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    error = from_rpc_error(refused.value, "request manager", "")
    assert [violation.field for violation in error.violations] == [field]


@pytest.mark.parametrize(
    ("report", "field"),
    [
        ({"progress": {"finished_jobs": 2**31}}, "finished_jobs"),
        ({"progress": {"counts": {"rolled_back": 2**31}}}, "counts.rolled_back"),
        ({"progress": {"epoch": 2**63}}, "epoch"),
        ({"finish": {"finished_at": {"seconds": 10**12}}}, "finished_at"),
        ({"suspended": {"job_chain": {"finished_jobs": 2**31}}}, "job_chain.finished_jobs"),
    ],
)
async def test_an_impossible_number_in_a_report_harms_no_other_report(
    manager: Manager, report: dict[str, Any], field: str
) -> None:
    unknown = coordination_pb2.RunnerReport(
        progress=request_report_pb2.RequestProgress(request_id="nobody", epoch=1)
    )

    impossible, fine = (
        await manager.coordination.Report(
            coordination_pb2.ReportRequest(
                reports=[coordination_pb2.RunnerReport(**report), unknown]
            )
        )
    ).results

    assert (impossible.refused.reason, fine.refused.reason) == (
        "INVALID_INPUT",
        "REQUEST_NOT_FOUND",
    )
    assert field in impossible.refused.message


async def test_a_plan_stores_nothing_and_its_hash_can_be_required(manager: Manager) -> None:
    args = Struct()
    args.update({"ms": "1"})
    plan = (await manager.stub.Plan(rpc.PlanRequest(type="nap", args=args))).plan

    assert plan.total_jobs == 3
    assert not (await manager.stub.List(rpc.ListRequest())).requests
    assert (
        await manager.create(expected_plan_hash=plan.plan_hash)
    ).request.plan_hash == plan.plan_hash
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await manager.create(expected_plan_hash="another")
    assert reason(failure) == "PLAN_CHANGED"


async def test_a_waiting_request_is_stopped_at_once(manager: Manager) -> None:
    request_id = (await manager.create()).request.id

    stopped = (await manager.stub.Stop(rpc.StopRequest(request_id=request_id))).request

    assert stopped.state == STOPPED
    assert stopped.HasField("finished_at")


async def test_stopping_a_running_request_is_forwarded_to_its_runner(manager: Manager) -> None:
    runner = await manager.register(SteeredRunner("one"))
    request_id = (await manager.create()).request.id
    await manager.until_state(request_id, RUNNING)

    await manager.stub.Stop(rpc.StopRequest(request_id=request_id, reason="enough"))

    assert runner.stopped == [request_id]
    await manager.finish(request_id, 1, STOPPED)
    request = (await manager.stub.Get(rpc.GetRequest(request_id=request_id))).request
    assert (request.state, request.state_message) == (STOPPED, f"stopped by {ACCOUNT}: enough")


async def test_a_stop_that_was_not_forwarded_arrives_with_the_next_heartbeat(
    manager: Manager,
) -> None:
    runner = await manager.register(SteeredRunner("one"))
    request_id = (await manager.create()).request.id
    await manager.until_state(request_id, RUNNING)
    await runner.server.stop(0)

    await manager.stub.Stop(rpc.StopRequest(request_id=request_id))

    beat = await manager.coordination.Heartbeat(coordination_pb2.HeartbeatRequest(runner_id="one"))
    assert list(beat.stop_request_ids) == [request_id]


async def test_a_failed_request_cannot_be_stopped(manager: Manager) -> None:
    runner = await manager.register(SteeredRunner("one"))
    request_id = (await manager.create()).request.id
    await until(lambda: request_id in runner.chains)
    await manager.finish(request_id, 1, FAIL)

    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await manager.stub.Stop(rpc.StopRequest(request_id=request_id))

    assert reason(failure) == "INVALID_STATE"


async def test_a_suspended_request_waits_until_it_is_resumed(manager: Manager) -> None:
    await manager.register(SteeredRunner("one"))
    request_id = (await manager.create()).request.id
    await manager.until_state(request_id, RUNNING)
    await manager.stub.Suspend(rpc.SuspendRequest(request_id=request_id))
    await report_suspended(manager, request_id, epoch=1)
    assert await manager.state(request_id) == SUSPENDED

    await manager.stub.Resume(rpc.ResumeRequest(request_id=request_id))

    await manager.until_state(request_id, RUNNING)
    assert manager.runners[0].resumed[request_id].epoch == 2


async def test_requests_that_a_draining_runner_suspends_are_resumed_on_another(
    manager: Manager,
) -> None:
    await manager.register(SteeredRunner("one"))
    request_id = (await manager.create()).request.id
    await manager.until_state(request_id, RUNNING)
    await manager.coordination.Heartbeat(
        coordination_pb2.HeartbeatRequest(runner_id="one", draining=True)
    )
    two = await manager.register(SteeredRunner("two"))

    await report_suspended(manager, request_id, epoch=1)

    await until(lambda: request_id in two.resumed)
    assert two.chains[request_id] == 2


async def test_a_request_to_be_stopped_is_stopped_when_its_runner_suspends_it(
    manager: Manager,
) -> None:
    await manager.register(SteeredRunner("one"))
    request_id = (await manager.create()).request.id
    await manager.until_state(request_id, RUNNING)
    await manager.stub.Stop(rpc.StopRequest(request_id=request_id))

    await report_suspended(manager, request_id, epoch=1)

    assert await manager.state(request_id) == STOPPED


async def test_a_refused_request_is_assigned_to_the_next_runner(manager: Manager) -> None:
    full = await manager.register(SteeredRunner("full"))
    full.refuse_with = "RUNNER_FULL"
    request_id = (await manager.create()).request.id

    free = await manager.register(SteeredRunner("free"))

    await until(lambda: request_id in free.chains)
    assert request_id not in full.chains


async def test_a_chain_that_no_runner_can_run_fails_its_request(manager: Manager) -> None:
    runner = SteeredRunner("one")
    runner.refuse_with = "INVALID_CHAIN"
    await manager.register(runner)

    request_id = (await manager.create()).request.id

    await manager.until_state(request_id, FAIL)
    request = (await manager.stub.Get(rpc.GetRequest(request_id=request_id))).request
    assert request.state_message == "as the test says"


async def test_a_request_whose_runner_does_not_respond_is_assigned_to_another(
    manager: Manager,
) -> None:
    mute = await manager.register(SteeredRunner("mute"))
    mute.silent = True
    request_id = (await manager.create()).request.id

    other = await manager.register(SteeredRunner("other"))

    await until(lambda: request_id in other.chains)
    assert manager.job_log.fences[request_id] > 1, "the journal was fenced before going on"


async def test_a_heartbeat_of_an_unknown_runner_fails(manager: Manager) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await manager.coordination.Heartbeat(coordination_pb2.HeartbeatRequest(runner_id="nobody"))

    assert reason(failure) == "RUNNER_UNKNOWN"


async def test_lists_are_paged_newest_first_and_filtered(manager: Manager) -> None:
    ids = [(await manager.create()).request.id for _ in range(5)]
    await manager.stub.Stop(rpc.StopRequest(request_id=ids[0]))

    seen: list[str] = []
    request = rpc.ListRequest(filter=request_pb2.RequestFilter(states=[PENDING]), page_size=3)
    while True:
        page = await manager.stub.List(request)
        seen += [one.id for one in page.requests]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token

    assert seen == list(reversed(ids[1:]))
    by_arg = request_pb2.RequestFilter(args={"ms": "1"}, limit=1, offset=1)
    assert [
        one.id for one in (await manager.stub.List(rpc.ListRequest(filter=by_arg))).requests
    ] == [ids[3]]
    by_other = request_pb2.RequestFilter(args={"ms": "2"})
    assert not (await manager.stub.List(rpc.ListRequest(filter=by_other))).requests


@pytest.mark.parametrize(("limit", "pages"), [(0, [2, 2, 1]), (1, [1]), (2, [2]), (3, [2, 1])])
async def test_a_limit_bounds_all_pages_together(
    manager: Manager, limit: int, pages: list[int]
) -> None:
    for _ in range(5):
        await manager.create()
    request = rpc.ListRequest(filter=request_pb2.RequestFilter(limit=limit), page_size=2)
    counts: list[int] = []
    while not counts or request.page_token:
        page = await manager.stub.List(request)
        counts.append(len(page.requests))
        request.page_token = page.next_page_token

    assert counts == pages


@pytest.mark.parametrize(
    ("limit", "left"), [(0, [0, 1, 2, 3, 4]), (1, [3]), (3, [3, 4]), (9, [3, 4])]
)
async def test_an_offset_counts_only_with_a_limit(
    manager: Manager, limit: int, left: list[int]
) -> None:
    newest = [(await manager.create()).request.id for _ in range(5)][::-1]
    request = rpc.ListRequest(filter=request_pb2.RequestFilter(limit=limit, offset=3), page_size=2)
    found: list[str] = []
    while not found or request.page_token:
        page = await manager.stub.List(request)
        found += [one.id for one in page.requests]
        request.page_token = page.next_page_token

    assert found == [newest[number] for number in left]


async def test_a_page_token_of_another_filter_is_refused(manager: Manager) -> None:
    for _ in range(2):
        await manager.create()
    page = await manager.stub.List(rpc.ListRequest(page_size=1))

    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await manager.stub.List(
            rpc.ListRequest(
                filter=request_pb2.RequestFilter(type="nap"),
                page_size=1,
                page_token=page.next_page_token,
            )
        )

    assert reason(failure) == "INVALID_PAGE_TOKEN"


@pytest.mark.parametrize("microseconds", [2**62, -(2**62), 10**18])
async def test_a_page_token_with_an_impossible_time_is_refused(
    manager: Manager, microseconds: int
) -> None:
    for _ in range(2):
        await manager.create()
    first = await manager.stub.List(rpc.ListRequest(page_size=1))
    made = orjson.loads(urlsafe_b64decode(first.next_page_token + "=="))
    made[1] = microseconds
    token = urlsafe_b64encode(orjson.dumps(made)).decode()

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await manager.stub.List(rpc.ListRequest(page_size=1, page_token=token))

    assert reason(refused) == "INVALID_PAGE_TOKEN"


@pytest.mark.parametrize("cursor", ["9" * 5000, "-1", "1.5", "x"])
async def test_an_invalid_cursor_of_named_requests_is_refused(
    manager: Manager, cursor: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await manager.stub.Watch(rpc.WatchRequest(request_ids=["r"], cursor=cursor)).read()

    assert reason(refused) == "INVALID_INPUT"


async def test_a_watch_delivers_a_request_from_its_start_to_its_end(manager: Manager) -> None:
    request_id = (await manager.create()).request.id
    watch = manager.stub.Watch(rpc.WatchRequest(request_ids=[request_id], include_job_chain=True))
    responses = aiter(watch)
    first = (await anext(responses)).events[0]
    assert first.snapshot.request.state == PENDING
    assert len(first.snapshot.job_chain.jobs) == 3

    await manager.register(SteeredRunner("one"))
    second = (await anext(responses)).events[0]
    assert RUNNING in {second.request.state, second.snapshot.request.state}
    await manager.finish(request_id, 1)
    states = [event.request.state async for more in responses for event in more.events]

    assert states[-1] == COMPLETE
    assert first.revision < second.revision


async def test_a_job_chain_can_be_fetched_in_parts(manager: Manager) -> None:
    request_id = (await manager.create()).request.id

    whole = (
        await manager.stub.GetJobChain(rpc.GetJobChainRequest(request_id=request_id))
    ).job_chain
    parts = [
        part.part
        async for part in manager.stub.StreamJobChain(
            rpc.StreamJobChainRequest(request_id=request_id)
        )
    ]

    joined = parts[0]
    for part in parts[1:]:
        joined.MergeFrom(part)
    assert joined == whole


async def report_suspended(manager: Manager, request_id: str, epoch: int) -> None:
    chain = (
        await manager.stub.GetJobChain(rpc.GetJobChainRequest(request_id=request_id))
    ).job_chain
    report = coordination_pb2.RunnerReport()
    report.suspended.request_id = request_id
    report.suspended.job_chain.CopyFrom(chain)
    report.suspended.epoch = epoch
    response = await manager.coordination.Report(coordination_pb2.ReportRequest(reports=[report]))
    assert not response.results[0].HasField("refused")


async def test_a_request_without_a_runner_is_explained(manager: Manager) -> None:
    request_id = (await manager.create()).request.id

    explained = await manager.stub.Explain(rpc.ExplainRequest(request_id=request_id))

    assert explained.message == "there is no live job runner to run the request"
    assert [job.reason for job in explained.jobs] == [
        waiting_pb2.WAIT_REASON_NO_RUNNER,
        waiting_pb2.WAIT_REASON_PARENTS,
        waiting_pb2.WAIT_REASON_PARENTS,
    ]


async def test_running_requests_of_a_type_do_not_exceed_its_limit(manager: Manager) -> None:
    runner = await manager.register(SteeredRunner("one"))
    first, second = [(await manager.create(type="one-nap")).request.id for _ in range(2)]
    await manager.until_state(first, RUNNING)

    explained = await manager.stub.Explain(rpc.ExplainRequest(request_id=second))
    assert explained.message == "no more than 1 requests of type one-nap run at once"
    assert await manager.state(second) == PENDING

    await manager.finish(first, 1)
    await manager.until_state(second, RUNNING)
    assert set(runner.chains) == {first, second}


async def test_a_higher_priority_goes_first(manager: Manager) -> None:
    await manager.register(SteeredRunner("one"))
    running = (await manager.create(type="one-nap")).request.id
    await manager.until_state(running, RUNNING)
    low = (await manager.create(type="one-nap")).request.id
    high = (await manager.create(type="one-nap", priority=5)).request.id

    await manager.finish(running, 1)

    await manager.until_state(high, RUNNING)
    assert await manager.state(low) == PENDING
