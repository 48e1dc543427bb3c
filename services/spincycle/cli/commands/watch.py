"""Following one request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from typing import TYPE_CHECKING

import click

from spincycle.cli.commands import COMMANDS
from spincycle.cli.completion import complete_id
from spincycle.cli.options import SpincCommand
from spincycle.cli.problem import INTERRUPTED, NO_ANSWER
from spincycle.cli.session import CommandSession, answering, with_session

if TYPE_CHECKING:
    from spincycle.cli.transport.backend import Backend
    from spincycle.model.state import State


@click.command("watch", cls=SpincCommand, short_help=COMMANDS["watch"].summary)
@click.argument("request_id", metavar="ID", shell_complete=complete_id)
@click.option("--follow", "-f", is_flag=True, help="Also print what each job prints, as it comes.")
@answering(NO_ANSWER)
@with_session
def watch_command(session: CommandSession, request_id: str, follow: bool) -> int:
    """Show the sequences and jobs of a request live until it has ended.

    Without a terminal, prints one line for each job that ends; with -o json, one event a line.
    Exits 0 if the request ended COMPLETE, 1 if FAIL, 3 if STOPPED, and 2 if there is no telling.
    Ctrl-C ends only the watching.

    Example: spinc watch dc2c0938di121n1t4i90
    """
    return show_until_ended(session, request_id, follow)


def show_until_ended(session: CommandSession, request_id: str, follow: bool = False) -> int:
    """Show a request until it has ended; answer the exit code that tells how."""
    from spincycle.cli.watch import EXIT_CODES, watch

    def question(services: Backend) -> Awaitable[State]:
        if session.output == "table":
            return watch(services, request_id, session.terminal, follow)
        return _print_events(session, services, request_id, follow and session.output != "name")

    try:
        state = session.ask(question)
    except KeyboardInterrupt:
        return goes_on(session, request_id)
    return EXIT_CODES[state]


def goes_on(session: CommandSession, request_id: str) -> int:
    """Say that Ctrl-C has ended only the waiting; answer the exit code for it."""
    session.terminal.complain(f"\nThe request goes on; spinc stop {request_id} stops it.")
    return INTERRUPTED


async def _print_events(
    session: CommandSession, services: Backend, request_id: str, follow: bool
) -> State:
    from spincycle.cli.following import entries_to_the_end, watch_events
    from spincycle.cli.live_request import LiveRequest
    from spincycle.cli.render.printed import JobOutput
    from spincycle.cli.transport.merging import merged
    from spincycle.v1 import request_event_pb2

    live, last = LiveRequest(request_id), request_event_pb2.RequestEvent()

    async def events() -> AsyncIterator[request_event_pb2.RequestEvent]:
        async for event in watch_events(services, request_id):
            live.apply(event)
            last.CopyFrom(event)
            yield event
            if live.ended:
                return

    async def printed() -> AsyncIterator[request_event_pb2.RequestEvent]:
        entries = entries_to_the_end(services, request_id, live_output=True, all_output=True)
        async for told in entries:
            if isinstance(told, JobOutput):
                event = request_event_pb2.RequestEvent(
                    request_id=request_id, revision=last.revision, cursor=last.cursor, output=told
                )
                event.occurred_at.GetCurrentTime()
                yield event

    async for event in merged(events(), printed()) if follow else events():
        session.show_next(event, "", list)
    return live.state
