from __future__ import annotations

from spincycle.batching.byte_lru import ByteLru


def test_the_least_recently_used_value_is_evicted() -> None:
    recent: ByteLru[str] = ByteLru(limit=30, largest=20)
    recent.keep("a", b"x" * 10)
    recent.keep("b", b"y" * 10)
    recent.keep("c", b"z" * 10)
    assert recent.get("a") == b"x" * 10

    recent.keep("d", b"w" * 10)
    assert recent.get("b") is None
    assert recent.get("a") == b"x" * 10
    assert recent.get("d") == b"w" * 10


def test_a_value_that_is_too_large_is_not_cached_and_evicts_nothing() -> None:
    recent: ByteLru[str] = ByteLru(limit=30, largest=20)
    recent.keep("a", b"x" * 10)
    recent.keep("b", b"y" * 15, key_size=6)
    assert recent.get("b") is None
    assert recent.get("a") == b"x" * 10


def test_a_value_that_is_added_twice_counts_once() -> None:
    recent: ByteLru[str] = ByteLru(limit=30, largest=20)
    for _ in range(10):
        recent.keep("a", b"x" * 10)
    recent.keep("b", b"y" * 10)
    assert recent.get("a") == b"x" * 10
    assert recent.get("b") == b"y" * 10
