from __future__ import annotations

import pytest

from spincycle.errors import WatcherTooSlow
from spincycle.job_runner import event_log as event_log_module
from spincycle.job_runner.event_log import EventLog, EventLogReader, RunnerEvent
from spincycle.job_runner.ports import ChainReleased, ChainStarted
from spincycle.model.job_status import JobEvent, JobStatus
from spincycle.model.state import State


def encode(event: RunnerEvent, offset: int) -> bytes:
    return f"{offset}:{event.sequence_number} ".encode()


def an_event(number: int, request_id: str = "r") -> JobEvent:
    return JobEvent(JobStatus(request_id, "a", "t", "n", State.RUNNING), 1, number, 0, 0, 0)


@pytest.fixture
def event_log() -> EventLog:
    return EventLog(encode)


async def next_numbers(reader: EventLogReader) -> list[int]:
    async for batch in reader.batches():
        return [event.sequence_number for event in batch]
    raise AssertionError


async def test_a_reader_gets_events_from_now_on_in_batches(event_log: EventLog) -> None:
    event_log.publish(an_event(1))
    reader = EventLogReader()
    event_log.add(reader)
    for number in (2, 3):
        event_log.publish(an_event(number))

    assert await next_numbers(reader) == [2, 3]


async def test_a_reader_of_one_request_gets_no_other(event_log: EventLog) -> None:
    reader = EventLogReader(["s"])
    event_log.add(reader)
    event_log.publish(an_event(1, "r"))
    event_log.publish(an_event(2, "s"))

    assert await next_numbers(reader) == [2]


async def test_a_slow_reader_is_disconnected_and_its_queue_is_dropped(
    event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log_module, "MAX_READER_BACKLOG", 3)
    reader = EventLogReader()
    event_log.add(reader)
    for number in range(10):
        event_log.publish(an_event(number))

    assert reader._events == []
    with pytest.raises(WatcherTooSlow):
        await next_numbers(reader)


async def test_a_reader_that_resumes_gets_what_it_missed(event_log: EventLog) -> None:
    first = EventLogReader()
    event_log.add(first)
    for number in range(1, 4):
        event_log.publish(an_event(number))
    seen = event_log.offset
    event_log.remove(first)
    for number in range(4, 7):
        event_log.publish(an_event(number))

    missed = event_log.events_after(seen)
    assert missed is not None
    assert [event.sequence_number for event in missed] == [4, 5, 6]
    assert event_log.events_after(event_log.offset) == []


async def test_events_that_are_no_longer_retained_are_a_gap(
    event_log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log_module, "RETAINED_EVENTS", 3)
    event_log.add(EventLogReader())
    for number in range(1, 7):
        event_log.publish(an_event(number))

    assert event_log.events_after(2) is None
    assert [event.sequence_number for event in event_log.events_after(3) or ()] == [4, 5, 6]
    assert event_log.chain_events_after("r", 1, 2) is None
    assert [event.sequence_number for event in event_log.chain_events_after("r", 1, 4) or ()] == [
        5,
        6,
    ]


async def test_events_without_a_reader_are_a_gap(event_log: EventLog) -> None:
    reader = EventLogReader()
    event_log.chain_started(ChainStarted("r", 1, 2, 0))
    event_log.add(reader)
    assert event_log.events_after(0) is None
    event_log.publish(an_event(1))
    seen = event_log.offset
    event_log.remove(reader)
    event_log._expire()
    event_log.publish(an_event(2))
    event_log.add(reader)

    assert not event_log.events_after(seen)
    assert event_log.events_after(seen) is None


async def test_a_runner_that_never_had_a_chain_has_no_gap(event_log: EventLog) -> None:
    event_log.add(EventLogReader())
    event_log.chain_started(ChainStarted("r", 1, 2, 0))

    assert [event.sequence_number for event in event_log.events_after(0) or ()] == [2]


async def test_a_chain_is_retained_from_its_start_or_from_its_view(
    event_log: EventLog,
) -> None:
    event_log.add(EventLogReader())
    event_log.chain_started(ChainStarted("r", 2, 2, 0))
    event_log.publish(an_event(5))
    event_log.retain_from("s", 1, 7)
    event_log.publish(an_event(8, "s"))
    event_log.publish(an_event(9, "unknown"))

    assert [event.sequence_number for event in event_log.chain_events_after("r", 2, 2) or ()] == [5]
    assert [event.sequence_number for event in event_log.chain_events_after("s", 1, 7) or ()] == [8]
    assert event_log.chain_events_after("s", 1, 6) is None
    assert event_log.chain_events_after("unknown", 1, 8) is None
    assert event_log.chain_events_after("r", 1, 2) is None
    event_log.chain_released(ChainReleased("r", 2, 5, 0, complete=True))
    assert event_log.chain_events_after("r", 2, 2) is None
