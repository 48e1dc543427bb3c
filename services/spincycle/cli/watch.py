"""Following a request until it has ended: as a live picture, or line by line."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Protocol

from spincycle.cli.following import entries_to_the_end, watch_events
from spincycle.cli.live_request import LiveJob, LiveRequest
from spincycle.cli.render.line_view import LineView
from spincycle.cli.render.live_view import LiveView
from spincycle.cli.render.terminal import Terminal
from spincycle.cli.settings import Settings
from spincycle.errors import SpinCycleError
from spincycle.model.state import State

if TYPE_CHECKING:
    from spincycle.cli.render.printed import JobOutput
    from spincycle.cli.transport.backend import Backend
    from spincycle.v1 import job_log_pb2, request_event_pb2

EXIT_CODES = {State.COMPLETE: 0, State.FAIL: 1, State.STOPPED: 3}
"""Exit code of a command that waited for the end of a request."""


class RequestView(Protocol):
    """Something that shows a request while it runs."""

    def changed(self, jobs: list[LiveJob]) -> None:
        """The request and these jobs have changed."""

    def lost(self, why: str) -> None:
        """The stream broke, or is back if `why` is empty."""

    def entry(self, entry: job_log_pb2.JobLog) -> None:
        """A job has left a journal entry."""

    def output(self, piece: JobOutput) -> None:
        """A running try has printed something."""

    async def keep(self, backend: Backend) -> None:
        """Whatever must go on beside the stream; cancelled at the end."""

    def finish(self) -> None:
        """Show the end."""


async def watch_request(
    address: str,
    request_id: str,
    job_log: str = "",
    terminal: Terminal | None = None,
    follow: bool = False,
) -> State:
    """Show a request until it has ended, and answer the state it ended in.

    Args:
        address: host:port of the request manager.
        request_id: the request.
        job_log: host:port of the job log, for estimates and `follow`; empty for neither.
        terminal: where to show it; the standard output if None. What is no terminal gets
            one line for each job that ends.
        follow: also print what each job prints, as it comes.

    Raises:
        SpinCycleError: the request does not exist, or the request manager cannot be reached
            at all. A connection that breaks later is made anew.
    """
    from spincycle.cli.session import open_backend

    settings = Settings(addr=address, job_log=job_log or Settings().job_log)
    backend = open_backend(settings)
    try:
        return await watch(
            backend, request_id, terminal or Terminal(), follow and bool(job_log), bool(job_log)
        )
    finally:
        await backend.close()


async def watch(
    backend: Backend,
    request_id: str,
    terminal: Terminal,
    follow: bool = False,
    estimate: bool = True,
) -> State:
    """Show a request until it has ended, as `watch_request` does, on services at hand."""
    live = LiveRequest(request_id)
    view: RequestView = (
        LiveView(live, terminal, time.time, estimate)
        if terminal.is_live
        else LineView(live, terminal)
    )
    return await _unwrapped(_show(backend, live, view, follow))


async def _unwrapped(showing: Awaitable[State]) -> State:
    """The one failure that ended a group of tasks, without the group around it."""
    try:
        return await showing
    except BaseExceptionGroup as group:
        first = group.exceptions[0]
        raise first


async def _show(backend: Backend, live: LiveRequest, view: RequestView, follow: bool) -> State:
    try:
        async with asyncio.TaskGroup() as group:
            beside = group.create_task(view.keep(backend))
            tailing: asyncio.Task[None] | None = None
            async for event in watch_events(backend, live.id, view.lost):
                if event.WhichOneof("change") == "snapshot" and live.chain is None:
                    await _ensure_chain(backend, live, event.snapshot)
                changed = live.apply(event)
                view.changed(changed)
                if follow and tailing is None:
                    # Not before: an entry is shown by the place of its job.
                    tailing = group.create_task(_show_printed(backend, live.id, view))
                if live.ended:
                    break
            if tailing:
                await tailing
            beside.cancel()
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
        # Jobs are listed as they come then, without their sequences.
        return


async def _show_printed(backend: Backend, request_id: str, view: RequestView) -> None:
    from spincycle.cli.render.printed import JobOutput

    async for told in entries_to_the_end(backend, request_id, live_output=True):
        if isinstance(told, JobOutput):
            view.output(told)
        else:
            view.entry(told)
