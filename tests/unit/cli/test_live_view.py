from __future__ import annotations

import asyncio
import io
import time
from contextlib import suppress
from typing import cast

import pytest
from tests.cli_samples import ID

from spincycle.cli.live_request import LiveRequest
from spincycle.cli.render import live_view
from spincycle.cli.render.live_view import LiveView
from spincycle.cli.render.terminal import Terminal
from spincycle.cli.transport.backend import Backend


async def turn(times: int) -> None:
    """Let the loop go round so often."""
    for _ in range(times):
        await asyncio.sleep(0)


@pytest.mark.parametrize("turns", range(6))
async def test_a_picture_that_is_cancelled_just_as_something_changes_ends(
    monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    monkeypatch.setattr(live_view, "_PAUSE", 0.0)
    monkeypatch.setattr(live_view, "_TICK", 3600.0)
    monkeypatch.setattr(time, "perf_counter", lambda: 0.0)
    painted = io.StringIO()
    terminal = Terminal(out=painted, err=io.StringIO(), stdin=io.StringIO(), environment={})
    view = LiveView(LiveRequest(ID), terminal, lambda: 0.0, estimate=False)
    painting = asyncio.create_task(view.keep(cast("Backend", None)))
    view.changed([])
    await turn(100)
    assert ID in painted.getvalue()

    view.changed([])
    await turn(turns)
    painting.cancel()
    done, _ = await asyncio.wait({painting}, timeout=5)

    assert done
    with suppress(asyncio.CancelledError):
        await painting
