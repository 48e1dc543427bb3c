"""The commands stop, suspend, resume and explain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from spincycle.cli.commands import COMMANDS
from spincycle.cli.completion import complete_id, complete_job
from spincycle.cli.options import SpincCommand
from spincycle.cli.session import CommandSession, with_session
from spincycle.model.state import State

if TYPE_CHECKING:
    from spincycle.cli.transport.backend import Backend
    from spincycle.v1 import request_manager_service_pb2, request_pb2


@click.command("stop", cls=SpincCommand, short_help=COMMANDS["stop"].summary)
@click.argument("request_id", metavar="ID", shell_complete=complete_id)
@click.option("--reason", default="", help="Why the request is stopped; stored with it.")
@with_session
def stop_command(session: CommandSession, request_id: str, reason: str) -> None:
    """Stop a request permanently. Completed and failed jobs keep their state.

    Example: spinc stop dc2c0938di121n1t4i90 --reason "wrong cluster"
    """
    request = session.call(lambda services: services.stop(request_id, reason))
    _done(session, request, "stopped")
    if State(request.state) is State.COMPLETE:
        session.terminal.complain("warning: the request was already COMPLETE; nothing was stopped")


@click.command("suspend", cls=SpincCommand, short_help=COMMANDS["suspend"].summary)
@click.argument("request_id", metavar="ID", shell_complete=complete_id)
@click.option("--reason", default="", help="Why the request is suspended; stored with it.")
@with_session
def suspend_command(session: CommandSession, request_id: str, reason: str) -> None:
    """Suspend a request so that it can be resumed. Running jobs are stopped, and retried then.

    Example: spinc suspend dc2c0938di121n1t4i90 --reason "maintenance window ends"
    """
    request = session.call(lambda services: services.suspend(request_id, reason))
    _done(session, request, "suspended")


@click.command("resume", cls=SpincCommand, short_help=COMMANDS["resume"].summary)
@click.argument("request_id", metavar="ID", shell_complete=complete_id)
@with_session
def resume_command(session: CommandSession, request_id: str) -> None:
    """Resume a suspended request.

    Example: spinc resume dc2c0938di121n1t4i90
    """
    request = session.call(lambda services: services.resume(request_id))
    _done(session, request, "resumed")


def _done(session: CommandSession, request: request_pb2.Request, word: str) -> None:
    session.show(request, [request.id], lambda: [f"OK, {word} {request.id}"])


@click.command("explain", cls=SpincCommand, short_help=COMMANDS["explain"].summary)
@click.argument("request_id", metavar="ID", shell_complete=complete_id)
@click.argument("job", required=False, default="", metavar="[JOB]", shell_complete=complete_job)
@with_session
def explain_command(session: CommandSession, request_id: str, job: str) -> None:
    """Show what a request waits for, and why each unfinished job is not running.

    With JOB, an id, path or unique name, only that job is shown.

    Example: spinc explain dc2c0938di121n1t4i90

    Example: spinc explain dc2c0938di121n1t4i90 "web1 / restart"
    """
    explanation, note = session.call(lambda services: _explain(services, request_id, job))
    session.show(
        explanation,
        [job.job_id for job in explanation.jobs],
        lambda: [*_explain_lines(explanation, session.terminal.table_width), *note],
    )


async def _explain(
    services: Backend, request_id: str, job: str
) -> tuple[request_manager_service_pb2.ExplainResponse, list[str]]:
    if not job:
        return await services.explain(request_id), []
    from spincycle.cli.jobs import find_jobs, job_states

    (found,) = await find_jobs(services, request_id, [job])
    explanation = await services.explain(request_id, found.id)
    if explanation.jobs:
        return explanation, []
    states = await job_states(services, request_id, [found.id])
    return explanation, ["", f"{found.title} ({found.id}) is {states[found.id]}"]


def _explain_lines(
    explanation: request_manager_service_pb2.ExplainResponse, width: int | None
) -> list[str]:
    from spincycle.cli.render.layout import explain_lines

    return explain_lines(explanation, width)
