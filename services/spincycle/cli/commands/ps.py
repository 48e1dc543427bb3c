"""The command ps."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import click

from spincycle.cli.commands import COMMANDS
from spincycle.cli.completion import complete_id
from spincycle.cli.options import SpincCommand
from spincycle.cli.session import CommandSession, with_session

if TYPE_CHECKING:
    from spincycle.cli.transport.backend import Backend
    from spincycle.v1 import request_manager_service_pb2


@click.command("ps", cls=SpincCommand, short_help=COMMANDS["ps"].summary)
@click.argument(
    "request_id", required=False, default="", metavar="[ID]", shell_complete=complete_id
)
@click.option("--watch", "-w", is_flag=True, help="Refresh the output until Ctrl-C.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=1.0,
    metavar="SECONDS",
    show_default="1",
    help="Time between two refreshes with --watch.",
)
@with_session
def ps_command(session: CommandSession, request_id: str, watch: bool, interval: float) -> None:
    """Show the running jobs of all requests, or of one request.

    Prints nothing if no job is running.

    Example: spinc ps dc2c0938di121n1t4i90
    """
    if watch:
        session.call(lambda services: _refresh(session, services, request_id, interval))
    running = session.call(lambda services: services.running(request_id))
    _show(session, running)
    for runner in running.silent_runner_ids:
        session.terminal.complain(
            f"warning: runner {runner} did not respond; its jobs are not listed"
        )


def _show(
    session: CommandSession, running: request_manager_service_pb2.ListRunningJobsResponse
) -> None:
    session.show(
        running.status,
        dict.fromkeys(job.request_id for job in running.status.jobs),
        lambda: _lines(session, running),
    )


def _lines(
    session: CommandSession, running: request_manager_service_pb2.ListRunningJobsResponse
) -> list[str]:
    from spincycle.cli.render.layout import ps_lines

    return ps_lines(running.status, time.time(), session.terminal.table_width)


async def _refresh(
    session: CommandSession, services: Backend, request_id: str, interval: float
) -> None:
    from spincycle.cli.render.painter import Painter
    from spincycle.cli.render.tree import Line

    if session.output != "table" or not session.terminal.is_live:
        while True:
            running = await services.running(request_id)
            if session.output in {"json", "yaml"}:
                session.show_next(running.status, "", list)
            else:
                _show(session, running)
            session.terminal.out.flush()
            await asyncio.sleep(interval)
    painter = Painter(session.terminal)
    with painter:
        while True:
            lines = _lines(session, await services.running(request_id)) or ["no running jobs"]
            room = max(session.terminal.rows - 2, 1)
            picture: list[Line] = [[(line, "")] for line in lines[:room]]
            if len(lines) > room:
                picture[-1] = [(f"and {len(lines) - room + 1} more", "dim")]
            painter.paint(picture)
            await asyncio.sleep(interval)
