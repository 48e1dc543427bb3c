from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import cast

import pytest
from tests.unit.request_manager.sample_request import a_request

from spincycle.errors import ServiceUnavailable
from spincycle.internal.v1 import job_event_pb2
from spincycle.model.revision import BEGUN_STEP, ended, number_of, revision_of
from spincycle.model.state import State
from spincycle.request_manager.storage.change_store import ChangeStore
from spincycle.request_manager.storage.model import ChainHolder, Request
from spincycle.request_manager.watch.assignment_check import AssignmentCheck
from spincycle.request_manager.watch.change_poller import ChangePoller
from spincycle.request_manager.watch.events import EncodedEvent
from spincycle.request_manager.watch.registry import SubscriptionRegistry
from spincycle.request_manager.watch.runner_feeds import RunnerFeeds
from spincycle.request_manager.watch.sequencer import EventSequencer
from spincycle.request_manager.watch.snapshots import RequestSnapshot, RequestSnapshots
from spincycle.request_manager.watch.subscriber_queue import SubscriberQueue
from spincycle.request_manager.watch.tracked_request import TrackedRequest
from spincycle.v1 import job_log_pb2
from spincycle.v1 import request_manager_service_pb2 as rpc


class NoFeeds:
    def is_connected(self, runner_id: str) -> bool:
        return False

    def address(self, runner_id: str) -> str:
        return ""


class UnavailableJournal:
    async def entries(self, request_id: str, after: int) -> AsyncIterator[job_log_pb2.JobLog]:
        raise ServiceUnavailable("job log", "127.0.0.1:1")
        yield  # pragma: no cover


class NoPoller:
    async def poll_now(self) -> None:
        pass


class Sequencer:
    """A sequencer with some tracked requests and one filter subscriber."""

    def __init__(self, snapshots: object, tracked: list[TrackedRequest]) -> None:
        self.registry = SubscriptionRegistry()
        self.queue = SubscriberQueue()
        self.registry.subscribe_filter(self.queue)
        for one in tracked:
            self.registry.track_for_filters(one)
        self.sequencer = EventSequencer(
            self.registry,
            cast("RunnerFeeds", NoFeeds()),
            cast("RequestSnapshots", snapshots),
            cast("ChangePoller", NoPoller()),
            AssignmentCheck(cast("ChangeStore", self), self.registry),
        )

    async def holders(self, request_ids: Sequence[str]) -> dict[str, ChainHolder]:
        """Every request was assigned before, to any runner."""
        return {
            id_: ChainHolder(id_, 2**16, State.RUNNING, "", orphaned=False) for id_ in request_ids
        }

    async def events(self) -> list[EncodedEvent]:
        """Events in the queue of the filter subscriber."""
        return await queued(self.queue)


async def queued(queue: SubscriberQueue) -> list[EncodedEvent]:
    """Events in a queue, which is empty then."""
    return [item for item in await anext(queue.batches()) if isinstance(item, EncodedEvent)]


def revisions(events: list[EncodedEvent]) -> list[int]:
    return [event.revision for event in events]


def running(request_id: str) -> TrackedRequest:
    """A request whose runner has sent some of its events."""
    row = a_request(request_id=request_id, epoch=1, state=State.RUNNING)
    return TrackedRequest(row, delivered_revision=revision_of(1, 2), drained=False)


async def test_a_shared_failure_disconnects_all_subscribers_and_the_rows_count_as_delivered() -> (
    None
):
    one = Sequencer(UnavailableJournal(), [running(request_id) for request_id in "abc"])
    rows: list[Request] = [
        a_request(request_id="a", epoch=1, state=State.COMPLETE),
        a_request(request_id="b", epoch=1, state=State.SUSPENDED, runner_id=""),
        a_request(request_id="c", epoch=1, state=State.FAIL),
    ]

    await one.sequencer.publish_changes("9:9:", rows)

    assert one.sequencer.db_snapshot == "9:9:"
    states = {tracked.row.request_id: tracked.row.state for tracked in one.registry.tracked}
    assert states == {"b": State.SUSPENDED}
    with pytest.raises(ServiceUnavailable):
        await one.events()


async def test_a_failure_of_one_request_is_reported_in_its_event_and_others_are_not_affected() -> (
    None
):
    class Broken:
        async def entries(self, request_id: str, after: int) -> AsyncIterator[job_log_pb2.JobLog]:
            if request_id == "a":
                raise RuntimeError("an unexpected failure")
            yield job_log_pb2.JobLog(request_id=request_id, job_id="j", position=1, epoch=1)

    one = Sequencer(Broken(), [running(request_id) for request_id in "ab"])
    rows = [a_request(request_id=request_id, epoch=1, state=State.COMPLETE) for request_id in "ab"]

    await one.sequencer.publish_changes("9:9:", rows)

    assert not one.registry.tracked
    events = [
        rpc.WatchResponse.FromString(event.encoded("", requests_only=False)).events[0]
        for event in await one.events()
    ]
    assert [event.request.error.reason for event in events if event.request_id == "a"] == [
        "REQUEST_UNREADABLE"
    ]
    assert not [event for event in events if event.request_id == "b" and event.request.error.reason]
    assert {event.request_id: int(event.revision) for event in events} == {
        "a": ended(1),
        "b": ended(1),
    }
    assert {event.request_id: State(event.request.state) for event in events} == dict.fromkeys(
        "ab", State.COMPLETE
    )


class SlowJournal:
    """A journal of three tries, which blocks after the first until `may_continue` is set."""

    def __init__(self) -> None:
        self.may_continue = asyncio.Event()
        self.blocked = asyncio.Event()

    async def entries(self, request_id: str, after: int) -> AsyncIterator[job_log_pb2.JobLog]:
        for position in range(after + 1, 4):
            if position > 1:
                self.blocked.set()
                await self.may_continue.wait()
            yield job_log_pb2.JobLog(
                request_id=request_id, job_id=f"job-{position}", position=position, epoch=1
            )


async def test_events_of_a_runner_that_is_lost_while_they_are_applied_come_from_the_journal() -> (
    None
):
    journal = SlowJournal()
    one = Sequencer(journal, [running("a")])
    event = job_event_pb2.JobEvent(
        request_id="a", epoch=1, sequence_number=number_of(3, 1), offset=9
    )

    applying = asyncio.create_task(one.sequencer.on_events("lost", [event]))
    await journal.blocked.wait()
    applying.cancel()
    one.sequencer.on_lost("lost")
    await asyncio.gather(applying, return_exceptions=True)
    journal.may_continue.set()
    end = a_request(request_id="a", epoch=1, state=State.COMPLETE)
    await one.sequencer.publish_changes("9:9:", [end])

    ends = [revision_of(1, number_of(position, 0)) for position in (1, 2, 3)]
    assert revisions(await one.events())[:3] == ends


async def test_a_snapshot_comes_first_even_if_the_database_is_ahead_of_the_runner() -> None:
    class OnlyStored:
        async def stored(self, row: Request, revision: int) -> RequestSnapshot:
            return RequestSnapshot(row, revision)

    reassigned = a_request(request_id="a", epoch=2, state=State.PENDING)
    one = Sequencer(OnlyStored(), [TrackedRequest(reassigned)])
    event = job_event_pb2.JobEvent(
        request_id="a", epoch=1, sequence_number=number_of(0, 3), offset=1
    )

    await one.sequencer.on_events("one", [event])

    first, *_ = await one.events()
    assert (first.is_snapshot, first.revision) == (True, revision_of(1, BEGUN_STEP))


class Retried:
    """The journal of a job with two tries, and snapshots of the request after them."""

    async def entries(self, request_id: str, after: int) -> AsyncIterator[job_log_pb2.JobLog]:
        for position in range(after + 1, 3):
            yield job_log_pb2.JobLog(request_id=request_id, job_id="j", position=position, epoch=1)

    async def from_runner(
        self, rows: list[Request], runner_id: str
    ) -> tuple[list[RequestSnapshot], int]:
        return [RequestSnapshot(row, revision_of(1, number_of(2, 1))) for row in rows], 0

    async def stored(self, row: Request, revision: int) -> RequestSnapshot:
        return RequestSnapshot(row, revision)


@pytest.mark.parametrize("by", ["its runner, attached in the middle of its work", "its end"])
async def test_an_id_subscriber_gets_the_tries_before_a_first_snapshot_for_filter_subscribers(
    by: str,
) -> None:
    row = a_request(request_id="a", epoch=1, state=State.RUNNING)
    by_id = SubscriberQueue()
    one = Sequencer(Retried(), [TrackedRequest(row, id_subscribers={by_id})])

    if by == "its end":
        await one.sequencer.publish_changes("9:9:", [replace(row, state=State.COMPLETE)])
        snapshot = ended(1)
    else:
        await one.sequencer.on_start("runner", 0, ["a"])
        snapshot = revision_of(1, number_of(2, 1))

    tries = [revision_of(1, number_of(position, 0)) for position in (1, 2)]
    assert revisions(await queued(by_id)) == [*tries, snapshot]
    assert revisions(await one.events()) == [snapshot]


async def test_a_runner_with_a_chain_of_an_earlier_epoch_does_not_replace_the_current_runner() -> (
    None
):
    old = a_request(request_id="a", epoch=1, state=State.RUNNING, runner_id="old")

    class OldSnapshot:
        async def from_runner(
            self, rows: list[Request], runner_id: str
        ) -> tuple[list[RequestSnapshot], int]:
            return [RequestSnapshot(old, revision_of(1, number_of(0, 5)))], 0

    tracked = running("a")
    tracked.delivered_revision, tracked.runner_id = revision_of(3, BEGUN_STEP), "new"
    one = Sequencer(OldSnapshot(), [tracked])

    await one.sequencer.on_start("old", 0, ["a"])

    assert tracked.runner_id == "new"


async def test_a_request_that_was_assigned_while_suspended_is_published_as_running() -> None:
    tracked = running("a")
    tracked.drained = True
    one = Sequencer(SlowJournal(), [tracked])
    assigned = a_request(request_id="a", epoch=2, state=State.SUSPENDED, runner_id="new")
    await one.sequencer.publish_changes("9:9:", [assigned])
    started = job_event_pb2.CHAIN_TRANSITION_STARTED
    event = job_event_pb2.JobEvent(
        request_id="a", epoch=2, sequence_number=BEGUN_STEP, offset=1, transition=started
    )

    await one.sequencer.on_events("new", [event])

    states = [event.request.state for event in await one.events()]
    assert states == [State.SUSPENDED, State.RUNNING]
