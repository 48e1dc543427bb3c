"""Stopping, suspending and resuming a request, and asking what it waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from spincycle.cli.commands import COMMANDS
from spincycle.cli.completion import complete_id
from spincycle.cli.options import SpincCommand
from spincycle.cli.session import CommandSession, with_session
from spincycle.model.state import State

if TYPE_CHECKING:
    from spincycle.v1 import request_manager_service_pb2, request_pb2


@click.command("stop", cls=SpincCommand, short_help=COMMANDS["stop"].summary)
@click.argument("request_id", metavar="ID", shell_complete=complete_id)
@click.option("--reason", default="", help="Why; kept on record.")
@with_session
def stop_command(session: CommandSession, request_id: str, reason: str) -> None:
    """Stop a request for good. Jobs that have completed or failed stay as they are.

    Example: spinc stop dc2c0938di121n1t4i90 --reason "wrong cluster"
    """
    request = session.ask(lambda services: services.stop(request_id, reason))
    _done(session, request, "stopped")
    if State(request.state) is State.COMPLETE:
        session.terminal.complain("warning: it was COMPLETE already; nothing was stopped")


@click.command("suspend", cls=SpincCommand, short_help=COMMANDS["suspend"].summary)
@click.argument("request_id", metavar="ID", shell_complete=complete_id)
@click.option("--reason", default="", help="Why; kept on record.")
@with_session
def suspend_command(session: CommandSession, request_id: str, reason: str) -> None:
    """Halt a request so that it can be resumed. Running jobs are stopped and tried again then.

    Example: spinc suspend dc2c0938di121n1t4i90 --reason "maintenance window ends"
    """
    request = session.ask(lambda services: services.suspend(request_id, reason))
    _done(session, request, "suspended")


@click.command("resume", cls=SpincCommand, short_help=COMMANDS["resume"].summary)
@click.argument("request_id", metavar="ID", shell_complete=complete_id)
@with_session
def resume_command(session: CommandSession, request_id: str) -> None:
    """Let a suspended request go on.

    Example: spinc resume dc2c0938di121n1t4i90
    """
    request = session.ask(lambda services: services.resume(request_id))
    _done(session, request, "resumed")


def _done(session: CommandSession, request: request_pb2.Request, word: str) -> None:
    session.show(request, [request.id], lambda: [f"OK, {word} {request.id}"])


@click.command("explain", cls=SpincCommand, short_help=COMMANDS["explain"].summary)
@click.argument("request_id", metavar="ID", shell_complete=complete_id)
@with_session
def explain_command(session: CommandSession, request_id: str) -> None:
    """Tell what a request waits for, and for each job that does not run, why.

    Example: spinc explain dc2c0938di121n1t4i90
    """
    answer = session.ask(lambda services: services.explain(request_id))
    session.show(
        answer,
        [job.job_id for job in answer.jobs],
        lambda: _explanation(answer, session.terminal.table_width),
    )


def _explanation(
    answer: request_manager_service_pb2.ExplainResponse, width: int | None
) -> list[str]:
    from spincycle.cli.render.layout import explain_lines

    return explain_lines(answer, width)
