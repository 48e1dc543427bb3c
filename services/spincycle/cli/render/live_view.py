"""A request as a picture on a terminal, painted anew when something changes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from spincycle.cli.estimate import Typical, learn, seconds_left
from spincycle.cli.render.painter import Painter
from spincycle.cli.render.tree import ASCII, UNICODE, Picture, draw
from spincycle.cli.transport.followed_jobs import JobOutputView
from spincycle.errors import SpinCycleError

if TYPE_CHECKING:
    from spincycle.cli.live_request import LiveJob, LiveRequest
    from spincycle.cli.render.printed import JobOutput
    from spincycle.cli.render.terminal import Terminal
    from spincycle.cli.transport.backend import Backend
    from spincycle.v1 import job_log_pb2

_TICK = 0.5
"""Seconds after which the clocks in the picture move on."""

_PAUSE = 0.1
"""Shortest time between two pictures."""


class LiveView:
    """The View of a terminal."""

    def __init__(
        self,
        live: LiveRequest,
        terminal: Terminal,
        clock: Callable[[], float],
        estimate: bool = True,
    ) -> None:
        self._live = live
        self._terminal = terminal
        self._clock = clock
        self._estimate = estimate
        self._painter = Painter(terminal)
        self._dirty = asyncio.Event()
        self._known = asyncio.Event()
        self._note = ""
        self._followed = JobOutputView(live, terminal)
        self._above: list[str] = []
        self._typical = Typical()

    def changed(self, jobs: list[LiveJob]) -> None:  # noqa: ARG002 # all is painted anew
        """See View."""
        self._known.set()
        self._dirty.set()

    def lost(self, why: str) -> None:
        """See View."""
        note = "reconnecting" if why else ""
        if note != self._note:
            self._note = note
            self._dirty.set()

    def entry(self, entry: job_log_pb2.JobLog) -> None:
        """See View."""
        self._print(self._followed.entry(entry))

    def output(self, piece: JobOutput) -> None:
        """See View."""
        self._print(self._followed.output(piece))

    def _print(self, lines: list[str]) -> None:
        # With the next picture, so that many lines at once cost one.
        self._above += lines
        if lines:
            self._dirty.set()

    async def keep(self, backend: Backend) -> None:
        """Paint; meanwhile learn how long such jobs take."""
        async with asyncio.TaskGroup() as group:
            if self._estimate:
                group.create_task(self._learn(backend))
            with self._painter:
                await self._known.wait()
                while True:
                    self._dirty.clear()
                    began = time.perf_counter()
                    self._paint()
                    # A large picture is painted less often, so that it costs a fifth of a core.
                    await asyncio.sleep(max(_PAUSE, 4 * (time.perf_counter() - began)))
                    # Not wait_for: Python 3.11's loses a cancellation that comes with the event.
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_TICK):
                            await self._dirty.wait()

    async def _learn(self, backend: Backend) -> None:
        await self._known.wait()
        try:
            self._typical = await learn(backend, self._live.type)
        except SpinCycleError:
            # The picture is as good without an estimate.
            return
        self._dirty.set()

    def finish(self) -> None:
        """See View."""
        if self._known.is_set():
            self._above += self._followed.end()
            self._paint()

    def _paint(self) -> None:
        if self._above:
            self._painter.above(self._above)
            self._above = []
        now = self._clock()
        left = None
        if self._typical and self._live.chain is not None and not self._live.ended:
            left = seconds_left(self._live.chain, self._live.jobs, self._typical, now)
        picture = Picture(
            width=max(self._terminal.columns - 1, 1),
            height=max(self._terminal.rows - 2, 3),
            signs=UNICODE if self._terminal.unicode else ASCII,
            note=self._note,
            left=left,
        )
        self._painter.paint(draw(self._live, now, picture))
