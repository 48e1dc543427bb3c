"""What a request is, and whether it is still under way."""

from __future__ import annotations

import time

import click

from spincycle.cli.commands import COMMANDS
from spincycle.cli.completion import complete_id
from spincycle.cli.options import SpincCommand
from spincycle.cli.problem import NO_ANSWER
from spincycle.cli.session import CommandSession, answering, with_session
from spincycle.model.state import LIVE, State


@click.command("status", cls=SpincCommand, short_help=COMMANDS["status"].summary)
@click.argument("request_id", metavar="ID", shell_complete=complete_id)
@with_session
def status_command(session: CommandSession, request_id: str) -> None:
    """Print the state of a request, how far it is, and its required args.

    Example: spinc status dc2c0938di121n1t4i90
    """
    from spincycle.cli.render.layout import status_lines

    request = session.ask(lambda services: services.get(request_id))
    session.show(
        request,
        [request.id],
        lambda: status_lines(request, time.time(), session.terminal.table_width),
    )


@click.command("info", cls=SpincCommand, short_help=COMMANDS["info"].summary)
@click.argument("request_id", metavar="ID", shell_complete=complete_id)
@with_session
def info_command(session: CommandSession, request_id: str) -> None:
    """Print all that is known of a request: times, host, jobs, required and optional args.

    Example: spinc info dc2c0938di121n1t4i90
    """
    from spincycle.cli.render.layout import info_lines

    request = session.ask(lambda services: services.get(request_id))
    session.show(
        request,
        [request.id],
        lambda: info_lines(request, time.time(), session.terminal.table_width),
    )


@click.command("running", cls=SpincCommand, short_help=COMMANDS["running"].summary)
@click.argument("request_id", metavar="ID", shell_complete=complete_id)
@answering(NO_ANSWER)
@with_session
def running_command(session: CommandSession, request_id: str) -> int:
    """Exit 0 if the request is PENDING, RUNNING or SUSPENDED, and 1 if it has ended.

    Prints nothing. Exits 2, with an error, if there is no telling.

    Example: while spinc running dc2c0938di121n1t4i90; do sleep 5; done
    """
    request = session.ask(lambda services: services.get(request_id))
    return 0 if State(request.state) in LIVE else 1
