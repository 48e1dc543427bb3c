"""The command audit."""

from __future__ import annotations

import time

import click

from spincycle.cli.commands import COMMANDS
from spincycle.cli.completion import complete_id
from spincycle.cli.filters import MOST, parse_moment
from spincycle.cli.options import SpincCommand
from spincycle.cli.session import CommandSession, with_session

DEFAULT_LIMIT = 50


@click.command("audit", cls=SpincCommand, short_help=COMMANDS["audit"].summary)
@click.argument(
    "request_id", required=False, default="", metavar="[ID]", shell_complete=complete_id
)
@click.option("--denied", is_flag=True, help="Only denied attempts.")
@click.option(
    "--since",
    metavar="TIME",
    default="",
    help='Only entries from "YYYY-MM-DD HH:MM:SS UTC" on, or of a duration such as 90m.',
)
@click.option("--until", metavar="TIME", default="", help="Only entries before this time.")
@click.option("--caller", metavar="NAME", default="", help="Only entries of this caller.")
@click.option(
    "--operation",
    "operations",
    metavar="OPERATION",
    multiple=True,
    help="Only entries with this operation, for example stop; repeat it for several.",
)
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(0, MOST),
    default=DEFAULT_LIMIT,
    show_default=True,
    help="Print at most N entries; 0 for all.",
)
@with_session
def audit_command(
    session: CommandSession,
    request_id: str,
    denied: bool,
    since: str,
    until: str,
    caller: str,
    operations: tuple[str, ...],
    limit: int,
) -> None:
    """Print who did what, newest first: the audit log of all requests, or of one.

    It has changes and denied attempts, and steps that the installation took by itself. You need the
    operation admin.

    Example: spinc audit --denied --since 24h
    """
    from spincycle.cli.render.audit import audit_lines
    from spincycle.v1 import audit_service_pb2

    message = audit_service_pb2.AuditFilter(
        request_id=request_id, caller=caller, operations=operations, denied_only=denied
    )
    now = time.time()
    if since:
        message.since.FromNanoseconds(round(parse_moment("since", since, now) * 1e9))
    if until:
        message.until.FromNanoseconds(round(parse_moment("until", until, now) * 1e9))
    found = session.call(lambda services: services.audit(message, limit))
    session.show(
        found,
        dict.fromkeys(entry.request_id for entry in found if entry.request_id),
        lambda: audit_lines(found, session.terminal.table_width),
    )
