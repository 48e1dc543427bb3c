"""The command plan."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from spincycle.cli.arguments import check_names, ensure_complete, fill, parse_args
from spincycle.cli.commands import COMMANDS
from spincycle.cli.completion import complete_args, complete_request
from spincycle.cli.options import SpincCommand
from spincycle.cli.session import CommandSession, with_session
from spincycle.cli.specs import spec_named

if TYPE_CHECKING:
    from spincycle.v1 import job_chain_pb2

_UNLIMITED = 1_000_000
"""Height in lines that no plan exceeds."""


@click.command("plan", cls=SpincCommand, short_help=COMMANDS["plan"].summary)
@click.argument("request", shell_complete=complete_request)
@click.argument("args", nargs=-1, metavar="[NAME=VALUE]...", shell_complete=complete_args)
@click.option(
    "--format",
    "drawing",
    type=click.Choice(["tree", "dot", "mermaid"]),
    default="tree",
    show_default=True,
    help="Drawing of the plan; -o json prints it as data.",
)
@click.option(
    "--diff",
    "earlier",
    metavar="ID",
    default="",
    help="Print only the differences from the chain of request ID.",
)
@with_session
def plan_command(
    session: CommandSession, request: str, args: tuple[str, ...], drawing: str, earlier: str
) -> None:
    """Print the sequences and jobs that a request would run, and the hash of the plan.

    'spinc start --plan-hash HASH' starts the request only if its plan has not changed. Request args
    are given as to 'spinc start', also as name=@file and name=-.

    Example: spinc plan rolling-restart hosts=web1,web2
    """
    from spincycle.cli.render.outline import plan_lines
    from spincycle.v1 import request_manager_service_pb2

    given = parse_args(args)
    spec = spec_named(session.call(lambda services: services.specs()), request)
    check_names(spec, given)
    ensure_complete(spec, given)
    message = request_manager_service_pb2.PlanRequest(type=spec.name)
    fill(message.args, given)
    plan = session.call(lambda services: services.plan(message))
    if earlier:
        chain = session.call(lambda services: services.job_chain(earlier))
        _show_differences(session, _differences(chain, plan.job_chain))
    elif drawing != "tree":
        session.terminal.lines(_drawn(plan.job_chain, drawing))
    else:
        session.show(plan, [plan.plan_hash], lambda: plan_lines(plan, session.terminal, _UNLIMITED))


def _drawn(chain: job_chain_pb2.JobChain, drawing: str) -> Iterable[str]:
    from spincycle.graph.plan import make_plan
    from spincycle.graph.plan_drawing import as_dot, as_mermaid
    from spincycle.wire.chain import decode_chain

    return (as_dot if drawing == "dot" else as_mermaid)(make_plan(decode_chain(chain)))


def _differences(before: job_chain_pb2.JobChain, after: job_chain_pb2.JobChain) -> list[str]:
    from spincycle.graph.plan import make_plan
    from spincycle.graph.plan_diff import diff
    from spincycle.wire.chain import decode_chain

    changes = diff(make_plan(decode_chain(before)), make_plan(decode_chain(after)))
    return [str(change) for change in changes]


def _show_differences(session: CommandSession, changes: list[str]) -> None:
    if session.output in {"table", "name"}:
        session.terminal.lines(changes or ["no differences"])
        return
    from spincycle.cli.render.machine import dump

    session.terminal.line(dump([*changes], session.output))
