"""The commands status, info and running."""

from __future__ import annotations

import time

import click

from spincycle.cli.commands import COMMANDS
from spincycle.cli.completion import complete_id
from spincycle.cli.options import SpincCommand
from spincycle.cli.problem import UNDETERMINED
from spincycle.cli.session import CommandSession, exit_code_on_error, with_session
from spincycle.model.state import LIVE, State


@click.command("status", cls=SpincCommand, short_help=COMMANDS["status"].summary)
@click.argument("request_id", metavar="ID", shell_complete=complete_id)
@with_session
def status_command(session: CommandSession, request_id: str) -> None:
    """Print the state, progress, runtime and required args of a request.

    Example: spinc status dc2c0938di121n1t4i90
    """
    from spincycle.cli.render.layout import status_lines

    request = session.call(lambda services: services.get(request_id))
    session.show(
        request,
        [request.id],
        lambda: status_lines(request, time.time(), session.terminal.table_width),
    )


@click.command("info", cls=SpincCommand, short_help=COMMANDS["info"].summary)
@click.argument("request_id", metavar="ID", shell_complete=complete_id)
@with_session
def info_command(session: CommandSession, request_id: str) -> None:
    """Print all properties of a request: times, host, jobs, required and optional args.

    Example: spinc info dc2c0938di121n1t4i90
    """
    from spincycle.cli.render.layout import info_lines

    request = session.call(lambda services: services.get(request_id))
    session.show(
        request,
        [request.id],
        lambda: info_lines(request, time.time(), session.terminal.table_width),
    )


@click.command("running", cls=SpincCommand, short_help=COMMANDS["running"].summary)
@click.argument("request_id", metavar="ID", shell_complete=complete_id)
@exit_code_on_error(UNDETERMINED)
@with_session
def running_command(session: CommandSession, request_id: str) -> int:
    """Exit 0 if a request is PENDING, RUNNING or SUSPENDED, and 1 if it has ended.

    Prints nothing. If the state cannot be read, prints an error and exits 2.

    Example: while spinc running dc2c0938di121n1t4i90; do sleep 5; done
    """
    request = session.call(lambda services: services.get(request_id))
    return 0 if State(request.state) in LIVE else 1
