"""The command watch."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from typing import TYPE_CHECKING

import click

from spincycle.cli.commands import COMMANDS
from spincycle.cli.completion import complete_id
from spincycle.cli.options import SpincCommand
from spincycle.cli.problem import INTERRUPTED, UNDETERMINED
from spincycle.cli.session import CommandSession, exit_code_on_error, with_session

if TYPE_CHECKING:
    from spincycle.cli.transport.backend import Backend
    from spincycle.model.state import State


@click.command("watch", cls=SpincCommand, short_help=COMMANDS["watch"].summary)
@click.argument("request_id", metavar="ID", shell_complete=complete_id)
@click.option("--follow", "-f", is_flag=True, help="Also print the output of each job.")
@exit_code_on_error(UNDETERMINED)
@with_session
def watch_command(session: CommandSession, request_id: str, follow: bool) -> int:
    """Show the sequences and jobs of a request live until it ends.

    Without a terminal, prints one line per finished try; with -o json, one event per line.
    Exits 0 if the request ended COMPLETE, 1 if FAIL, 3 if STOPPED, and 2 if its state cannot be
    read. Ctrl-C stops watching; the request keeps running.

    Example: spinc watch dc2c0938di121n1t4i90
    """
    return show_until_ended(session, request_id, follow=follow)


def show_until_ended(session: CommandSession, request_id: str, *, follow: bool = False) -> int:
    """Show a request until it ends, and return the exit code for its final state."""
    from spincycle.cli.watch import EXIT_CODES, watch

    def show(services: Backend) -> Awaitable[State]:
        if session.output == "table":
            return watch(services, request_id, session.terminal, follow=follow)
        follows = follow and session.output != "name"
        return _print_events(session, services, request_id, follow=follows)

    try:
        state = session.call(show)
    except KeyboardInterrupt:
        return report_still_running(session, request_id)
    return EXIT_CODES[state]


def report_still_running(session: CommandSession, request_id: str) -> int:
    """Report that Ctrl-C did not stop the request, and return the exit code for it."""
    session.terminal.complain(f"\nThe request keeps running; to stop it: spinc stop {request_id}")
    return INTERRUPTED


async def _print_events(
    session: CommandSession, services: Backend, request_id: str, *, follow: bool
) -> State:
    from spincycle.cli.live_request import LiveRequest
    from spincycle.cli.transport.merging import merged
    from spincycle.cli.transport.output_deduplicator import JobOutput
    from spincycle.cli.transport.resumable_stream import ResumableStream
    from spincycle.v1 import request_event_pb2

    live, last = LiveRequest(request_id), request_event_pb2.RequestEvent()
    stream = ResumableStream(services, request_id)

    async def events() -> AsyncIterator[request_event_pb2.RequestEvent]:
        async for event in stream.events():
            live.apply(event)
            last.CopyFrom(event)
            yield event
            if live.ended:
                return

    async def output_events() -> AsyncIterator[request_event_pb2.RequestEvent]:
        async for item in stream.entries(live_output=True, all_output=True):
            if isinstance(item, JobOutput):
                event = request_event_pb2.RequestEvent(
                    request_id=request_id, revision=last.revision, cursor=last.cursor, output=item
                )
                event.occurred_at.GetCurrentTime()
                yield event

    async for event in merged(events(), output_events()) if follow else events():
        session.show_next(event, "", list)
    return live.state
