"""The listening task of the followers."""

from __future__ import annotations

import asyncio

from spincycle.job_log.followers import Followers


async def test_close_does_not_cancel_a_listener_twice() -> None:
    listening, leaving, may_leave = asyncio.Event(), asyncio.Event(), asyncio.Event()
    left = False

    async def listen(*_: object) -> None:
        nonlocal left
        listening.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            leaving.set()
            await may_leave.wait()
            left = True
            raise

    followers = Followers(listen)
    with followers.following("request"):
        await listening.wait()
    await leaving.wait()
    closing = asyncio.create_task(followers.close())
    await asyncio.sleep(0)
    may_leave.set()
    await closing

    assert left
