"""Watches a request until it ends, as a live tree or line by line."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Protocol

from spincycle.cli.live_request import LiveJob, LiveRequest
from spincycle.cli.render.line_view import LineView
from spincycle.cli.render.live_view import LiveView
from spincycle.cli.render.terminal import Terminal
from spincycle.cli.settings import Settings
from spincycle.cli.transport.resumable_stream import ResumableStream
from spincycle.errors import SpinCycleError
from spincycle.model.state import State

if TYPE_CHECKING:
    from spincycle.cli.transport.backend import Backend
    from spincycle.cli.transport.output_deduplicator import JobOutput
    from spincycle.v1 import job_log_pb2, request_event_pb2

EXIT_CODES = {State.COMPLETE: 0, State.FAIL: 1, State.STOPPED: 3}
"""Exit code of a command that waited for the end of a request."""


class RequestView(Protocol):
    """Displays a request while it runs."""

    def on_change(self, jobs: list[LiveJob]) -> None:
        """Handle a change of the request and of these jobs."""

    def on_connection(self, problem: str) -> None:
        """Handle a lost connection, or a working one if `problem` is empty."""

    def on_entry(self, entry: job_log_pb2.JobLog) -> None:
        """Handle a new journal entry."""

    def on_output(self, piece: JobOutput) -> None:
        """Handle new output of a running try."""

    async def run(self, backend: Backend) -> None:
        """Run beside the stream until cancelled."""

    def finish(self) -> None:
        """Display the final state."""


async def watch_request(
    address: str,
    request_id: str,
    job_log: str = "",
    terminal: Terminal | None = None,
    *,
    follow: bool = False,
) -> State:
    """Show a request until it ends, and return its final state.

    Args:
        address: host:port of the request manager.
        request_id: id of the request.
        job_log: host:port of the job log, for estimates and `follow`; empty for neither.
        terminal: where to print; standard output if None. Without a terminal behind it, one
            line is printed per finished try.
        follow: also print the output of the jobs.

    Raises:
        SpinCycleError: the request does not exist, or the first connection failed. A connection
            lost later is reopened.
    """
    from spincycle.cli.session import open_backend

    settings = Settings(addr=address, job_log=job_log or Settings().job_log)
    backend = open_backend(settings)
    try:
        return await watch(
            backend,
            request_id,
            terminal or Terminal(),
            follow=follow and bool(job_log),
            estimate=bool(job_log),
        )
    finally:
        await backend.close()


async def watch(
    backend: Backend,
    request_id: str,
    terminal: Terminal,
    *,
    follow: bool = False,
    estimate: bool = True,
) -> State:
    """Show a request until it ends, as `watch_request` does, over an open backend."""
    live = LiveRequest(request_id)
    view: RequestView = (
        LiveView(live, terminal, time.time, estimate=estimate)
        if terminal.is_live
        else LineView(live, terminal)
    )
    return await _unwrap(_show(backend, live, view, follow=follow))


async def _unwrap(watching: Awaitable[State]) -> State:
    """Raise the failure that ended a task group instead of the exception group."""
    try:
        return await watching
    except BaseExceptionGroup as group:
        first = group.exceptions[0]
        raise first


async def _show(backend: Backend, live: LiveRequest, view: RequestView, *, follow: bool) -> State:
    try:
        async with asyncio.TaskGroup() as group:
            view_task = group.create_task(view.run(backend))
            output_task: asyncio.Task[None] | None = None
            stream = ResumableStream(backend, live.id)
            async for event in stream.events(view.on_connection):
                if event.WhichOneof("change") == "snapshot" and live.chain is None:
                    await _ensure_chain(backend, live, event.snapshot)
                view.on_change(live.apply(event))
                if follow and output_task is None:
                    # After the snapshot: the lines show the path of their job.
                    output_task = group.create_task(_show_output(stream, view))
                if live.ended:
                    break
            if output_task:
                await output_task
            view_task.cancel()
    finally:
        view.finish()
    return live.state


async def _ensure_chain(
    backend: Backend, live: LiveRequest, snapshot: request_event_pb2.RequestSnapshot
) -> None:
    if snapshot.HasField("job_chain"):
        return
    try:
        live.set_chain(await backend.job_chain(live.id))
    except SpinCycleError:
        # Without the chain, jobs are listed in order of arrival, without sequences.
        return


async def _show_output(stream: ResumableStream, view: RequestView) -> None:
    from spincycle.cli.transport.output_deduplicator import JobOutput

    async for item in stream.entries(live_output=True):
        if isinstance(item, JobOutput):
            view.on_output(item)
        else:
            view.on_entry(item)
