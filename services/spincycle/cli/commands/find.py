"""The history of requests."""

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
    """Print requests, newest first, that match all filters.

    \b
    type=NAME             requests of this type
    states=A,B            in one of these states
    user=NAME             of this user
    args=K=V,K=V          given these args
    since=TIME            finished after, or not finished
    until=TIME            created before
    limit=N               at most so many (default: 10; 0 for all)
    offset=N              leave out the first N
    timezone=utc|local    zone of the times printed

    TIME is "YYYY-MM-DD HH:MM:SS UTC", or a span before now such as 90m.

    Example: spinc find type=rolling-restart states=fail,stopped since=24h
    """  # noqa: D301 # click takes the backspace as "keep these lines"
    from spincycle.cli.render.layout import find_lines

    search = parse_filters(filters)
    found = session.ask(lambda services: services.find(search.message(), search.limit))
    session.show(
        found,
        [request.id for request in found],
        lambda: find_lines(found, search.zone, session.terminal.table_width),
    )
