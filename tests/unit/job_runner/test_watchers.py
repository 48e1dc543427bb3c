from __future__ import annotations

import pytest

from spincycle.errors import WatcherTooSlow
from spincycle.job_runner import event_log as module
from spincycle.job_runner.event_log import EventLog, EventLogReader, Happening
from spincycle.job_runner.ports import ChainBegun, ChainLeft
from spincycle.model.job_status import JobEvent, JobStatus
from spincycle.model.state import State


def encode(happening: Happening, order: int) -> bytes:
    return f"{order}:{happening.sequence_number} ".encode()


def an_event(number: int, request_id: str = "r") -> JobEvent:
    return JobEvent(JobStatus(request_id, "a", "t", "n", State.RUNNING), 1, number, 0, 0, 0)


@pytest.fixture
def watchers() -> EventLog:
    return EventLog(encode)


async def taken(watcher: EventLogReader) -> list[int]:
    async for batch in watcher.batches():
        return [told.number for told in batch]
    raise AssertionError


async def test_a_watcher_gets_what_happens_from_now_on_all_at_once(watchers: EventLog) -> None:
    watchers.publish(an_event(1))
    watcher = EventLogReader()
    watchers.add(watcher)
    for number in (2, 3):
        watchers.publish(an_event(number))

    assert await taken(watcher) == [2, 3]


async def test_a_watcher_of_one_request_gets_no_other(watchers: EventLog) -> None:
    watcher = EventLogReader(["s"])
    watchers.add(watcher)
    watchers.publish(an_event(1, "r"))
    watchers.publish(an_event(2, "s"))

    assert await taken(watcher) == [2]


async def test_a_watcher_that_does_not_keep_up_is_cut_and_holds_nothing(
    watchers: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BEHIND", 3)
    watcher = EventLogReader()
    watchers.add(watcher)
    for number in range(10):
        watchers.publish(an_event(number))

    assert watcher._events == []
    with pytest.raises(WatcherTooSlow):
        await taken(watcher)


async def test_who_comes_again_gets_what_it_missed(watchers: EventLog) -> None:
    first = EventLogReader()
    watchers.add(first)
    for number in range(1, 4):
        watchers.publish(an_event(number))
    seen = watchers.order
    watchers.remove(first)
    for number in range(4, 7):
        watchers.publish(an_event(number))

    missed = watchers.after(seen)
    assert missed is not None
    assert [told.number for told in missed] == [4, 5, 6]
    assert watchers.after(watchers.order) == []


async def test_what_is_no_longer_kept_is_a_gap(
    watchers: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HISTORY", 3)
    watchers.add(EventLogReader())
    for number in range(1, 7):
        watchers.publish(an_event(number))

    assert watchers.after(2) is None
    assert [told.number for told in watchers.after(3) or ()] == [4, 5, 6]
    assert watchers.of_chain_after("r", 1, 2) is None
    assert [told.number for told in watchers.of_chain_after("r", 1, 4) or ()] == [5, 6]


async def test_what_happened_while_nobody_watched_is_a_gap(watchers: EventLog) -> None:
    watcher = EventLogReader()
    watchers.begun(ChainBegun("r", 1, 2, 0))
    watchers.add(watcher)
    assert watchers.after(0) is None
    watchers.publish(an_event(1))
    seen = watchers.order
    watchers.remove(watcher)
    watchers._forget()
    watchers.publish(an_event(2))
    watchers.add(watcher)

    assert not watchers.after(seen)
    assert watchers.after(seen) is None


async def test_a_runner_that_never_had_a_chain_has_no_gap(watchers: EventLog) -> None:
    watchers.add(EventLogReader())
    watchers.begun(ChainBegun("r", 1, 2, 0))

    assert [told.number for told in watchers.after(0) or ()] == [2]


async def test_a_chain_is_known_from_its_beginning_or_from_its_description(
    watchers: EventLog,
) -> None:
    watchers.add(EventLogReader())
    watchers.begun(ChainBegun("r", 2, 2, 0))
    watchers.publish(an_event(5))
    watchers.described("s", 1, 7)
    watchers.publish(an_event(8, "s"))
    watchers.publish(an_event(9, "unknown"))

    assert [told.number for told in watchers.of_chain_after("r", 2, 2) or ()] == [5]
    assert [told.number for told in watchers.of_chain_after("s", 1, 7) or ()] == [8]
    assert watchers.of_chain_after("s", 1, 6) is None
    assert watchers.of_chain_after("unknown", 1, 8) is None
    assert watchers.of_chain_after("r", 1, 2) is None
    watchers.left(ChainLeft("r", 2, 5, 0, all_told=True))
    assert watchers.of_chain_after("r", 2, 2) is None
