"""The command find."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from spincycle.cli.commands import COMMANDS
from spincycle.cli.filters import NAMES, parse_filters
from spincycle.cli.options import SpincCommand
from spincycle.cli.session import CommandSession, with_session

if TYPE_CHECKING:
    from collections.abc import Sequence


def _complete_filter(
    context: click.Context,
    parameter: click.Parameter,  # noqa: ARG001 # click hands it over
    incomplete: str,
) -> list[CompletionItem[str]]:
    given: Sequence[str] = context.params.get("filters") or ()
    taken = {word.partition("=")[0] for word in given}
    return [
        CompletionItem(f"{name}=")
        for name in NAMES
        if name not in taken and f"{name}=".startswith(incomplete)
    ]


@click.command("find", cls=SpincCommand, short_help=COMMANDS["find"].summary)
@click.argument("filters", nargs=-1, metavar="[FILTER=VALUE]...", shell_complete=_complete_filter)
@with_session
def find_command(session: CommandSession, filters: tuple[str, ...]) -> None:
    """Print the requests that match all filters, newest first.

    \b
    type=NAME             requests of this type
    states=A,B            requests in one of these states
    user=NAME             requests of this user
    args=K=V,K=V          requests with these args
    since=TIME            requests unfinished, or finished after TIME
    until=TIME            requests created before TIME
    limit=N               print at most N (default: 10; 0 for all)
    offset=N              skip the first N; needs a limit
    timezone=utc|local    time zone of the output (default: utc)

    TIME is "YYYY-MM-DD HH:MM:SS UTC", or a duration before now such as 90m.

    Example: spinc find type=rolling-restart states=fail,stopped since=24h
    """  # noqa: D301 # to click, a backspace means: keep the line breaks
    from spincycle.cli.render.layout import find_lines

    search = parse_filters(filters)
    found = session.call(lambda services: services.find(search.message(), search.limit))
    session.show(
        found,
        [request.id for request in found],
        lambda: find_lines(found, search.zone, session.terminal.table_width),
    )
