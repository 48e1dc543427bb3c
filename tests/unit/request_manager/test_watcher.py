from __future__ import annotations

from datetime import UTC, datetime

import pytest

from spincycle.errors import ShuttingDown, WatcherTooSlow
from spincycle.model.state import State
from spincycle.request_manager.storage.model import Request, RequestFilter
from spincycle.request_manager.watch import subscriber_queue as module
from spincycle.request_manager.watch.events import (
    EncodedEvent,
    cursor_alone,
    matches,
    request_change,
)
from spincycle.request_manager.watch.subscriber_queue import SubscriberQueue
from spincycle.v1 import request_manager_service_pb2 as rpc


def a_request(state: State = State.RUNNING, **more: object) -> Request:
    known: dict[str, object] = {
        "request_id": "r", "type": "t", "state": state, "user": "dana",
        "created_at": datetime(2027, 1, 1, tzinfo=UTC), "started_at": None, "finished_at": None,
        "total_jobs": 3, "finished_jobs": 0, "rolled_back_jobs": 0, "epoch": 1,
        "runner_id": "one", "runner_address": "", "priority": 0, "reason": "",
        "spec_revision": "", "plan_hash": "", "rerun_of": "", "wish": None,
    }  # fmt: skip
    return Request(**(known | more))  # type: ignore[arg-type]


def a_change(revision: int = 7) -> EncodedEvent:
    return request_change(a_request(), State.PENDING, revision)


async def test_a_watcher_is_given_all_that_waits_at_once() -> None:
    watcher = SubscriberQueue()
    changes = [a_change(1), a_change(2)]
    for change in changes:
        watcher.put(change)

    assert await anext(watcher.batches()) == changes


async def test_a_watcher_that_falls_behind_is_cut_and_holds_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_BEHIND", 3)
    watcher = SubscriberQueue()
    for number in range(10):
        watcher.put(a_change(number))

    assert not watcher._changes
    with pytest.raises(WatcherTooSlow):
        await anext(watcher.batches())


async def test_a_watcher_may_not_hold_too_many_bytes_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_BYTES_BEHIND", 1000)
    watcher = SubscriberQueue()
    for number in range(3):
        watcher.put(a_change(number))

    with pytest.raises(WatcherTooSlow):
        await anext(watcher.batches())


async def test_a_stream_that_ends_says_why() -> None:
    watcher = SubscriberQueue()
    watcher.put(a_change())
    watcher.end(ShuttingDown("the request manager"))

    with pytest.raises(ShuttingDown):
        await anext(watcher.batches())


def test_an_event_is_encoded_as_a_message_to_which_others_can_be_added() -> None:
    first, second = a_change(1), a_change(300)
    raw = first.encoded("x" * 200, False) + second.encoded("", False) + cursor_alone("c")

    response = rpc.WatchResponse.FromString(raw)

    assert [(event.revision, event.cursor) for event in response.events] == [
        ("0000000000000000001", "x" * 200),
        ("0000000000000000300", ""),
    ]
    assert response.cursor == "c"
    assert first.encoded("x" * 200, False) is first.encoded("x" * 200, False)


def test_a_filter_matches_by_type_user_arguments_and_the_states_before_and_after() -> None:
    request = a_request(State.COMPLETE, given_args='{"host":"a"}')

    def holds(**which: object) -> bool:
        return matches(request, State.RUNNING, RequestFilter(**which))  # type: ignore[arg-type]

    assert holds()
    assert holds(type="t", user="dana", args={"host": "a"})
    assert not holds(type="u")
    assert not holds(user="erin")
    assert not holds(args={"host": "b"})
    assert not holds(args={"port": "1"})
    assert holds(states=(State.RUNNING,))
    assert holds(states=(State.COMPLETE,))
    assert not holds(states=(State.PENDING,))
