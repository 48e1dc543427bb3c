from __future__ import annotations

from tests.unit.request_manager.sample_request import a_request

from spincycle.request_manager.watch.registry import SubscriptionRegistry
from spincycle.request_manager.watch.subscriber_queue import SubscriberQueue
from spincycle.request_manager.watch.tracked_request import TrackedRequest


def test_a_request_that_filter_subscribers_do_not_need_leaves_with_its_id_subscriber() -> None:
    registry = SubscriptionRegistry()
    registry.subscribe_filter(SubscriberQueue())
    by_id = SubscriberQueue()

    registry.subscribe(by_id, a_request(request_id="a"))
    registry.unsubscribe(by_id, ["a"])

    assert registry.get("a") is None


def test_an_id_subscriber_that_leaves_takes_nothing_from_filter_subscribers() -> None:
    registry = SubscriptionRegistry()
    by_id, by_filter = SubscriberQueue(), SubscriberQueue()
    registry.subscribe(by_id, a_request(request_id="a"))
    registry.subscribe_filter(by_filter)
    registry.track_for_filters(TrackedRequest(a_request(request_id="a")))

    registry.unsubscribe(by_id, ["a"])

    assert registry.get("a") is not None
    registry.unsubscribe_filter(by_filter)
    assert registry.get("a") is None


def test_a_request_that_ended_before_filter_subscribers_began_stays_for_its_id_subscriber() -> None:
    registry = SubscriptionRegistry()
    by_id = SubscriberQueue()
    registry.subscribe(by_id, a_request(request_id="a"))
    registry.subscribe_filter(SubscriberQueue())
    registry.track_for_filters(TrackedRequest(a_request(request_id="a")))

    registry.release_from_filters("a")

    assert registry.subscribers >= {by_id}
    registry.unsubscribe(by_id, ["a"])
    assert registry.get("a") is None
