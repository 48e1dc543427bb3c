"""What a request would do."""

from __future__ import annotations

import click

from spincycle.cli.arguments import check_names, fill, parse_args
from spincycle.cli.commands import COMMANDS
from spincycle.cli.completing import complete_args, complete_request
from spincycle.cli.options import SpincCommand
from spincycle.cli.session import Session, with_session
from spincycle.cli.specs import spec_named

_ALL = 1_000_000
"""More lines than any plan has."""


@click.command("plan", cls=SpincCommand, short_help=COMMANDS["plan"].summary)
@click.argument("request", shell_complete=complete_request)
@click.argument("args", nargs=-1, metavar="[NAME=VALUE]...", shell_complete=complete_args)
@with_session
def plan_command(session: Session, request: str, args: tuple[str, ...]) -> None:
    """Print the sequences and jobs that a request would run, and the hash of that plan.

    'spinc start --plan-hash HASH' then starts exactly that, or nothing.

    Example: spinc plan rolling-restart hosts=web1,web2
    """
    from spincycle.cli.outline import plan_lines
    from spincycle.v1 import request_manager_service_pb2

    given = parse_args(args)
    spec = spec_named(session.ask(lambda services: services.specs()), request)
    check_names(spec, given)
    asked = request_manager_service_pb2.PlanRequest(type=spec.name)
    fill(asked.args, given)
    plan = session.ask(lambda services: services.plan(asked))
    session.show(plan, [plan.hash], lambda: plan_lines(plan, session.terminal, _ALL))
