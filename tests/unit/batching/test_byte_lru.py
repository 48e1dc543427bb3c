from __future__ import annotations

from spincycle.batching.byte_lru import ByteLru


def test_the_least_recently_used_value_is_evicted() -> None:
    cache: ByteLru[str] = ByteLru(limit=30, max_value=20)
    cache.put("a", b"x" * 10)
    cache.put("b", b"y" * 10)
    cache.put("c", b"z" * 10)
    assert cache.get("a") == b"x" * 10

    cache.put("d", b"w" * 10)
    assert cache.get("b") is None
    assert cache.get("a") == b"x" * 10
    assert cache.get("d") == b"w" * 10


def test_a_value_that_is_too_large_is_not_cached_and_evicts_nothing() -> None:
    cache: ByteLru[str] = ByteLru(limit=30, max_value=20)
    cache.put("a", b"x" * 10)
    cache.put("b", b"y" * 15, key_size=6)
    assert cache.get("b") is None
    assert cache.get("a") == b"x" * 10


def test_a_value_that_is_added_twice_counts_once() -> None:
    cache: ByteLru[str] = ByteLru(limit=30, max_value=20)
    for _ in range(10):
        cache.put("a", b"x" * 10)
    cache.put("b", b"y" * 10)
    assert cache.get("a") == b"x" * 10
    assert cache.get("b") == b"y" * 10
