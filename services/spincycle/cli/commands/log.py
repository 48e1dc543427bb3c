"""What the jobs of a request have done and printed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from spincycle.cli.commands import COMMANDS
from spincycle.cli.completion import complete_id, complete_job
from spincycle.cli.jobs import job_ids
from spincycle.cli.options import SpincCommand
from spincycle.cli.session import CommandSession, with_session
from spincycle.cli.transport.backend import EntryFilter
from spincycle.model.state import State

if TYPE_CHECKING:
    from spincycle.cli.render.printed import JobOutput
    from spincycle.cli.transport.backend import Backend
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
@click.option(
    "--follow",
    "-f",
    is_flag=True,
    help="Go on until the request has ended, and print what running jobs print.",
)
@with_session
def log_command(
    session: CommandSession, request_id: str, job: str, failed: bool, follow: bool
) -> None:
    """Print the journal of a request: one entry for each try of each job, by their end.

    With --follow, a line of a running job begins with its id, its try and its name; then comes
    | if it is of the standard output, ! if of the standard error. Its entry holds the rest.

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
    return ended, began, entry.job_id, entry.try_number


async def _followed(
    session: CommandSession, services: Backend, request_id: str, job: str, failed: bool
) -> None:
    if job:
        await _ensure_known(services, request_id, job)
    from spincycle.cli.following import entries_to_the_end
    from spincycle.cli.render.printed import JobOutput

    shown = _Followed(session)
    # Whether a try fails is not known while it runs, and a name names what has ended.
    live_output = not failed and session.output != "name"
    async for told in entries_to_the_end(services, request_id, live_output):
        if isinstance(told, JobOutput):
            if job in {"", told.job_id, told.name}:
                shown.output(told)
        elif _is_wanted(told, job, failed):
            shown.entry(told)
    shown.end()


class _Followed:
    """Prints output and entries as they come, two dashes before and after each entry."""

    def __init__(self, session: CommandSession) -> None:
        from spincycle.cli.render.printed_lines import PrintedLines
        from spincycle.cli.render.text import one_line

        self._session = session
        self._lines = PrintedLines(
            lambda piece: one_line(f"{_name(piece)} {piece.name}"), session.terminal
        )
        self._printed = ""

    def output(self, piece: JobOutput) -> None:
        """Print a piece of output: the lines that it ends."""
        if self._session.output == "table":
            self._print("output", self._lines.add(piece))
        else:
            self._session.show_next(piece, "", list)

    def entry(self, entry: job_log_pb2.JobLog) -> None:
        """Print an entry; without what was printed before, where a person reads it."""
        if self._session.output == "table":
            lines, told = self._lines.end(entry.job_id, entry.try_number)
            self._print("output", lines)
            self._print("entry", _blocks(self._session, [entry], not told))
        else:
            self._session.show_next(entry, _name(entry), list)

    def end(self) -> None:
        """Print what tries without an entry have begun to print."""
        self._print("output", self._lines.end_all())

    def _print(self, what: str, lines: list[str]) -> None:
        if not lines:
            return
        terminal = self._session.terminal
        if self._printed and "entry" in {what, self._printed}:
            terminal.line("--")
        terminal.lines(lines)
        terminal.out.flush()
        self._printed = what


def _is_wanted(entry: job_log_pb2.JobLog, job: str, failed: bool) -> bool:
    if failed and State(entry.state) is not State.FAIL:
        return False
    return not job or job in {entry.job_id, entry.name}


def _name(entry: job_log_pb2.JobLog | JobOutput) -> str:
    return f"{entry.job_id}/{entry.try_number}"


def _blocks(
    session: CommandSession, entries: list[job_log_pb2.JobLog], with_output: bool = True
) -> list[str]:
    from spincycle.cli.render.layout import entry_lines
    from spincycle.cli.render.text import harmless

    lines: list[str] = []
    for place, entry in enumerate(entries):
        lines += [*(["--"] if place else []), *entry_lines(entry, with_output)]
    return [harmless(line) for line in lines] if session.terminal.is_screen else lines
