"""The progress of a request as lines, for pipes, files and dumb terminals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spincycle.cli.live_request import LiveJob, LiveRequest
from spincycle.cli.render.job_output_view import JobOutputView
from spincycle.cli.render.text import one_line
from spincycle.cli.render.times import short_span
from spincycle.model.state import FINAL, State

if TYPE_CHECKING:
    from spincycle.cli.render.terminal import Terminal
    from spincycle.cli.transport.backend import Backend
    from spincycle.cli.transport.output_deduplicator import JobOutput
    from spincycle.v1 import job_log_pb2

_PRINTED = FINAL | {State.SUSPENDED}
"""Job states that get a line."""


class LineView:
    """RequestView that prints one line per finished try, and one at the end of the request."""

    def __init__(self, live: LiveRequest, terminal: Terminal) -> None:
        self._live = live
        self._terminal = terminal
        self._state: State | None = None
        self._printed: dict[str, tuple[int, State]] = {}
        self._is_lost = False
        self._output = JobOutputView(live, terminal)

    def on_change(self, jobs: list[LiveJob]) -> None:
        """See RequestView."""
        if self._live.state is not self._state and not self._live.ended:
            self._state = self._live.state
            self._print_state(self._state, f"{self._live.type} {self._live.id}")
        for job in sorted(jobs, key=lambda job: job.finished or 0.0):
            self._print_job(job)

    def _print_job(self, job: LiveJob) -> None:
        waits = job.retry_at is not None
        state = State.FAIL if waits else job.state
        if state not in _PRINTED or self._printed.get(job.id) == (job.tries, state):
            return
        if (path := self._output.path(job.id)) is None:
            return
        self._printed[job.id] = (job.tries, state)
        parts = [path]
        if job.tries > 1 or state is State.FAIL:
            parts.append(f"try {job.tries}/{max(job.allowed_tries, job.tries)}")
        if job.started is not None and job.finished is not None:
            parts.append(short_span(job.finished - job.started))
        if state is State.FAIL and job.error:
            parts.append(one_line(job.error))
        self._print_state(state, "  ".join(parts))

    def on_connection(self, problem: str) -> None:
        """See RequestView."""
        if bool(problem) is self._is_lost:
            return
        self._is_lost = bool(problem)
        self._terminal.complain(f"reconnecting: {problem}" if problem else "reconnected")

    def on_entry(self, entry: job_log_pb2.JobLog) -> None:
        """See RequestView."""
        self._print(self._output.entry(entry))

    def on_output(self, piece: JobOutput) -> None:
        """See RequestView."""
        self._print(self._output.output(piece))

    async def run(self, backend: Backend) -> None:
        """See RequestView; lines are printed as events arrive."""

    def finish(self) -> None:
        """See RequestView."""
        live = self._live
        self._print(self._output.end())
        if live.ended:
            facts = [f"{live.type} {live.id}", f"{live.finished_jobs}/{live.total_jobs} jobs"]
            if live.started is not None and live.finished is not None:
                facts.append(short_span(live.finished - live.started))
            if live.reason:
                facts.append(one_line(live.reason))
            self._print_state(live.state, "  ".join(facts))

    def _print(self, lines: list[str]) -> None:
        self._terminal.lines(lines)
        self._terminal.out.flush()

    def _print_state(self, state: State, text: str) -> None:
        self._terminal.line(f"{state.name:<9}  {text}")
        self._terminal.out.flush()
