"""The commands rerun and skip: run the incomplete part of a request as a new one."""

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


allow_concurrent = click.option(
    "--again",
    is_flag=True,
    help="Also if a request that was created from the same one by rerun or skip has not ended.",
)


@click.command("rerun", cls=SpincCommand, short_help=COMMANDS["rerun"].summary)
@click.argument("request_id", metavar="ID", shell_complete=complete_id)
@click.option(
    "--job",
    "jobs",
    multiple=True,
    metavar="JOB",
    shell_complete=complete_job,
    help="Also rerun this job, by id or name, and all jobs after it; repeatable.",
)
@allow_concurrent
@click.option("--watch", is_flag=True, help="Watch the new request live until it ends.")
@with_session
def rerun_command(
    session: CommandSession, request_id: str, jobs: tuple[str, ...], again: bool, watch: bool
) -> int:
    """Create a request that runs the jobs that a failed or stopped one did not complete.

    Example: spinc rerun dc2c0938di121n1t4i90 --watch
    """
    key = str(uuid.uuid4())

    async def rerun(services: Backend) -> request_pb2.Request:
        ids = await job_ids(services, request_id, jobs) if jobs else []
        return await services.rerun(request_id, ids, key, allow_concurrent=again)

    request = session.call(rerun)
    return _show_created(session, request, request_id, watch=watch)


@click.command("skip", cls=SpincCommand, short_help=COMMANDS["skip"].summary)
@click.argument("request_id", metavar="ID", shell_complete=complete_id)
@click.argument("job", metavar="JOB", shell_complete=complete_job)
@click.option("--reason", required=True, help="Why the job can be skipped; stored with it.")
@allow_concurrent
@click.option("--watch", is_flag=True, help="Watch the new request live until it ends.")
@with_session
def skip_command(
    session: CommandSession, request_id: str, job: str, reason: str, again: bool, watch: bool
) -> int:
    """Create a request that continues a failed one as if the failed job had completed.

    JOB is the id of the job, or its name if it is unique in the request.

    Example: spinc skip dc2c0938di121n1t4i90 report --reason "done by hand"
    """
    key = str(uuid.uuid4())

    async def skip(services: Backend) -> request_pb2.Request:
        found = await job_ids(services, request_id, [job])
        if len(found) > 1:
            raise Problem(
                f"{len(found)} jobs of request {request_id} are named {job}",
                f"give the id of one: {', '.join(found)}",
            )
        return await services.skip(request_id, found[0], reason, key, allow_concurrent=again)

    request = session.call(skip)
    return _show_created(session, request, request_id, watch=watch)


def _show_created(
    session: CommandSession, request: request_pb2.Request, old: str, *, watch: bool
) -> int:
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
