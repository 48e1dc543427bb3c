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


async def run_loop(times: int) -> None:
    """Run the event loop for a number of turns."""
    for _ in range(times):
        await asyncio.sleep(0)


@pytest.mark.parametrize("turns", range(6))
async def test_drawing_ends_if_cancelled_at_the_time_of_a_change(
    monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    monkeypatch.setattr(live_view, "_SHORTEST_INTERVAL", 0.0)
    monkeypatch.setattr(live_view, "_CLOCK_INTERVAL", 3600.0)
    monkeypatch.setattr(time, "perf_counter", lambda: 0.0)
    painted = io.StringIO()
    terminal = Terminal(out=painted, err=io.StringIO(), stdin=io.StringIO(), environment={})
    view = LiveView(LiveRequest(ID), terminal, lambda: 0.0, estimate=False)
    drawing = asyncio.create_task(view.run(cast("Backend", None)))
    view.on_change([])
    await run_loop(100)
    assert ID in painted.getvalue()

    view.on_change([])
    await run_loop(turns)
    drawing.cancel()
    done, _ = await asyncio.wait({drawing}, timeout=5)

    assert done
    with suppress(asyncio.CancelledError):
        await drawing
