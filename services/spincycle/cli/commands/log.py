"""What the jobs of a request have done and printed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import click

from spincycle.cli.backend import EntryFilter
from spincycle.cli.commands import COMMANDS
from spincycle.cli.completing import complete_id, complete_job
from spincycle.cli.jobs import job_ids
from spincycle.cli.options import SpincCommand
from spincycle.cli.session import Session, with_session
from spincycle.state import State

if TYPE_CHECKING:
    from spincycle.cli.backend import Backend
    from spincycle.v1 import job_log_pb2


@click.command("log", cls=SpincCommand, short_help=COMMANDS["log"].summary)
@click.argument("request_id", metavar="ID", shell_complete=complete_id)
@click.option(
    "--job",
    default="",
    metavar="JOB",
    shell_complete=complete_job,
    help="Only this job, by id or by name.",
)
@click.option("--failed", is_flag=True, help="Only tries that failed.")
@click.option("--follow", "-f", is_flag=True, help="Go on until the request has ended.")
@with_session
def log_command(session: Session, request_id: str, job: str, failed: bool, follow: bool) -> None:
    """Print the journal of a request: one entry for each try of each job, by their end.

    Example: spinc log dc2c0938di121n1t4i90 | more

    Example: spinc log dc2c0938di121n1t4i90 --failed --job restart
    """
    if follow:
        session.ask(lambda services: _followed(session, services, request_id, job, failed))
        return
    entries = session.ask(lambda services: _stored(services, request_id, job, failed))
    session.show(entries, [_name(entry) for entry in entries], lambda: _blocks(session, entries))


async def _stored(
    services: Backend, request_id: str, job: str, failed: bool
) -> list[job_log_pb2.JobLog]:
    wanted = EntryFilter(failed_only=failed)
    entries = [
        entry
        async for entry in services.entries(request_id, wanted)
        if _is_wanted(entry, job, failed)
    ]
    if not entries:
        # A request or a job that nobody knows has no entries either: tell the two apart.
        await _ensure_known(services, request_id, job)
    return sorted(entries, key=_by_end)


async def _ensure_known(services: Backend, request_id: str, job: str) -> None:
    if job:
        await job_ids(services, request_id, [job])
    else:
        await services.get(request_id)


def _by_end(entry: job_log_pb2.JobLog) -> tuple[int, int, str, int]:
    ended, began = entry.finished_at.ToNanoseconds(), entry.started_at.ToNanoseconds()
    return ended, began, entry.job_id, getattr(entry, "try")


async def _followed(
    session: Session, services: Backend, request_id: str, job: str, failed: bool
) -> None:
    if job:
        await _ensure_known(services, request_id, job)
    is_first = True
    async for entry in _until_ended(services, request_id):
        if not _is_wanted(entry, job, failed):
            continue
        if session.output == "table" and not is_first:
            session.terminal.line("--")
        block = _blocks(session, [entry])
        session.show_next(entry, _name(entry), block.copy)
        is_first = False


def _until_ended(services: Backend, request_id: str) -> AsyncIterator[job_log_pb2.JobLog]:
    from spincycle.cli.following import entries_to_the_end

    return entries_to_the_end(services, request_id)


def _is_wanted(entry: job_log_pb2.JobLog, job: str, failed: bool) -> bool:
    if failed and State(entry.state) is not State.FAIL:
        return False
    return not job or job in {entry.job_id, entry.name}


def _name(entry: job_log_pb2.JobLog) -> str:
    return f"{entry.job_id}/{getattr(entry, 'try')}"


def _blocks(session: Session, entries: list[job_log_pb2.JobLog]) -> list[str]:
    from spincycle.cli.layout import entry_lines
    from spincycle.cli.text import harmless

    lines: list[str] = []
    for place, entry in enumerate(entries):
        lines += [*(["--"] if place else []), *entry_lines(entry)]
    return [harmless(line) for line in lines] if session.terminal.is_screen else lines
