"""Running a request again that failed or was stopped."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import click

from spincycle.cli.commands import COMMANDS
from spincycle.cli.completion import complete_id, complete_job
from spincycle.cli.jobs import job_ids
from spincycle.cli.options import SpincCommand
from spincycle.cli.problem import Problem
from spincycle.cli.session import CommandSession, with_session

if TYPE_CHECKING:
    from spincycle.cli.transport.backend import Backend
    from spincycle.v1 import request_pb2


@click.command("rerun", cls=SpincCommand, short_help=COMMANDS["rerun"].summary)
@click.argument("request_id", metavar="ID", shell_complete=complete_id)
@click.option(
    "--job",
    "jobs",
    multiple=True,
    metavar="JOB",
    shell_complete=complete_job,
    help="Run this job, by id or by name, and all that follow it again; repeatable.",
)
@click.option("--watch", is_flag=True, help="Show the new request live until it has ended.")
@with_session
def rerun_command(
    session: CommandSession, request_id: str, jobs: tuple[str, ...], watch: bool
) -> int:
    """Make a new request that runs what a failed or stopped one did not complete.

    Example: spinc rerun dc2c0938di121n1t4i90 --watch
    """
    key = str(uuid.uuid4())

    async def question(services: Backend) -> request_pb2.Request:
        wanted = await job_ids(services, request_id, jobs) if jobs else []
        return await services.rerun(request_id, wanted, key)

    request = session.ask(question)
    return _made(session, request, request_id, watch)


@click.command("skip", cls=SpincCommand, short_help=COMMANDS["skip"].summary)
@click.argument("request_id", metavar="ID", shell_complete=complete_id)
@click.argument("job", metavar="JOB", shell_complete=complete_job)
@click.option("--reason", required=True, help="Why the job need not be done; kept on record.")
@click.option("--watch", is_flag=True, help="Show the new request live until it has ended.")
@with_session
def skip_command(
    session: CommandSession, request_id: str, job: str, reason: str, watch: bool
) -> int:
    """Make a new request that goes on as if a failed job were done.

    JOB is the id of the job, or its name if no other job of the request has that name.

    Example: spinc skip dc2c0938di121n1t4i90 report --reason "done by hand"
    """
    key = str(uuid.uuid4())

    async def question(services: Backend) -> request_pb2.Request:
        found = await job_ids(services, request_id, [job])
        if len(found) > 1:
            raise Problem(
                f"{len(found)} jobs of request {request_id} are named {job}",
                f"name one by its id: {', '.join(found)}",
            )
        return await services.skip(request_id, found[0], reason, key)

    request = session.ask(question)
    return _made(session, request, request_id, watch)


def _made(session: CommandSession, request: request_pb2.Request, old: str, watch: bool) -> int:
    session.show(
        request,
        [request.id],
        lambda: [
            f"OK, started {request.type} request {request.id} in place of {old}",
            "",
            f"  spinc status {request.id}",
            "",
        ],
    )
    session.terminal.out.flush()
    if not watch:
        return 0
    from spincycle.cli.commands.watch import show_until_ended

    return show_until_ended(session, request.id)
