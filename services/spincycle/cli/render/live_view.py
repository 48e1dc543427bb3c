"""The progress of a request as a tree that is redrawn in place on a terminal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from spincycle.cli.estimate import TypicalDurations, seconds_left, typical_durations
from spincycle.cli.render.job_output_view import JobOutputView
from spincycle.cli.render.painter import Painter
from spincycle.cli.render.text import cell_width
from spincycle.cli.render.tree import ASCII, UNICODE, Picture, draw
from spincycle.errors import SpinCycleError

if TYPE_CHECKING:
    from spincycle.cli.live_request import LiveJob, LiveRequest
    from spincycle.cli.render.terminal import Terminal
    from spincycle.cli.transport.backend import Backend
    from spincycle.cli.transport.output_deduplicator import JobOutput
    from spincycle.v1 import job_log_pb2

_CLOCK_INTERVAL = 0.5
"""Seconds after which the tree is redrawn although nothing changed, for its clocks."""

_SHORTEST_INTERVAL = 0.1
"""Fewest seconds between two drawings."""


class LiveView:
    """RequestView that redraws the tree of the request in place."""

    def __init__(
        self,
        live: LiveRequest,
        terminal: Terminal,
        clock: Callable[[], float],
        *,
        estimate: bool = True,
    ) -> None:
        self._live = live
        self._terminal = terminal
        self._clock = clock
        self._estimate = estimate
        self._painter = Painter(terminal)
        self._dirty = asyncio.Event()
        self._loaded = asyncio.Event()
        self._note = ""
        self._output = JobOutputView(live, terminal)
        self._lines_above: list[str] = []
        self._durations = TypicalDurations()
        # Load the width tables now: the time of a drawing decides when the next one follows.
        cell_width(UNICODE.mark)

    def on_change(self, jobs: list[LiveJob]) -> None:  # noqa: ARG002 # the whole tree is redrawn
        """See RequestView."""
        self._loaded.set()
        self._dirty.set()

    def on_connection(self, problem: str) -> None:
        """See RequestView."""
        note = "reconnecting" if problem else ""
        if note != self._note:
            self._note = note
            self._dirty.set()

    def on_entry(self, entry: job_log_pb2.JobLog) -> None:
        """See RequestView."""
        self._print(self._output.entry(entry))

    def on_output(self, piece: JobOutput) -> None:
        """See RequestView."""
        self._print(self._output.output(piece))

    def _print(self, lines: list[str]) -> None:
        # Printed with the next drawing, so that many lines cost one drawing.
        self._lines_above += lines
        if lines:
            self._dirty.set()

    async def run(self, backend: Backend) -> None:
        """Redraw until cancelled, and load typical job durations for the estimate."""
        async with asyncio.TaskGroup() as group:
            if self._estimate:
                group.create_task(self._load_durations(backend))
            with self._painter:
                await self._loaded.wait()
                while True:
                    self._dirty.clear()
                    began = time.perf_counter()
                    self._paint()
                    # A large tree is drawn less often, to use at most a fifth of a core.
                    await asyncio.sleep(max(_SHORTEST_INTERVAL, 4 * (time.perf_counter() - began)))
                    # Not wait_for: in Python 3.11 it loses a cancellation that coincides
                    # with the event.
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_CLOCK_INTERVAL):
                            await self._dirty.wait()

    async def _load_durations(self, backend: Backend) -> None:
        await self._loaded.wait()
        try:
            self._durations = await typical_durations(backend, self._live.type)
        except SpinCycleError:
            # The estimate is optional.
            return
        self._dirty.set()

    def finish(self) -> None:
        """See RequestView."""
        if self._loaded.is_set():
            self._lines_above += self._output.end()
            self._paint()

    def _paint(self) -> None:
        if self._lines_above:
            self._painter.print_above(self._lines_above)
            self._lines_above = []
        now = self._clock()
        left = None
        if self._durations and self._live.chain is not None and not self._live.ended:
            left = seconds_left(self._live.chain, self._live.jobs, self._durations, now)
        picture = Picture(
            width=max(self._terminal.columns - 1, 1),
            height=max(self._terminal.rows - 2, 3),
            signs=UNICODE if self._terminal.unicode else ASCII,
            note=self._note,
            left=left,
        )
        self._painter.paint(draw(self._live, now, picture))
