from __future__ import annotations

from typing import Any

import pytest
from tests.unit.request_manager.sample_request import a_request

from spincycle.errors import ShuttingDown, WatcherTooSlow
from spincycle.model.state import State
from spincycle.request_manager.storage.model import RequestFilter
from spincycle.request_manager.watch import subscriber_queue as module
from spincycle.request_manager.watch.events import (
    EncodedEvent,
    cursor_message,
    matches,
    request_event,
)
from spincycle.request_manager.watch.subscriber_queue import SubscriberQueue
from spincycle.v1 import request_manager_service_pb2 as rpc


def an_event(revision: int = 7) -> EncodedEvent:
    return request_event(a_request(), State.PENDING, revision)


async def test_all_queued_events_are_taken_at_once() -> None:
    queue = SubscriberQueue()
    events = [an_event(1), an_event(2)]
    for event in events:
        queue.put(event)

    assert await anext(queue.batches()) == events


async def test_a_subscriber_that_falls_behind_is_disconnected_and_its_queue_is_empty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_BEHIND", 3)
    queue = SubscriberQueue()
    for number in range(10):
        queue.put(an_event(number))

    assert not queue._items
    with pytest.raises(WatcherTooSlow):
        await anext(queue.batches())


async def test_a_subscriber_with_too_many_queued_bytes_is_disconnected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_BYTES_BEHIND", 1000)
    queue = SubscriberQueue()
    for number in range(3):
        queue.put(an_event(number))

    with pytest.raises(WatcherTooSlow):
        await anext(queue.batches())


async def test_a_disconnected_subscriber_gets_the_failure() -> None:
    queue = SubscriberQueue()
    queue.put(an_event())
    queue.disconnect(ShuttingDown("the request manager"))

    with pytest.raises(ShuttingDown):
        await anext(queue.batches())


def test_encoded_events_can_be_concatenated_to_one_message() -> None:
    first, second = an_event(1), an_event(300)
    raw = (
        first.encoded("x" * 200, requests_only=False)
        + second.encoded("", requests_only=False)
        + cursor_message("c")
    )

    response = rpc.WatchResponse.FromString(raw)

    assert [(event.revision, event.cursor) for event in response.events] == [
        ("0000000000000000001", "x" * 200),
        ("0000000000000000300", ""),
    ]
    assert response.cursor == "c"
    assert first.encoded("x" * 200, requests_only=False) is first.encoded(
        "x" * 200, requests_only=False
    )


def test_a_filter_matches_by_type_user_arguments_and_the_states_before_and_after() -> None:
    request = a_request(State.COMPLETE, given_args='{"host":"a"}')

    def holds(**which: Any) -> bool:
        return matches(request, State.RUNNING, RequestFilter(**which))

    assert holds()
    assert holds(type="t", user="dana", args={"host": "a"})
    assert not holds(type="u")
    assert not holds(user="erin")
    assert not holds(args={"host": "b"})
    assert not holds(args={"port": "1"})
    assert holds(states=(State.RUNNING,))
    assert holds(states=(State.COMPLETE,))
    assert not holds(states=(State.PENDING,))
