"""Resyncs of the change bus."""

from __future__ import annotations

from spincycle.request_manager.storage.change_bus import RESYNC, ChangeBus


def test_a_resync_is_delivered_whoever_published_it_and_however() -> None:
    changes, calls = ChangeBus(), []
    changes.on_resync(lambda: calls.append("first"))
    changes.on_resync(lambda: calls.append("second"))

    changes.publish(["request"])
    changes.deliver(["request"])
    assert calls == []

    for resync in (changes.resync, lambda: changes.publish([RESYNC])):
        resync()
    changes.deliver(["request", RESYNC])
    assert calls == ["first", "second"] * 3
