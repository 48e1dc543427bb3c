"""A request as lines that are printed once: for pipes, files and terminals that cannot paint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spincycle.cli.live_request import LiveJob, LiveRequest
from spincycle.cli.render.text import one_line
from spincycle.cli.render.times import short_span
from spincycle.cli.transport.followed_jobs import JobOutputView, job_paths
from spincycle.model.state import FINAL, State

if TYPE_CHECKING:
    from spincycle.cli.render.printed import JobOutput
    from spincycle.cli.render.terminal import Terminal
    from spincycle.cli.transport.backend import Backend
    from spincycle.v1 import job_log_pb2

_TOLD = FINAL | {State.SUSPENDED}


class LineView:
    """The View of everything else: one line for each try that ends, and for the request."""

    def __init__(self, live: LiveRequest, terminal: Terminal) -> None:
        self._live = live
        self._terminal = terminal
        self._state: State | None = None
        self._told: dict[str, tuple[int, State]] = {}
        self._lost = False
        self._followed = JobOutputView(live, terminal)

    def changed(self, jobs: list[LiveJob]) -> None:
        """See View."""
        if self._live.state is not self._state and not self._live.ended:
            self._state = self._live.state
            self._say(self._state.name, f"{self._live.type} {self._live.id}")
        paths = job_paths(self._live)
        for job in sorted(jobs, key=lambda job: job.finished or 0.0):
            self._tell(job, paths)

    def _tell(self, job: LiveJob, paths: dict[str, str]) -> None:
        waits = job.retry_at is not None
        news = (job.tries, State.FAIL if waits else job.state)
        is_work = job.id in paths
        if not is_work or news[1] not in _TOLD or self._told.get(job.id) == news:
            return
        self._told[job.id] = news
        parts = [paths[job.id]]
        if job.tries > 1 or news[1] is State.FAIL:
            parts.append(f"try {job.tries}/{max(job.allowed_tries, job.tries)}")
        if job.started is not None and job.finished is not None:
            parts.append(short_span(job.finished - job.started))
        if news[1] is State.FAIL and job.error:
            parts.append(one_line(job.error))
        self._say(news[1].name, "  ".join(parts))

    def lost(self, why: str) -> None:
        """See View."""
        if bool(why) is self._lost:
            return
        self._lost = bool(why)
        self._terminal.complain(f"reconnecting: {why}" if why else "connected again")

    def entry(self, entry: job_log_pb2.JobLog) -> None:
        """See View."""
        self._print(self._followed.entry(entry))

    def output(self, piece: JobOutput) -> None:
        """See View."""
        self._print(self._followed.output(piece))

    async def keep(self, backend: Backend) -> None:
        """See View; lines need no upkeep."""

    def finish(self) -> None:
        """See View."""
        live = self._live
        self._print(self._followed.end())
        if live.ended:
            facts = [f"{live.type} {live.id}", f"{live.finished_jobs}/{live.total_jobs} jobs"]
            if live.started is not None and live.finished is not None:
                facts.append(short_span(live.finished - live.started))
            if live.reason:
                facts.append(one_line(live.reason))
            self._say(live.state.name, "  ".join(facts))

    def _print(self, lines: list[str]) -> None:
        self._terminal.lines(lines)
        self._terminal.out.flush()

    def _say(self, word: str, text: str) -> None:
        self._terminal.line(f"{word:<9}  {text}")
        self._terminal.out.flush()
