from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import cast

import pytest
from tests.unit.request_manager.test_watcher import a_request

from spincycle.errors import ServiceUnavailable
from spincycle.internal.v1 import job_event_pb2
from spincycle.model.revision import BEGUN_STEP, ended, number_of, revision_of
from spincycle.model.state import State
from spincycle.request_manager.storage.model import Request
from spincycle.request_manager.watch.events import EncodedEvent
from spincycle.request_manager.watch.runner_feeds import RunnerFeeds
from spincycle.request_manager.watch.sequencer import EventSequencer
from spincycle.request_manager.watch.snapshots import RequestSnapshot, RequestSnapshots
from spincycle.request_manager.watch.subscriber_queue import SubscriberQueue
from spincycle.request_manager.watch.tracked_request import TrackedRequest
from spincycle.v1 import job_log_pb2
from spincycle.v1 import request_manager_service_pb2 as rpc


class NoFeeds:
    def hears(self, runner_id: str) -> bool:
        return False

    def address(self, runner_id: str) -> str:
        return ""


class NoJournal:
    async def entries(self, request_id: str, after: int) -> AsyncIterator[job_log_pb2.JobLog]:
        raise ServiceUnavailable("job log", "127.0.0.1:1")
        yield  # pragma: no cover


def running(request_id: str) -> TrackedRequest:
    """A request of which a runner has told something and not all."""
    row = a_request(request_id=request_id, epoch=1, state=State.RUNNING)
    return TrackedRequest(row, told=revision_of(1, 2), settled=False)


async def test_what_could_not_be_told_counts_as_told_and_everybody_comes_again() -> None:
    teller = EventSequencer(cast("RunnerFeeds", NoFeeds()), cast("RequestSnapshots", NoJournal()))
    teller.tracked = {request_id: running(request_id) for request_id in "abc"}
    watcher = SubscriberQueue()
    teller.of_all.add(watcher)
    rows: list[Request] = [
        a_request(request_id="a", epoch=1, state=State.COMPLETE),
        a_request(request_id="b", epoch=1, state=State.SUSPENDED, runner_id=""),
        a_request(request_id="c", epoch=1, state=State.FAIL),
    ]

    await teller.tell_rows("9:9:", rows)

    assert teller.seen == "9:9:"
    assert {id_: one.row.state for id_, one in teller.tracked.items()} == {"b": State.SUSPENDED}
    with pytest.raises(ServiceUnavailable):
        await anext(watcher.batches())


async def test_a_failure_of_one_request_is_reported_with_it_and_the_others_go_on() -> None:
    class Broken:
        async def entries(self, request_id: str, after: int) -> AsyncIterator[job_log_pb2.JobLog]:
            if request_id == "a":
                raise RuntimeError("nobody thought of that")
            yield job_log_pb2.JobLog(request_id=request_id, job_id="j", position=1, epoch=1)

    teller = EventSequencer(cast("RunnerFeeds", NoFeeds()), cast("RequestSnapshots", Broken()))
    teller.tracked = {request_id: running(request_id) for request_id in "ab"}
    all_watcher = SubscriberQueue()
    rows = [a_request(request_id=request_id, epoch=1, state=State.COMPLETE) for request_id in "ab"]

    teller.of_all.add(all_watcher)
    await teller.tell_rows("9:9:", rows)

    assert teller.tracked == {}
    events = [
        rpc.WatchResponse.FromString(change.encoded("", requests_only=False)).events[0]
        for change in await anext(all_watcher.batches())
        if isinstance(change, EncodedEvent)
    ]
    assert [event.request.error.reason for event in events if event.request_id == "a"] == [
        "REQUEST_UNREADABLE"
    ]
    assert not [event for event in events if event.request_id == "b" and event.request.error.reason]
    assert {event.request_id: int(event.revision) for event in events} == {
        "a": ended(1),
        "b": ended(1),
    }
    assert {event.request_id: event.request.state for event in events} == dict.fromkeys(
        "ab", State.COMPLETE
    )


class SlowJournal:
    """A journal of three tries, which stops after the first until it is let go."""

    def __init__(self) -> None:
        self.goes_on = asyncio.Event()
        self.stopped = asyncio.Event()

    async def entries(self, request_id: str, after: int) -> AsyncIterator[job_log_pb2.JobLog]:
        for position in range(after + 1, 4):
            if position > 1:
                self.stopped.set()
                await self.goes_on.wait()
            yield job_log_pb2.JobLog(
                request_id=request_id, job_id=f"job-{position}", position=position, epoch=1
            )


async def told(watcher: SubscriberQueue) -> list[int]:
    """Revisions that wait for a watcher."""
    batch = await anext(watcher.batches())
    return [change.revision for change in batch if isinstance(change, EncodedEvent)]


async def test_what_a_runner_told_that_goes_meanwhile_is_told_from_the_journal_all_the_same() -> (
    None
):
    journal = SlowJournal()
    teller = EventSequencer(cast("RunnerFeeds", NoFeeds()), cast("RequestSnapshots", journal))
    teller.tracked = {"a": running("a")}
    watcher = SubscriberQueue()
    teller.of_all.add(watcher)
    event = job_event_pb2.JobEvent(
        request_id="a", epoch=1, sequence_number=number_of(3, 1), offset=9
    )

    hearing = asyncio.create_task(teller.heard("gone", [event]))
    await journal.stopped.wait()
    hearing.cancel()
    teller.gone("gone")
    await asyncio.gather(hearing, return_exceptions=True)
    journal.goes_on.set()
    end = a_request(request_id="a", epoch=1, state=State.COMPLETE)
    await teller.tell_rows("9:9:", [end])

    ends = [revision_of(1, number_of(position, 0)) for position in (1, 2, 3)]
    assert (await told(watcher))[:3] == ends


async def test_a_snapshot_comes_first_even_if_the_database_is_further_than_the_runner() -> None:
    class OnlyStored:
        async def stored(self, row: Request, revision: int) -> RequestSnapshot:
            return RequestSnapshot(row, revision)

    teller = EventSequencer(cast("RunnerFeeds", NoFeeds()), cast("RequestSnapshots", OnlyStored()))
    given_again = a_request(request_id="a", epoch=2, state=State.PENDING)
    teller.tracked = {"a": TrackedRequest(given_again)}
    watcher = SubscriberQueue()
    teller.of_all.add(watcher)
    event = job_event_pb2.JobEvent(
        request_id="a", epoch=1, sequence_number=number_of(0, 3), offset=1
    )

    await teller.heard("one", [event])

    first, *_ = await anext(watcher.batches())
    assert isinstance(first, EncodedEvent)
    assert (first.is_snapshot, first.revision) == (True, revision_of(1, BEGUN_STEP))


class Retried:
    """The journal of a job that was tried twice, and how the request was when it had been."""

    async def entries(self, request_id: str, after: int) -> AsyncIterator[job_log_pb2.JobLog]:
        for position in range(after + 1, 3):
            yield job_log_pb2.JobLog(request_id=request_id, job_id="j", position=position, epoch=1)

    async def of_runner(
        self, rows: list[Request], runner_id: str
    ) -> tuple[list[RequestSnapshot], int]:
        return [RequestSnapshot(row, revision_of(1, number_of(2, 1))) for row in rows], 0

    async def stored(self, row: Request, revision: int) -> RequestSnapshot:
        return RequestSnapshot(row, revision)


@pytest.mark.parametrize("by", ["its runner, heard in the midst of its work", "its end"])
async def test_a_subscriber_by_id_gets_the_tries_before_a_first_snapshot_for_subscribers_of_all(
    by: str,
) -> None:
    teller = EventSequencer(cast("RunnerFeeds", NoFeeds()), cast("RequestSnapshots", Retried()))
    row = a_request(request_id="a", epoch=1, state=State.RUNNING)
    by_id, of_all = SubscriberQueue(), SubscriberQueue()
    teller.tracked = {"a": TrackedRequest(row, watchers={by_id})}
    teller.of_all.add(of_all)

    if by == "its end":
        await teller.tell_rows("9:9:", [replace(row, state=State.COMPLETE)])
        snapshot = ended(1)
    else:
        await teller.began("runner", 0, ["a"])
        snapshot = revision_of(1, number_of(2, 1))

    tries = [revision_of(1, number_of(position, 0)) for position in (1, 2)]
    assert await told(by_id) == [*tries, snapshot]
    assert await told(of_all) == [snapshot]


async def test_one_that_still_has_a_chain_of_before_does_not_take_the_place_of_its_runner() -> None:
    old = a_request(request_id="a", epoch=1, state=State.RUNNING, runner_id="old")

    class OldView:
        async def of_runner(
            self, rows: list[Request], runner_id: str
        ) -> tuple[list[RequestSnapshot], int]:
            return [RequestSnapshot(old, revision_of(1, number_of(0, 5)))], 0

    teller = EventSequencer(cast("RunnerFeeds", NoFeeds()), cast("RequestSnapshots", OldView()))
    tracked = running("a")
    tracked.told, tracked.runner_id = revision_of(3, BEGUN_STEP), "new"
    teller.tracked = {"a": tracked}

    await teller.began("old", 0, ["a"])

    assert tracked.runner_id == "new"


async def test_a_request_is_told_to_run_though_it_was_given_away_when_it_was_told_to_wait() -> None:
    teller = EventSequencer(cast("RunnerFeeds", NoFeeds()), cast("RequestSnapshots", SlowJournal()))
    tracked = running("a")
    tracked.settled = True
    teller.tracked = {"a": tracked}
    watcher = SubscriberQueue()
    teller.of_all.add(watcher)
    given = a_request(request_id="a", epoch=2, state=State.SUSPENDED, runner_id="new")
    await teller.tell_rows("9:9:", [given])
    begun = job_event_pb2.CHAIN_TRANSITION_STARTED
    event = job_event_pb2.JobEvent(
        request_id="a", epoch=2, sequence_number=BEGUN_STEP, offset=1, transition=begun
    )

    await teller.heard("new", [event])

    changes = [one for one in await anext(watcher.batches()) if isinstance(one, EncodedEvent)]
    assert [one.request.state for one in changes] == [State.SUSPENDED, State.RUNNING]
