"""Watching at one request manager whose runner does what the test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import grpc
import pytest
from tests.integration.request_manager.conftest import Manager, SteeredRunner, until

from spincycle.internal.v1 import job_event_pb2
from spincycle.model.revision import number_of, parts_of, waiting
from spincycle.model.state import State
from spincycle.request_manager.watch import hub
from spincycle.request_manager.watch import subscriptions as watch
from spincycle.request_manager.watch.hub import Hub
from spincycle.request_manager.watch.subscriber_queue import Checkpoint, SubscriberQueue
from spincycle.v1 import job_log_pb2, request_event_pb2, request_pb2, state_pb2
from spincycle.v1 import request_manager_service_pb2 as rpc

RUNNING = state_pb2.STATE_RUNNING
COMPLETE = state_pb2.STATE_COMPLETE


class Told:
    """What one watcher was told."""

    def __init__(self) -> None:
        self.messages: list[rpc.WatchResponse] = []
        self.events: list[request_event_pb2.RequestEvent] = []
        self.cursor = ""
        self.failure: grpc.aio.AioRpcError | None = None

    def of(self, request_id: str) -> list[str]:
        """Events of a request in short."""
        return [_short(event) for event in self.events if event.request_id == request_id]

    def states_of(self, request_id: str) -> list[int]:
        """States of a request, whether told step by step or in a snapshot."""
        return [
            told.state
            for event in self.events
            if event.request_id == request_id
            for told in (event.snapshot.request, event.request)
            if told.id
        ]


def _short(event: request_event_pb2.RequestEvent) -> str:
    what = event.WhichOneof("change")
    if what == "job":
        return f"{event.job.job_id} {State(event.job.state).name}"
    request = event.snapshot.request if what == "snapshot" else event.request
    jobs = "".join(f" {job.job_id}" for job in event.snapshot.jobs)
    return f"{what} {State(request.state).name}{jobs}"


@asynccontextmanager
async def watching(manager: Manager, **asked: object) -> AsyncIterator[Told]:
    """A watcher that has been told how things are when this begins."""
    told = Told()
    began = asyncio.Event()

    async def watch() -> None:
        try:
            await take()
        except grpc.aio.AioRpcError as failure:
            told.failure = failure
            raise

    async def take() -> None:
        async for response in manager.stub.Watch(rpc.WatchRequest(**asked)):  # type: ignore[arg-type]
            told.messages.append(response)
            told.events += response.events
            for cursor in (*(event.cursor for event in response.events), response.cursor):
                told.cursor = cursor or told.cursor
            if asked.get("request_ids") or told.cursor:
                began.set()

    task = asyncio.create_task(watch())
    waiting = asyncio.create_task(began.wait())
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        yield told
    finally:
        for each in (task, waiting):
            each.cancel()
        await asyncio.gather(task, waiting, return_exceptions=True)


async def tell(runner: SteeredRunner, request_id: str, job_id: str, state: int, place: int) -> None:
    """A job has changed; its place is the number of the change."""
    event = job_event_pb2.JobEvent()
    event.job.request_id, event.job.job_id = request_id, job_id
    event.job.state = state  # type: ignore[assignment]
    await runner.tell(request_id, job=event.job, sequence_number=place)


def journal_the_first_try(manager: Manager, request_id: str) -> None:
    """Job a is complete, as the journal says."""
    manager.job_log.entries[request_id] = [
        job_log_pb2.JobLog(request_id=request_id, job_id="a", position=1, epoch=1, state=COMPLETE)
    ]


async def begun(manager: Manager, runner: SteeredRunner) -> str:
    """A request that the runner runs."""
    request_id = (await manager.create()).request.id
    await until(lambda: request_id in runner.chains)
    return request_id


async def test_who_begins_to_watch_one_request_takes_nothing_from_who_watches_all(
    manager: Manager,
) -> None:
    runner = await manager.register(SteeredRunner("one"))
    async with watching(manager) as told:
        request_id = await begun(manager, runner)
        await until(lambda: RUNNING in told.states_of(request_id))
        runner.held = True
        await tell(runner, request_id, "a", RUNNING, number_of(0, 3))
        async with watching(manager, request_ids=[request_id]) as one:
            assert one.of(request_id) == ["snapshot RUNNING a"]
            await runner.release()
            await tell(runner, request_id, "a", COMPLETE, number_of(1, 0))
            await until(lambda: "a COMPLETE" in told.of(request_id))
            await until(lambda: "a COMPLETE" in one.of(request_id))

    assert told.of(request_id)[-2:] == ["a RUNNING", "a COMPLETE"]
    assert one.of(request_id) == ["snapshot RUNNING a", "a COMPLETE"]


async def test_a_broken_stream_of_a_runner_is_taken_up_where_it_was(manager: Manager) -> None:
    runner = await manager.register(SteeredRunner("one"))
    async with watching(manager) as told:
        request_id = await begun(manager, runner)
        await until(lambda: RUNNING in told.states_of(request_id))
        runner.held = True
        await tell(runner, request_id, "a", RUNNING, number_of(0, 3))
        await runner.cut()
        await runner.release()
        await tell(runner, request_id, "b", RUNNING, number_of(0, 4))
        await until(lambda: "b RUNNING" in told.of(request_id))

    assert told.of(request_id)[-2:] == ["a RUNNING", "b RUNNING"]


async def test_an_end_waits_for_what_its_runner_tells_before_it(manager: Manager) -> None:
    runner = await manager.register(SteeredRunner("one"))
    request_id = await begun(manager, runner)
    async with watching(manager, request_ids=[request_id]) as told:
        runner.held = True
        await tell(runner, request_id, "a", COMPLETE, number_of(1, 0))
        await manager.finish(request_id, 1)
        await manager.until_state(request_id, COMPLETE)
        await runner.release()
        await until(lambda: "request COMPLETE" in told.of(request_id))

    assert told.of(request_id)[-2:] == ["a COMPLETE", "request COMPLETE"]


async def test_what_a_runner_never_told_is_told_from_the_journal_before_the_end(
    manager: Manager,
) -> None:
    runner = await manager.register(SteeredRunner("one"))
    request_id = await begun(manager, runner)
    async with watching(manager, request_ids=[request_id]) as told:
        runner.held = True
        journal_the_first_try(manager, request_id)
        await manager.finish(request_id, 1)
        await until(lambda: "request COMPLETE" in told.of(request_id))

    assert told.of(request_id)[-2:] == ["a COMPLETE", "request COMPLETE"]
    assert parts_of(int(told.events[-2].revision)) == (1, 1, 0)


async def test_only_what_matches_the_filter_is_told(manager: Manager) -> None:
    runner = await manager.register(SteeredRunner("one"))
    only = request_pb2.RequestFilter(type="one-nap", states=[state_pb2.STATE_RUNNING])
    async with watching(manager, filter=only, requests_only=True) as told:
        other = await begun(manager, runner)
        request_id = (await manager.create(type="one-nap")).request.id
        await until(lambda: request_id in runner.chains)
        await tell(runner, request_id, "a", RUNNING, number_of(0, 3))
        await manager.finish(request_id, 1)
        await until(lambda: "request COMPLETE" in told.of(request_id))

    assert told.of(other) == []
    assert told.states_of(request_id) == [RUNNING, COMPLETE]


async def test_several_requests_are_watched_until_the_last_has_ended(manager: Manager) -> None:
    runner = await manager.register(SteeredRunner("one"))
    ids = [await begun(manager, runner) for _ in range(2)]
    told = aiter(manager.stub.Watch(rpc.WatchRequest(request_ids=ids)))
    assert {event.request_id for event in (await anext(told)).events} <= set(ids)
    await manager.finish(ids[0], 1)
    while not any(event.request.state == COMPLETE for event in (await anext(told)).events):
        pass
    await manager.finish(ids[1], 1)
    rest = [event async for response in told for event in response.events]

    assert [event.request_id for event in rest if event.request.state == COMPLETE] == [ids[1]]
    again = manager.stub.Watch(rpc.WatchRequest(request_ids=ids, cursor=rest[-1].cursor))
    assert [response async for response in again] == []


async def test_a_cursor_ahead_of_the_request_is_too_old(manager: Manager) -> None:
    request_id = (await manager.create()).request.id
    asked = rpc.WatchRequest(request_ids=[request_id], cursor=str(2**60))

    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await manager.stub.Watch(asked).read()

    assert failure.value.code() is grpc.StatusCode.OUT_OF_RANGE


async def test_a_stream_of_all_goes_on_with_what_happened_while_nobody_watched(
    manager: Manager,
) -> None:
    runner = await manager.register(SteeredRunner("one"))
    async with watching(manager) as told:
        request_id = await begun(manager, runner)
        await until(lambda: RUNNING in told.states_of(request_id))
    await tell(runner, request_id, "a", RUNNING, number_of(0, 3))
    await manager.finish(request_id, 1)
    other = await begun(manager, runner)

    async with watching(manager, cursor=told.cursor) as late:
        await until(lambda: "snapshot COMPLETE" in late.of(request_id))
        await until(lambda: late.of(other) != [])

    assert late.of(request_id) == ["a RUNNING", "snapshot COMPLETE"]
    assert late.of(other) == ["snapshot RUNNING"]


async def test_each_cursor_leads_to_all_that_was_told_after_it_and_to_nothing_else(
    manager: Manager,
) -> None:
    runners = [await manager.register(SteeredRunner(name)) for name in ("one", "two")]
    async with watching(manager) as told:
        ids = [(await manager.create()).request.id for _ in runners]
        for request_id in ids:
            await until(lambda id_=request_id: RUNNING in told.states_of(id_))
        for step, state in enumerate((RUNNING, COMPLETE)):
            for request_id in ids:
                (runner,) = (one for one in runners if request_id in one.chains)
                place = number_of(step, 0 if step else 3)
                await tell(runner, request_id, "a", state, place)
                await until(lambda id_=request_id, n=step: told.of(id_)[-1].startswith("a "))
        await manager.finish(ids[0], 1)
        await until(lambda: COMPLETE in told.states_of(ids[0]))

    for number, message in enumerate(told.messages):
        after = [event for later in told.messages[number + 1 :] for event in later.events]
        async with watching(manager, cursor=message.cursor) as late:
            await until(lambda late=late: late.cursor != "")
        assert _places(late.events) == _places(after), message


def _places(events: list[request_event_pb2.RequestEvent]) -> list[tuple[str, int]]:
    """Request and revision of each event, but for states that lasted until the next one only."""
    places = ((event.request_id, int(event.revision)) for event in events)
    return sorted(place for place in places if place[1] > waiting(0))


async def test_a_runner_heard_in_the_midst_of_its_work_is_told_of_in_one_piece(
    manager: Manager,
) -> None:
    class Busy(SteeredRunner):
        async def DescribeChains(self, request, context):  # type: ignore[no-untyped-def]
            if request.chains:
                await tell(self, request.chains[0].request_id, "c", RUNNING, number_of(1, 2))
            return await super().DescribeChains(request, context)

    runner = await manager.register(Busy("one"))
    async with watching(manager) as told:
        request_id = await begun(manager, runner)
        await until(lambda: RUNNING in told.states_of(request_id))
        runner.held = runner.forgets = True
        journal_the_first_try(manager, request_id)
        await tell(runner, request_id, "a", COMPLETE, number_of(1, 0))
        await tell(runner, request_id, "b", RUNNING, number_of(1, 1))
        seen, before = len(told.messages), told.of(request_id)
        await runner.cut()
        await until(lambda: any(one.job.job_id == "c" for one in runner.told))
        other = (await manager.create()).request.id
        await until(lambda: told.of(other) != [])
        assert told.of(request_id) == before
        await runner.release()
        await until(lambda: len(told.of(request_id)) > len(before))

    assert told.of(request_id)[len(before) :] == ["a COMPLETE", "snapshot RUNNING a b c"]
    pieces = [
        message
        for message in told.messages[seen:]
        if any(event.request_id == request_id for event in message.events)
    ]
    assert len(pieces) == 1
    assert f".one={len(runner.told)}" in pieces[0].cursor


async def test_who_watches_all_comes_again_for_what_the_journal_did_not_give(
    manager: Manager,
) -> None:
    runner = await manager.register(SteeredRunner("one"))
    async with watching(manager) as told:
        ids = [await begun(manager, runner) for _ in range(2)]
        await until(lambda: all(RUNNING in told.states_of(id_) for id_ in ids))
        runner.held = manager.job_log.away = True
        for request_id in ids:
            await tell(runner, request_id, "a", COMPLETE, number_of(1, 0))
        await asyncio.gather(*(manager.finish(request_id, 1) for request_id in ids))
        await until(lambda: told.failure is not None)
        # Somebody stays, so that what was not told is not forgotten with the last who watched.
        async with watching(manager):
            manager.job_log.away = False
            await runner.release()
            async with watching(manager, cursor=told.cursor) as late:
                await until(lambda: all(COMPLETE in late.states_of(id_) for id_ in ids))

    assert told.failure is not None
    assert told.failure.code() is grpc.StatusCode.UNAVAILABLE
    assert [late.of(id_) for id_ in ids] == [["a COMPLETE", "snapshot COMPLETE"]] * 2


async def test_a_watcher_that_is_told_little_still_gets_to_know_where_it_is(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "MAX_PASSED", 2)
    only = request_pb2.RequestFilter(type="no-such-type")
    async with watching(manager, filter=only) as told:
        first = told.cursor
        for _ in range(2):
            await manager.create()
        await until(lambda: told.cursor != first)

    assert told.events == []


async def test_what_was_restored_from_a_dump_is_not_told_as_changed(manager: Manager) -> None:
    runner = await manager.register(SteeredRunner("one"))
    restored = await begun(manager, runner)
    await manager.finish(restored, 1)
    await manager.until_state(restored, COMPLETE)
    connection = await asyncpg.connect(manager.config.database.dsn.reveal())
    # The database that the dump was taken of had come much further.
    await connection.execute("UPDATE request_manager.requests SET changed = '9000000000'")
    await connection.close()

    async with watching(manager) as told:
        for _ in range(2):
            request_id = await begun(manager, runner)
            await until(lambda id_=request_id: RUNNING in told.states_of(id_))

    assert told.of(restored) == []


async def test_nothing_is_asked_of_runners_and_database_while_nobody_watches(
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
        await connection.execute("UPDATE request_manager.runners SET gone_at = now()")
        await connection.close()

        await until(lambda: runner.streams == 0)


async def test_a_runner_that_was_given_up_hinders_nobody_who_comes_again(
    manager: Manager,
) -> None:
    one = await manager.register(SteeredRunner("one"))
    request_id = await begun(manager, one)
    await manager.register(SteeredRunner("two"))
    async with watching(manager):
        async with watching(manager) as told:
            await until(lambda: told.of(request_id) != [])
        await tell(one, request_id, "a", RUNNING, number_of(0, 3))
        async with watching(manager, cursor=told.cursor) as late:
            await until(lambda: late.of(request_id) == ["a RUNNING"])
        connection = await asyncpg.connect(manager.config.database.dsn.reveal())
        await connection.execute(
            "UPDATE request_manager.runners SET gone_at = now() WHERE runner_id = 'one'"
        )
        await connection.close()
        await until(lambda: one.streams == 0)
        async with watching(manager, request_ids=[request_id]) as named:
            assert named.of(request_id) != []
        async with watching(manager, cursor=told.cursor) as again:
            await until(lambda: again.of(request_id) != [])

            async def is_forgotten() -> bool:
                await manager.create()
                return ".one=" not in again.cursor

            await until(is_forgotten)


async def test_ends_of_tries_that_went_by_before_a_chain_left_are_told_from_the_journal(
    manager: Manager,
) -> None:
    class Leaving(SteeredRunner):
        async def DescribeChains(self, request, context):  # type: ignore[no-untyped-def]
            for chain in request.chains:
                left = job_event_pb2.CHAIN_TRANSITION_RELEASED
                await self.tell(
                    chain.request_id, left, complete=True, sequence_number=number_of(1, 1)
                )
            self.chains = {}
            return await super().DescribeChains(request, context)

    runner = await manager.register(Leaving("one"))
    async with watching(manager) as told:
        request_id = await begun(manager, runner)
        await until(lambda: RUNNING in told.states_of(request_id))
        runner.held = runner.forgets = True
        journal_the_first_try(manager, request_id)
        await tell(runner, request_id, "a", COMPLETE, number_of(1, 0))
        await runner.cut()
        await until(lambda: not runner.chains)
        await runner.release()
        await manager.finish(request_id, 1)
        await until(lambda: COMPLETE in told.states_of(request_id))

    assert told.of(request_id)[-2:] == ["a COMPLETE", "request COMPLETE"]


async def test_what_a_runner_told_is_not_missed_since_it_was_given_up_meanwhile(
    manager: Manager,
) -> None:
    runner = await manager.register(SteeredRunner("one"))
    async with watching(manager) as told:
        request_id = await begun(manager, runner)
        await until(lambda: RUNNING in told.states_of(request_id))
        await manager.until_state(request_id, RUNNING)
        await manager.create(type="one-nap")
        await until(lambda: any(one.snapshot.request.type == "one-nap" for one in told.events))
    await tell(runner, request_id, "a", COMPLETE, number_of(1, 0))
    connection = await asyncpg.connect(manager.config.database.dsn.reveal())
    await connection.execute(
        "UPDATE request_manager.requests SET epoch = 2 WHERE request_id = $1", request_id
    )
    await connection.close()

    async with watching(manager, cursor=told.cursor) as late:
        pass

    assert late.of(request_id) == ["a COMPLETE"]


async def test_what_had_ended_before_is_not_told_to_who_begins_to_watch_all(
    manager: Manager,
) -> None:
    runner = await manager.register(SteeredRunner("one"))
    other = await begun(manager, runner)
    async with watching(manager, request_ids=[other]):
        ended = await begun(manager, runner)
        await manager.finish(ended, 1)
        await manager.until_state(ended, COMPLETE)
        async with watching(manager) as told:
            await until(lambda: told.of(other) != [])

    assert told.of(ended) == []


async def test_one_who_is_cut_while_it_catches_up_need_not_begin_from_the_same_cursor_again(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = await manager.register(SteeredRunner("one"))
    async with watching(manager) as told:
        request_id = await begun(manager, runner)
        await until(lambda: RUNNING in told.states_of(request_id))
    await tell(runner, request_id, "a", RUNNING, number_of(0, 3))

    async def never(_: Hub, watcher: SubscriberQueue) -> None:
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(Hub, "mark", never)
        async with watching(manager, cursor=told.cursor) as cut:
            pass
    assert cut.of(request_id) == ["a RUNNING"]

    async with watching(manager, cursor=cut.cursor) as late:
        await tell(runner, request_id, "b", RUNNING, number_of(0, 4))
        await until(lambda: late.of(request_id) != [])
    assert late.of(request_id) == ["b RUNNING"]


async def test_a_runner_is_not_told_of_before_all_its_chains_can_be(manager: Manager) -> None:
    class Late(SteeredRunner):
        asked = 0

        async def DescribeChains(self, request, context):  # type: ignore[no-untyped-def]
            response = await super().DescribeChains(request, context)
            self.asked += bool(request.chains)
            if request.chains and self.asked == 1:
                response.uncommitted_request_ids.extend(one.request_id for one in request.chains)
                del response.chains[:]
            return response

    runner = await manager.register(Late("one"))
    async with watching(manager) as told:
        request_id = await begun(manager, runner)
        await until(lambda: RUNNING in told.states_of(request_id))
        runner.held = runner.forgets = True
        await tell(runner, request_id, "a", RUNNING, number_of(0, 3))
        await runner.cut()
        await until(lambda: runner.asked > 0)
        await runner.release()
        await tell(runner, request_id, "b", RUNNING, number_of(0, 4))
        await until(lambda: told.of(request_id)[-1] == "snapshot RUNNING a b")


async def test_what_was_told_beyond_a_cursor_gets_none_before_it_was_heard(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "PATIENCE", 0.1)
    async with watching(manager) as told:
        pass
    runner = await manager.register(SteeredRunner("one"))
    async with watching(manager) as stays:
        request_id = await begun(manager, runner)
        await until(lambda: RUNNING in stays.states_of(request_id))
        runner.held = runner.forgets = True
        await tell(runner, request_id, "a", RUNNING, number_of(0, 3))
        mark = Hub.mark

        async def mark_when_it_is_heard(here: Hub, watcher: SubscriberQueue) -> Checkpoint:
            monkeypatch.setattr(hub, "PATIENCE", 20)
            runner.forgets = False
            await runner.release()
            return await mark(here, watcher)

        monkeypatch.setattr(Hub, "mark", mark_when_it_is_heard)
        stream = manager.stub.Watch(rpc.WatchRequest(cursor=told.cursor))
        first = await stream.read()
        stream.cancel()
        async with watching(manager, cursor=first.cursor) as late:
            await tell(runner, request_id, "b", RUNNING, number_of(0, 4))
            await until(lambda: "b RUNNING" in late.of(request_id))

    assert [_short(event) for event in first.events] == ["snapshot RUNNING a"]
    assert late.of(request_id) == ["b RUNNING"]


async def test_who_watches_a_state_is_told_what_left_it_while_he_was_away(
    manager: Manager,
) -> None:
    only = request_pb2.RequestFilter(states=[state_pb2.STATE_PENDING])
    async with watching(manager, filter=only) as told:
        request_id = (await manager.create()).request.id
        await until(lambda: told.of(request_id) == ["snapshot PENDING"])
    await manager.stub.Stop(rpc.StopRequest(request_id=request_id))

    async with watching(manager, filter=only, cursor=told.cursor) as late:
        await until(lambda: late.of(request_id) != [])

    assert late.of(request_id) == ["snapshot STOPPED"]
