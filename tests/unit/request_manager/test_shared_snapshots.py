from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest
from tests.unit.request_manager.test_watcher import a_request

from spincycle.errors import ServiceUnavailable
from spincycle.model.revision import ended
from spincycle.model.state import State
from spincycle.request_manager.storage.model import Request
from spincycle.request_manager.watch import shared_snapshots as module
from spincycle.request_manager.watch.shared_snapshots import SharedSnapshots, Wanted
from spincycle.request_manager.watch.snapshots import RequestSnapshot, RequestSnapshots

END = ended(1)


class SlowViews:
    """Views that are made when the test says so."""

    def __init__(self) -> None:
        self.reads: list[list[str]] = []
        self.cancelled = 0
        self.begun = asyncio.Event()
        self.may = asyncio.Event()
        self.failure: Exception | None = None

    async def of_all(self, wanted: Sequence[tuple[Request, int]]) -> list[RequestSnapshot]:
        self.reads.append([row.request_id for row, _ in wanted])
        self.begun.set()
        try:
            await self.may.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.failure is not None:
            raise self.failure
        return [RequestSnapshot(row, revision or 7) for row, revision in wanted]


def an_end(request_id: str, **more: object) -> Wanted:
    return Wanted(a_request(State.COMPLETE, request_id=request_id, **more), END)


def shared() -> tuple[SlowViews, SharedSnapshots]:
    views = SlowViews()
    return views, SharedSnapshots(cast("RequestSnapshots", views))


async def test_watchers_that_want_the_same_snapshots_share_one_read_of_them() -> None:
    views, snapshots = shared()
    tasks = [
        asyncio.create_task(snapshots.get([an_end("a"), an_end("b")])),
        asyncio.create_task(snapshots.get([an_end("b"), an_end("c"), an_end("a")])),
    ]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    views.may.set()
    first, second = await asyncio.gather(*tasks)

    assert views.reads == [["a", "b"], ["c"]]
    assert [change.request.request_id for change in second] == ["b", "c", "a"]
    assert first[0] is second[2]
    assert (await snapshots.get([an_end("c")]))[0] is second[1]
    assert len(views.reads) == 2


async def test_a_snapshot_is_not_shared_if_the_request_has_changed() -> None:
    views, snapshots = shared()
    views.may.set()
    await snapshots.get([an_end("a")])
    (changed,) = await snapshots.get([an_end("a", finished_jobs=3)])

    assert changed.request.finished_jobs == 3
    assert views.reads == [["a"], ["a"]]


async def test_a_snapshot_of_the_moment_is_shared_only_by_those_who_came_before_it() -> None:
    views, snapshots = shared()
    views.may.set()
    running = a_request()
    first, second, third = [
        (await snapshots.get([Wanted(running, since=since)]))[0] for since in (1, 1, 2)
    ]

    assert first is second
    assert third is not second
    assert len(views.reads) == 2


async def test_a_watcher_that_goes_leaves_the_read_to_the_others() -> None:
    views, snapshots = shared()
    goes = asyncio.create_task(snapshots.get([an_end("a")]))
    await asyncio.sleep(0)
    stays = asyncio.create_task(snapshots.get([an_end("a")]))
    await asyncio.sleep(0)
    goes.cancel()
    await asyncio.wait([goes])
    views.may.set()

    assert len(await stays) == 1
    assert views.reads == [["a"]]


async def test_a_read_that_no_watcher_waits_for_is_cancelled_and_joined_by_none() -> None:
    views, snapshots = shared()
    goes = asyncio.create_task(snapshots.get([an_end("a")]))
    await views.begun.wait()
    goes.cancel()
    await asyncio.sleep(0)
    views.may.set()

    assert len(await snapshots.get([an_end("a")])) == 1
    assert views.cancelled == 1
    assert views.reads == [["a"], ["a"]]


async def test_a_failure_is_raised_to_all_who_share_the_read_and_not_kept() -> None:
    views, snapshots = shared()
    views.failure = ServiceUnavailable("the job log", "127.0.0.1:1")
    views.may.set()
    results = await asyncio.gather(
        snapshots.get([an_end("a")]), snapshots.get([an_end("a")]), return_exceptions=True
    )
    assert all(isinstance(one, ServiceUnavailable) for one in results)

    views.failure = None
    assert len(await snapshots.get([an_end("a")])) == 1


async def test_what_was_not_used_for_the_longest_time_makes_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "KEPT_BYTES", 10_000)
    views, snapshots = shared()
    views.may.set()
    for number in range(50):
        await snapshots.get([an_end(f"r{number}"), an_end("used")])

    assert snapshots._size <= 10_000
    assert ["used"] not in views.reads[1:]
    assert sum(ids.count("used") for ids in views.reads) == 1
    await snapshots.get([an_end("r0")])
    assert views.reads[-1] == ["r0"]
