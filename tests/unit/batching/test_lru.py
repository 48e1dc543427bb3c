from __future__ import annotations

from spincycle.batching.lru import Lru


def test_the_least_recently_used_value_is_evicted() -> None:
    cache: Lru[str, int] = Lru(2)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a") == 1

    cache.put("c", 3)

    assert [cache.get(key) for key in "abc"] == [1, None, 3]


def test_a_value_that_is_put_again_is_replaced_and_counts_as_used() -> None:
    cache: Lru[str, int] = Lru(2)
    cache.put("a", 1)
    cache.put("b", 2)
    cache.put("a", 4)

    cache.put("c", 3)

    assert [cache.get(key) for key in "abc"] == [4, None, 3]
