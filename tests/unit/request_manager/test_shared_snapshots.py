from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest
from tests.unit.request_manager.sample_request import a_request

from spincycle.errors import ServiceUnavailable
from spincycle.model.revision import ended
from spincycle.model.state import State
from spincycle.request_manager.storage.model import Request
from spincycle.request_manager.watch import shared_snapshots as module
from spincycle.request_manager.watch.shared_snapshots import SharedSnapshots, SnapshotKey
from spincycle.request_manager.watch.snapshots import RequestSnapshot, RequestSnapshots

END = ended(1)


class SlowSnapshots:
    """Snapshots whose reads block until `may_continue` is set."""

    def __init__(self) -> None:
        self.reads: list[list[str]] = []
        self.cancelled = 0
        self.started = asyncio.Event()
        self.may_continue = asyncio.Event()
        self.failure: Exception | None = None

    async def at_revisions(self, wanted: Sequence[tuple[Request, int]]) -> list[RequestSnapshot]:
        self.reads.append([row.request_id for row, _ in wanted])
        self.started.set()
        try:
            await self.may_continue.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.failure is not None:
            raise self.failure
        return [RequestSnapshot(row, revision or 7) for row, revision in wanted]


def an_end(request_id: str, **more: object) -> SnapshotKey:
    return SnapshotKey(a_request(State.COMPLETE, request_id=request_id, **more), END)


def shared() -> tuple[SlowSnapshots, SharedSnapshots]:
    source = SlowSnapshots()
    return source, SharedSnapshots(cast("RequestSnapshots", source))


async def test_concurrent_callers_share_the_read_of_a_snapshot() -> None:
    source, snapshots = shared()
    tasks = [
        asyncio.create_task(snapshots.get([an_end("a"), an_end("b")])),
        asyncio.create_task(snapshots.get([an_end("b"), an_end("c"), an_end("a")])),
    ]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    source.may_continue.set()
    first, second = await asyncio.gather(*tasks)

    assert source.reads == [["a", "b"], ["c"]]
    assert [event.request.request_id for event in second] == ["b", "c", "a"]
    assert first[0] is second[2]
    assert (await snapshots.get([an_end("c")]))[0] is second[1]
    assert len(source.reads) == 2


async def test_a_snapshot_is_not_shared_if_the_request_has_changed() -> None:
    source, snapshots = shared()
    source.may_continue.set()
    await snapshots.get([an_end("a")])
    (changed,) = await snapshots.get([an_end("a", finished_jobs=3)])

    assert changed.request.finished_jobs == 3
    assert source.reads == [["a"], ["a"]]


async def test_a_current_snapshot_is_shared_only_by_callers_that_precede_its_read() -> None:
    source, snapshots = shared()
    source.may_continue.set()
    running = a_request()
    first, second, third = [
        (await snapshots.get([SnapshotKey(running, since=since)]))[0] for since in (1, 1, 2)
    ]

    assert first is second
    assert third is not second
    assert len(source.reads) == 2


async def test_a_cancelled_caller_leaves_the_read_to_the_others() -> None:
    source, snapshots = shared()
    leaving = asyncio.create_task(snapshots.get([an_end("a")]))
    await asyncio.sleep(0)
    staying = asyncio.create_task(snapshots.get([an_end("a")]))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait([leaving])
    source.may_continue.set()

    assert len(await staying) == 1
    assert source.reads == [["a"]]


async def test_a_read_without_callers_is_cancelled_and_not_shared() -> None:
    source, snapshots = shared()
    leaving = asyncio.create_task(snapshots.get([an_end("a")]))
    await source.started.wait()
    leaving.cancel()
    await asyncio.sleep(0)
    source.may_continue.set()

    assert len(await snapshots.get([an_end("a")])) == 1
    assert source.cancelled == 1
    assert source.reads == [["a"], ["a"]]


async def test_a_failure_is_raised_to_all_callers_of_the_read_and_not_cached() -> None:
    source, snapshots = shared()
    source.failure = ServiceUnavailable("the job log", "127.0.0.1:1")
    source.may_continue.set()
    results = await asyncio.gather(
        snapshots.get([an_end("a")]), snapshots.get([an_end("a")]), return_exceptions=True
    )
    assert all(isinstance(one, ServiceUnavailable) for one in results)

    source.failure = None
    assert len(await snapshots.get([an_end("a")])) == 1


async def test_the_least_recently_used_snapshots_are_evicted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CACHE_BYTES", 10_000)
    source, snapshots = shared()
    source.may_continue.set()
    for number in range(50):
        await snapshots.get([an_end(f"r{number}"), an_end("used")])

    assert snapshots._size <= 10_000
    assert ["used"] not in source.reads[1:]
    assert sum(ids.count("used") for ids in source.reads) == 1
    await snapshots.get([an_end("r0")])
    assert source.reads[-1] == ["r0"]
