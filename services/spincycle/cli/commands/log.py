"""The command log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from spincycle.cli.commands import COMMANDS
from spincycle.cli.completion import complete_id, complete_job
from spincycle.cli.jobs import select_jobs
from spincycle.cli.options import SpincCommand
from spincycle.cli.problem import Problem
from spincycle.cli.session import CommandSession, with_session
from spincycle.cli.transport.backend import EntryFilter
from spincycle.model.state import State

if TYPE_CHECKING:
    from spincycle.cli.jobs import JobSelection
    from spincycle.cli.render.terminal import Terminal
    from spincycle.cli.transport.backend import Backend
    from spincycle.cli.transport.output_deduplicator import JobOutput
    from spincycle.v1 import job_log_pb2

_ID = 4
"""Characters of a job's id."""


@click.command("log", cls=SpincCommand, short_help=COMMANDS["log"].summary)
@click.argument("request_id", metavar="ID", shell_complete=complete_id)
@click.argument("job", required=False, default="", metavar="[JOB]", shell_complete=complete_job)
@click.option(
    "--job",
    "job_option",
    default="",
    metavar="JOB",
    shell_complete=complete_job,
    help="Same as JOB.",
)
@click.option("--failed", is_flag=True, help="Print only failed tries.")
@click.option(
    "--follow",
    "-f",
    is_flag=True,
    help="Print new entries and the output of running jobs until the request ends.",
)
@with_session
def log_command(
    session: CommandSession,
    request_id: str,
    job: str,
    job_option: str,
    failed: bool,
    follow: bool,
) -> None:
    """Print the journal of a request: one entry per finished try of each job, in order of end.

    JOB selects jobs by id, by path, by the end of a path, or by name. What several jobs have in
    common selects all of them.

    With --follow, each line of a running job begins with its path, id and try, then | for
    standard output or ! for standard error.

    Example: spinc log dc2c0938di121n1t4i90 | more

    Example: spinc log dc2c0938di121n1t4i90 --failed

    Example: spinc log dc2c0938di121n1t4i90 "web1 / restart"
    """
    if job and job_option:
        raise Problem("JOB is given twice", "leave out --job")
    job = job or job_option
    if follow:
        session.call(lambda services: _follow(session, services, request_id, job, failed=failed))
        return
    entries = session.call(lambda services: _read_entries(services, request_id, job, failed=failed))
    session.show(entries, [_name(entry) for entry in entries], lambda: _blocks(session, entries))


async def _read_entries(
    services: Backend, request_id: str, job: str, *, failed: bool
) -> list[job_log_pb2.JobLog]:
    selection = None
    # The journal knows a job that ran by its id, without the chain.
    entries = await _entries(services, request_id, job, failed=failed) if len(job) == _ID else []
    if not entries:
        only = None
        if job:
            (selection,) = await select_jobs(services, request_id, [job])
            only = selection.only_job
        entries = await _entries(services, request_id, only.id if only else "", failed=failed)
    if not entries and not job:
        # An unknown request has no entries either, but is an error.
        await services.get(request_id)
    matching = [entry for entry in entries if _matches(entry, selection, failed=failed)]
    return sorted(matching, key=_by_end)


async def _entries(
    services: Backend, request_id: str, job_id: str, *, failed: bool
) -> list[job_log_pb2.JobLog]:
    selected = EntryFilter(job_id=job_id, failed_only=failed)
    return [entry async for entry in services.entries(request_id, selected)]


def _by_end(entry: job_log_pb2.JobLog) -> tuple[int, int, str, int]:
    ended, began = entry.finished_at.ToNanoseconds(), entry.started_at.ToNanoseconds()
    return ended, began, entry.job_id, entry.try_number


async def _follow(
    session: CommandSession, services: Backend, request_id: str, job: str, *, failed: bool
) -> None:
    selection = (await select_jobs(services, request_id, [job]))[0] if job else None
    from spincycle.cli.transport.output_deduplicator import JobOutput
    from spincycle.cli.transport.resumable_stream import ResumableStream

    printer = _LogPrinter(session)
    # With --failed a running try cannot be selected yet; names are those of finished tries.
    live_output = not failed and session.output != "name"
    async for item in ResumableStream(services, request_id).entries(live_output=live_output):
        if isinstance(item, JobOutput):
            if selection is None or selection.includes(item):
                printer.output(item)
        elif _matches(item, selection, failed=failed):
            printer.entry(item)
    printer.end()


class _LogPrinter:
    """Prints output and entries as they arrive, with -- before and after each entry."""

    def __init__(self, session: CommandSession) -> None:
        from spincycle.cli.render.output_lines import OutputLines

        self._session = session
        self._lines = OutputLines(lambda piece: _heading(piece, session.terminal), session.terminal)
        self._last_kind = ""

    def output(self, piece: JobOutput) -> None:
        """Print the lines completed by a piece of output."""
        if self._session.output == "table":
            self._print("output", self._lines.add(piece))
        else:
            self._session.show_next(piece, "", list)

    def entry(self, entry: job_log_pb2.JobLog) -> None:
        """Print an entry; as a table without output that was printed before."""
        if self._session.output == "table":
            lines, has_output = self._lines.end(entry.job_id, entry.try_number)
            self._print("output", lines)
            self._print("entry", _blocks(self._session, [entry], with_output=not has_output))
        else:
            self._session.show_next(entry, _name(entry), list)

    def end(self) -> None:
        """Print the incomplete lines of tries without an entry."""
        self._print("output", self._lines.end_all())

    def _print(self, kind: str, lines: list[str]) -> None:
        if not lines:
            return
        terminal = self._session.terminal
        if self._last_kind and "entry" in {kind, self._last_kind}:
            terminal.line("--")
        terminal.lines(lines)
        terminal.out.flush()
        self._last_kind = kind


def _matches(entry: job_log_pb2.JobLog, selection: JobSelection | None, *, failed: bool) -> bool:
    if failed and State(entry.state) is not State.FAIL:
        return False
    return selection is None or selection.includes(entry)


def _heading(piece: JobOutput, terminal: Terminal) -> str:
    from spincycle.cli.render.job_path import job_title, shorten_path
    from spincycle.cli.render.output_lines import prefix_width

    title, width = job_title(piece), prefix_width(terminal)
    return f"{title if width is None else shorten_path(title, width)} {_name(piece)}"


def _name(entry: job_log_pb2.JobLog | JobOutput) -> str:
    return f"{entry.job_id}/{entry.try_number}"


def _blocks(
    session: CommandSession, entries: list[job_log_pb2.JobLog], *, with_output: bool = True
) -> list[str]:
    from spincycle.cli.render.layout import entry_lines
    from spincycle.cli.render.text import printable

    lines: list[str] = []
    for place, entry in enumerate(entries):
        lines += [*(["--"] if place else []), *entry_lines(entry, with_output=with_output)]
    return [printable(line) for line in lines] if session.terminal.is_screen else lines
