"""Watch at one request manager, with a runner that the test controls."""

from __future__ import annotations

import asyncio

import asyncpg
import grpc
import pytest
from tests.integration.request_manager.conftest import Context, Manager, SteeredRunner, until
from tests.integration.request_manager.watch_call import (
    COMPLETE,
    RUNNING,
    publish_job,
    revisions_of,
    running_request,
    short,
    watching,
)
from tests.stream_messages import read_message

from spincycle.internal.v1 import job_event_pb2, job_runner_service_pb2
from spincycle.model.revision import number_of, parts_of
from spincycle.request_manager.watch import filter_subscription
from spincycle.request_manager.watch import session as session_module
from spincycle.request_manager.watch.session import WatchSession
from spincycle.request_manager.watch.subscriber_queue import Checkpoint, SubscriberQueue
from spincycle.v1 import job_log_pb2, request_pb2, state_pb2
from spincycle.v1 import request_manager_service_pb2 as rpc


def journal_the_first_try(manager: Manager, request_id: str) -> None:
    """Add the entry of a complete job "a" to the journal."""
    manager.job_log.entries[request_id] = [
        job_log_pb2.JobLog(request_id=request_id, job_id="a", position=1, epoch=1, state=COMPLETE)
    ]


async def test_a_new_id_subscriber_takes_no_event_from_filter_subscribers(
    manager: Manager,
) -> None:
    runner = await manager.register(SteeredRunner("one"))
    async with watching(manager) as received:
        request_id = await running_request(manager, runner)
        await until(lambda: RUNNING in received.states_of(request_id))
        runner.held = True
        await publish_job(runner, request_id, "a", RUNNING, number_of(0, 3))
        async with watching(manager, request_ids=[request_id]) as one:
            assert one.of(request_id) == ["snapshot RUNNING a"]
            await runner.release()
            await publish_job(runner, request_id, "a", COMPLETE, number_of(1, 0))
            await until(lambda: "a COMPLETE" in received.of(request_id))
            await until(lambda: "a COMPLETE" in one.of(request_id))

    assert received.of(request_id)[-2:] == ["a RUNNING", "a COMPLETE"]
    assert one.of(request_id) == ["snapshot RUNNING a", "a COMPLETE"]


@pytest.mark.parametrize("epoch", [1, 2, 1000])
@pytest.mark.parametrize("begins_with", [True, False], ids=["resident", "later"])
async def test_events_of_a_runner_on_the_request_of_another_one_are_dropped(
    manager: Manager, epoch: int, begins_with: bool
) -> None:
    runner = await manager.register(SteeredRunner("one"))
    async with watching(manager) as received:
        request_id = await running_request(manager, runner)
        await until(lambda: RUNNING in received.states_of(request_id))
        forging = SteeredRunner("two")
        forging.chains[request_id] = epoch
        if begins_with:
            await publish_job(forging, request_id, "forged", RUNNING, number_of(9, 3))
        await manager.register(forging)
        await until(lambda: forging.streams)
        await publish_job(forging, request_id, "forged", RUNNING, number_of(9, 4))
        del forging.chains[request_id]
        # Its own events, after the forged ones.
        own = await running_request(manager, forging)
        await publish_job(forging, own, "a", RUNNING, number_of(0, 9))
        await until(lambda: "a RUNNING" in received.of(own))

        await publish_job(runner, request_id, "a", RUNNING, number_of(0, 3))
        await manager.finish(request_id, 1)
        await until(lambda: "request COMPLETE" in received.of(request_id))

    assert received.of(request_id)[-2:] == ["a RUNNING", "request COMPLETE"]
    assert not any("forged" in event for event in received.of(request_id))


async def test_a_broken_runner_stream_resumes_at_its_last_offset(manager: Manager) -> None:
    runner = await manager.register(SteeredRunner("one"))
    async with watching(manager) as received:
        request_id = await running_request(manager, runner)
        await until(lambda: RUNNING in received.states_of(request_id))
        runner.held = True
        await publish_job(runner, request_id, "a", RUNNING, number_of(0, 3))
        await runner.disconnect()
        await runner.release()
        await publish_job(runner, request_id, "b", RUNNING, number_of(0, 4))
        await until(lambda: "b RUNNING" in received.of(request_id))

    assert received.of(request_id)[-2:] == ["a RUNNING", "b RUNNING"]


async def test_the_end_of_a_request_waits_for_earlier_events_of_its_runner(
    manager: Manager,
) -> None:
    runner = await manager.register(SteeredRunner("one"))
    request_id = await running_request(manager, runner)
    async with watching(manager, request_ids=[request_id]) as received:
        runner.held = True
        await publish_job(runner, request_id, "a", COMPLETE, number_of(1, 0))
        await manager.finish(request_id, 1)
        await manager.until_state(request_id, COMPLETE)
        await runner.release()
        await until(lambda: "request COMPLETE" in received.of(request_id))

    assert received.of(request_id)[-2:] == ["a COMPLETE", "request COMPLETE"]


async def test_events_that_a_runner_never_sent_come_from_the_journal_before_the_end(
    manager: Manager,
) -> None:
    runner = await manager.register(SteeredRunner("one"))
    request_id = await running_request(manager, runner)
    async with watching(manager, request_ids=[request_id]) as received:
        runner.held = True
        journal_the_first_try(manager, request_id)
        await manager.finish(request_id, 1)
        await until(lambda: "request COMPLETE" in received.of(request_id))

    assert received.of(request_id)[-2:] == ["a COMPLETE", "request COMPLETE"]
    assert parts_of(int(received.events[-2].revision)) == (1, 1, 0)


async def test_only_events_that_match_the_filter_are_delivered(manager: Manager) -> None:
    runner = await manager.register(SteeredRunner("one"))
    only = request_pb2.RequestFilter(type="one-nap", states=[state_pb2.STATE_RUNNING])
    async with watching(manager, filter=only, requests_only=True) as received:
        other = await running_request(manager, runner)
        request_id = (await manager.create(type="one-nap")).request.id
        await until(lambda: request_id in runner.chains)
        await publish_job(runner, request_id, "a", RUNNING, number_of(0, 3))
        await manager.finish(request_id, 1)
        await until(lambda: "request COMPLETE" in received.of(request_id))

    assert received.of(other) == []
    assert received.states_of(request_id) == [RUNNING, COMPLETE]


async def test_several_requests_are_watched_until_the_last_has_ended(manager: Manager) -> None:
    runner = await manager.register(SteeredRunner("one"))
    ids = [await running_request(manager, runner) for _ in range(2)]
    received = aiter(manager.stub.Watch(rpc.WatchRequest(request_ids=ids)))
    assert {event.request_id for event in (await anext(received)).events} <= set(ids)
    await manager.finish(ids[0], 1)
    while not any(event.request.state == COMPLETE for event in (await anext(received)).events):
        pass
    await manager.finish(ids[1], 1)
    rest = [event async for response in received for event in response.events]

    assert [event.request_id for event in rest if event.request.state == COMPLETE] == [ids[1]]
    resumed = manager.stub.Watch(rpc.WatchRequest(request_ids=ids, cursor=rest[-1].cursor))
    assert [response async for response in resumed] == []


async def test_a_cursor_ahead_of_the_request_is_too_old(manager: Manager) -> None:
    request_id = (await manager.create()).request.id
    request = rpc.WatchRequest(request_ids=[request_id], cursor=str(2**60))

    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await manager.stub.Watch(request).read()

    assert failure.value.code() is grpc.StatusCode.OUT_OF_RANGE


async def test_a_filter_stream_resumes_with_the_events_of_a_time_without_subscribers(
    manager: Manager,
) -> None:
    runner = await manager.register(SteeredRunner("one"))
    async with watching(manager) as received:
        request_id = await running_request(manager, runner)
        await until(lambda: RUNNING in received.states_of(request_id))
    await publish_job(runner, request_id, "a", RUNNING, number_of(0, 3))
    await manager.finish(request_id, 1)
    other = await running_request(manager, runner)

    async with watching(manager, cursor=received.cursor) as late:
        await until(lambda: "snapshot COMPLETE" in late.of(request_id))
        await until(lambda: late.of(other) != [])

    assert late.of(request_id) == ["a RUNNING", "snapshot COMPLETE"]
    assert late.of(other) == ["snapshot RUNNING"]


async def test_each_cursor_resumes_with_exactly_the_events_after_it(
    manager: Manager,
) -> None:
    runners = [await manager.register(SteeredRunner(name)) for name in ("one", "two")]
    async with watching(manager) as received:
        ids = [(await manager.create()).request.id for _ in runners]
        for request_id in ids:
            await until(lambda id_=request_id: RUNNING in received.states_of(id_))
        for step, state in enumerate((RUNNING, COMPLETE)):
            for request_id in ids:
                (runner,) = (one for one in runners if request_id in one.chains)
                sequence_number = number_of(step, 0 if step else 3)
                await publish_job(runner, request_id, "a", state, sequence_number)
                await until(lambda id_=request_id, n=step: received.of(id_)[-1].startswith("a "))
        await manager.finish(ids[0], 1)
        await until(lambda: COMPLETE in received.states_of(ids[0]))

    for number, message in enumerate(received.messages):
        after = [event for later in received.messages[number + 1 :] for event in later.events]
        async with watching(manager, cursor=message.cursor) as late:
            await until(lambda late=late: late.cursor != "")
        assert revisions_of(late.events) == revisions_of(after), message


async def test_a_runner_attached_in_the_middle_of_its_work_is_published_as_one_batch(
    manager: Manager,
) -> None:
    class Busy(SteeredRunner):
        async def DescribeChains(
            self, request: job_runner_service_pb2.DescribeChainsRequest, context: Context
        ) -> job_runner_service_pb2.DescribeChainsResponse:
            if request.chains:
                await publish_job(self, request.chains[0].request_id, "c", RUNNING, number_of(1, 2))
            return await super().DescribeChains(request, context)

    runner = await manager.register(Busy("one"))
    async with watching(manager) as received:
        request_id = await running_request(manager, runner)
        await until(lambda: RUNNING in received.states_of(request_id))
        runner.held = runner.drops_events = True
        journal_the_first_try(manager, request_id)
        await publish_job(runner, request_id, "a", COMPLETE, number_of(1, 0))
        await publish_job(runner, request_id, "b", RUNNING, number_of(1, 1))
        seen, before = len(received.messages), received.of(request_id)
        await runner.disconnect()
        await until(lambda: any(one.job.job_id == "c" for one in runner.published))
        other = (await manager.create()).request.id
        await until(lambda: received.of(other) != [])
        assert received.of(request_id) == before
        await runner.release()
        await until(lambda: len(received.of(request_id)) > len(before))

    assert received.of(request_id)[len(before) :] == ["a COMPLETE", "snapshot RUNNING a b c"]
    batches = [
        message
        for message in received.messages[seen:]
        if any(event.request_id == request_id for event in message.events)
    ]
    assert len(batches) == 1
    assert f".one={len(runner.published)}" in batches[0].cursor


async def test_filter_subscribers_resume_for_what_the_journal_did_not_return(
    manager: Manager,
) -> None:
    runner = await manager.register(SteeredRunner("one"))
    async with watching(manager) as received:
        ids = [await running_request(manager, runner) for _ in range(2)]
        await until(lambda: all(RUNNING in received.states_of(id_) for id_ in ids))
        runner.held = manager.job_log.away = True
        for request_id in ids:
            await publish_job(runner, request_id, "a", COMPLETE, number_of(1, 0))
        await asyncio.gather(*(manager.finish(request_id, 1) for request_id in ids))
        await until(lambda: received.failure is not None)
        # Another subscriber keeps the session, and with it what was not delivered.
        async with watching(manager):
            manager.job_log.away = False
            await runner.release()
            async with watching(manager, cursor=received.cursor) as late:
                await until(lambda: all(COMPLETE in late.states_of(id_) for id_ in ids))

    assert received.failure is not None
    assert received.failure.code() is grpc.StatusCode.UNAVAILABLE
    assert [late.of(id_) for id_ in ids] == [["a COMPLETE", "snapshot COMPLETE"]] * 2


async def test_a_subscriber_gets_a_cursor_after_many_non_matching_events(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filter_subscription, "MAX_SKIPPED", 2)
    only = request_pb2.RequestFilter(type="no-such-type")
    async with watching(manager, filter=only) as received:
        first = received.cursor
        for _ in range(2):
            await manager.create()
        await until(lambda: received.cursor != first)

    assert received.events == []


async def test_requests_restored_from_a_dump_do_not_count_as_changed(manager: Manager) -> None:
    runner = await manager.register(SteeredRunner("one"))
    restored = await running_request(manager, runner)
    await manager.finish(restored, 1)
    await manager.until_state(restored, COMPLETE)
    connection = await asyncpg.connect(manager.config.database.dsn.reveal())
    # The dumped database had reached much higher transaction ids.
    await connection.execute("UPDATE request_manager.requests SET changed = '9000000000'")
    await connection.close()

    async with watching(manager) as received:
        for _ in range(2):
            request_id = await running_request(manager, runner)
            await until(lambda id_=request_id: RUNNING in received.states_of(id_))

    assert received.of(restored) == []


async def test_runner_streams_are_closed_after_the_last_subscriber(
    manager: Manager,
) -> None:
    runner = await manager.register(SteeredRunner("one"))
    async with watching(manager):
        await until(lambda: runner.streams == 1)

    await until(lambda: runner.streams == 0)


async def test_the_stream_from_a_runner_that_another_request_manager_evicted_is_closed(
    manager: Manager,
) -> None:
    runner = await manager.register(SteeredRunner("one"))
    async with watching(manager):
        await until(lambda: runner.streams == 1)
        connection = await asyncpg.connect(manager.config.database.dsn.reveal())
        await connection.execute("UPDATE request_manager.runners SET deregistered_at = now()")
        await connection.close()

        await until(lambda: runner.streams == 0)


async def test_an_evicted_runner_does_not_prevent_a_resume(
    manager: Manager,
) -> None:
    one = await manager.register(SteeredRunner("one"))
    request_id = await running_request(manager, one)
    await manager.register(SteeredRunner("two"))
    async with watching(manager):
        async with watching(manager) as received:
            await until(lambda: received.of(request_id) != [])
        await publish_job(one, request_id, "a", RUNNING, number_of(0, 3))
        async with watching(manager, cursor=received.cursor) as late:
            await until(lambda: late.of(request_id) == ["a RUNNING"])
        connection = await asyncpg.connect(manager.config.database.dsn.reveal())
        await connection.execute(
            "UPDATE request_manager.runners SET deregistered_at = now() WHERE runner_id = 'one'"
        )
        await connection.close()
        await until(lambda: one.streams == 0)
        async with watching(manager, request_ids=[request_id]) as named:
            assert named.of(request_id) != []
        async with watching(manager, cursor=received.cursor) as resumed:
            await until(lambda: resumed.of(request_id) != [])

            async def is_forgotten() -> bool:
                await manager.create()
                return ".one=" not in resumed.cursor

            await until(is_forgotten)


async def test_ends_of_tries_missed_before_a_chain_was_released_come_from_the_journal(
    manager: Manager,
) -> None:
    class Leaving(SteeredRunner):
        async def DescribeChains(
            self, request: job_runner_service_pb2.DescribeChainsRequest, context: Context
        ) -> job_runner_service_pb2.DescribeChainsResponse:
            for chain in request.chains:
                released = job_event_pb2.CHAIN_TRANSITION_RELEASED
                await self.publish(
                    chain.request_id, released, complete=True, sequence_number=number_of(1, 1)
                )
            self.chains = {}
            return await super().DescribeChains(request, context)

    runner = await manager.register(Leaving("one"))
    async with watching(manager) as received:
        request_id = await running_request(manager, runner)
        await until(lambda: RUNNING in received.states_of(request_id))
        runner.held = runner.drops_events = True
        journal_the_first_try(manager, request_id)
        await publish_job(runner, request_id, "a", COMPLETE, number_of(1, 0))
        await runner.disconnect()
        await until(lambda: not runner.chains)
        await runner.release()
        await manager.finish(request_id, 1)
        await until(lambda: COMPLETE in received.states_of(request_id))

    assert received.of(request_id)[-2:] == ["a COMPLETE", "request COMPLETE"]


async def test_events_sent_before_an_eviction_are_replayed(
    manager: Manager,
) -> None:
    runner = await manager.register(SteeredRunner("one"))
    async with watching(manager) as received:
        request_id = await running_request(manager, runner)
        await until(lambda: RUNNING in received.states_of(request_id))
        await manager.until_state(request_id, RUNNING)
        await manager.create(type="one-nap")
        await until(lambda: any(one.snapshot.request.type == "one-nap" for one in received.events))
    await publish_job(runner, request_id, "a", COMPLETE, number_of(1, 0))
    connection = await asyncpg.connect(manager.config.database.dsn.reveal())
    await connection.execute(
        "UPDATE request_manager.requests SET epoch = 2 WHERE request_id = $1", request_id
    )
    await connection.close()

    async with watching(manager, cursor=received.cursor) as late:
        pass

    assert late.of(request_id) == ["a COMPLETE"]


async def test_a_new_filter_subscriber_gets_no_requests_that_had_ended(
    manager: Manager,
) -> None:
    runner = await manager.register(SteeredRunner("one"))
    other = await running_request(manager, runner)
    async with watching(manager, request_ids=[other]):
        ended = await running_request(manager, runner)
        await manager.finish(ended, 1)
        await manager.until_state(ended, COMPLETE)
        async with watching(manager) as received:
            await until(lambda: received.of(other) != [])

    assert received.of(ended) == []


async def test_a_disconnected_replay_resumes_from_a_later_cursor(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = await manager.register(SteeredRunner("one"))
    async with watching(manager) as received:
        request_id = await running_request(manager, runner)
        await until(lambda: RUNNING in received.states_of(request_id))
    await publish_job(runner, request_id, "a", RUNNING, number_of(0, 3))

    async def never(_: WatchSession, queue: SubscriberQueue) -> None:
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(WatchSession, "put_checkpoint", never)
        async with watching(manager, cursor=received.cursor) as disconnected:
            pass
    assert disconnected.of(request_id) == ["a RUNNING"]

    async with watching(manager, cursor=disconnected.cursor) as late:
        await publish_job(runner, request_id, "b", RUNNING, number_of(0, 4))
        await until(lambda: late.of(request_id) != [])
    assert late.of(request_id) == ["b RUNNING"]


async def test_a_runner_is_attached_only_once_all_its_chains_can_be_described(
    manager: Manager,
) -> None:
    class Late(SteeredRunner):
        described = 0

        async def DescribeChains(
            self, request: job_runner_service_pb2.DescribeChainsRequest, context: Context
        ) -> job_runner_service_pb2.DescribeChainsResponse:
            response = await super().DescribeChains(request, context)
            self.described += bool(request.chains)
            if request.chains and self.described == 1:
                response.uncommitted_request_ids.extend(one.request_id for one in request.chains)
                del response.chains[:]
            return response

    runner = await manager.register(Late("one"))
    async with watching(manager) as received:
        request_id = await running_request(manager, runner)
        await until(lambda: RUNNING in received.states_of(request_id))
        runner.held = runner.drops_events = True
        await publish_job(runner, request_id, "a", RUNNING, number_of(0, 3))
        await runner.disconnect()
        await until(lambda: runner.described > 0)
        await runner.release()
        await publish_job(runner, request_id, "b", RUNNING, number_of(0, 4))
        await until(lambda: received.of(request_id)[-1] == "snapshot RUNNING a b")


async def test_a_replayed_snapshot_has_no_cursor_before_the_events_of_its_runner_have_arrived(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "BARRIER_TIMEOUT", 0.1)
    async with watching(manager) as received:
        pass
    runner = await manager.register(SteeredRunner("one"))
    async with watching(manager) as staying:
        request_id = await running_request(manager, runner)
        await until(lambda: RUNNING in staying.states_of(request_id))
        runner.held = runner.drops_events = True
        await publish_job(runner, request_id, "a", RUNNING, number_of(0, 3))
        put_checkpoint = WatchSession.put_checkpoint

        async def put_after_release(session: WatchSession, queue: SubscriberQueue) -> Checkpoint:
            monkeypatch.setattr(session_module, "BARRIER_TIMEOUT", 20)
            runner.drops_events = False
            await runner.release()
            return await put_checkpoint(session, queue)

        monkeypatch.setattr(WatchSession, "put_checkpoint", put_after_release)
        stream = manager.stub.Watch(rpc.WatchRequest(cursor=received.cursor))
        first = await read_message(stream)
        stream.cancel()
        async with watching(manager, cursor=first.cursor) as late:
            await publish_job(runner, request_id, "b", RUNNING, number_of(0, 4))
            await until(lambda: "b RUNNING" in late.of(request_id))

    assert [short(event) for event in first.events] == ["snapshot RUNNING a"]
    assert late.of(request_id) == ["b RUNNING"]


async def test_a_filter_by_state_gets_requests_that_left_the_state_while_it_was_disconnected(
    manager: Manager,
) -> None:
    only = request_pb2.RequestFilter(states=[state_pb2.STATE_PENDING])
    async with watching(manager, filter=only) as received:
        request_id = (await manager.create()).request.id
        await until(lambda: received.of(request_id) == ["snapshot PENDING"])
    await manager.stub.Stop(rpc.StopRequest(request_id=request_id))

    async with watching(manager, filter=only, cursor=received.cursor) as late:
        await until(lambda: late.of(request_id) != [])

    assert late.of(request_id) == ["snapshot STOPPED"]
