"""The commands rerun and skip: run the incomplete part of a request as a new one."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import click

from spincycle.cli.commands import COMMANDS
from spincycle.cli.completion import complete_id, complete_job
from spincycle.cli.jobs import FoundJob, find_jobs
from spincycle.cli.options import SpincCommand
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
    help="Also rerun this job, by id, path or unique name, and all jobs after it; repeatable.",
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

    async def rerun(services: Backend) -> tuple[request_pb2.Request, list[FoundJob]]:
        found = await find_jobs(services, request_id, jobs) if jobs else []
        ids = [job.id for job in found]
        return await services.rerun(request_id, ids, key, allow_concurrent=again), found

    request, found = session.call(rerun)
    lines = [f"  runs again: {job.title} ({job.id})" for job in found]
    return _show_created(session, request, request_id, lines, watch=watch)


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

    JOB is the id of the job, its path, or an end of the path or a name that no other job has.

    Example: spinc skip dc2c0938di121n1t4i90 "web1 / restart" --reason "done by hand"
    """
    key = str(uuid.uuid4())

    async def skip(services: Backend) -> tuple[request_pb2.Request, FoundJob]:
        (found,) = await find_jobs(services, request_id, [job])
        request = await services.skip(request_id, found.id, reason, key, allow_concurrent=again)
        return request, found

    request, found = session.call(skip)
    lines = [f"  skipped: {found.title} ({found.id})"]
    return _show_created(session, request, request_id, lines, watch=watch)


def _show_created(
    session: CommandSession,
    request: request_pb2.Request,
    old: str,
    jobs: list[str],
    *,
    watch: bool,
) -> int:
    session.show(
        request,
        [request.id],
        lambda: [
            f"OK, started {request.type} request {request.id} in place of {old}",
            *jobs,
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
