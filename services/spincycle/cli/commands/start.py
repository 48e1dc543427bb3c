"""Starting a request: arguments, questions, the plan, the ok."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING

import click

from spincycle.cli.arguments import (
    check_names,
    ensure_complete,
    fill,
    full_command,
    missing,
    parse_args,
    without_defaults,
)
from spincycle.cli.commands import COMMANDS
from spincycle.cli.completion import complete_args, complete_request
from spincycle.cli.options import SpincCommand
from spincycle.cli.problem import Problem
from spincycle.cli.session import CommandSession, with_session
from spincycle.cli.specs import spec_named

if TYPE_CHECKING:
    from spincycle.model.job_chain import Value
    from spincycle.v1 import request_pb2, spec_pb2


@click.command("start", cls=SpincCommand, short_help=COMMANDS["start"].summary)
@click.argument("request", shell_complete=complete_request)
@click.argument("args", nargs=-1, metavar="[NAME=VALUE]...", shell_complete=complete_args)
@click.option("--yes", "-y", is_flag=True, help="Start without asking for the final ok.")
@click.option("--wait", is_flag=True, help="Return when the request has ended.")
@click.option("--watch", is_flag=True, help="Show the request live until it has ended.")
@click.option(
    "--follow", "-f", is_flag=True, help="As --watch, and also print what each job prints."
)
@click.option("--plan-hash", default="", metavar="HASH", help="Start only if the plan is this one.")
@click.option(
    "--priority",
    type=click.IntRange(-100, 100),
    default=0,
    metavar="N",
    help="From -100 to 100; higher goes first.",
)
@click.option(
    "--idempotency-key", default="", metavar="KEY", help="Start only once under this key."
)
@with_session
def start_command(
    session: CommandSession,
    request: str,
    args: tuple[str, ...],
    yes: bool,
    wait: bool,
    watch: bool,
    follow: bool,
    plan_hash: str,
    priority: int,
    idempotency_key: str,
) -> int:
    """Start a new request.

    Request args can be provided as name=value (or name:=JSON), else spinc prompts for them: for
    all if none is given, and for the missing required ones otherwise. Without a terminal there
    are no questions. Run 'spinc help <request>' to list the request args.

    With --wait or --watch, exits 0 if the request ended COMPLETE, 1 if FAIL, 3 if STOPPED.

    Example: spinc start rolling-restart hosts=web1,web2 --watch
    """
    from spincycle.v1 import request_manager_service_pb2

    given = parse_args(args)
    spec = spec_named(session.ask(lambda services: services.specs()), request)
    check_names(spec, given)
    asks = session.terminal.interactive and not yes
    wanted = without_defaults(spec, _completed(session, spec, given, asks))
    command = full_command(spec, wanted, session.settings.given)
    if session.output == "table":
        session.terminal.lines(["", f"# {command}", ""])
    if asks:
        plan_hash = _confirmed(session, spec, wanted) or plan_hash
    wish = request_manager_service_pb2.CreateRequest(
        type=spec.name,
        idempotency_key=idempotency_key or str(uuid.uuid4()),
        expected_plan_hash=plan_hash,
        priority=priority,
    )
    fill(wish.args, wanted)
    made = session.ask(lambda services: services.create(wish))
    _remember(spec, wanted)
    session.show(made, [made.id], lambda: _started(session, made))
    session.terminal.out.flush()
    if watch or follow:
        from spincycle.cli.commands.watch import show_until_ended

        return show_until_ended(session, made.id, follow)
    return _waited(session, made.id) if wait else 0


def _completed(
    session: CommandSession, spec: spec_pb2.RequestSpec, given: dict[str, Value], asks: bool
) -> dict[str, Value]:
    """The arguments with the answers to the questions that are still open."""
    lacking = missing(spec, given)
    if not session.terminal.interactive or (lacking and session.output != "table"):
        ensure_complete(spec, given)
        return given
    open_questions = lacking if given or not asks else list(spec.args)
    if not open_questions:
        return given
    from spincycle.cli.history import ValueHistory, state_file
    from spincycle.cli.prompt import Prompt

    prompt = Prompt(session.terminal)
    earlier = ValueHistory(state_file(os.environ))
    answers: dict[str, Value] = {
        arg.name: prompt.value(arg, earlier.of(spec.name, arg.name)) for arg in open_questions
    }
    return given | answers


def _confirmed(
    session: CommandSession, spec: spec_pb2.RequestSpec, wanted: dict[str, Value]
) -> str:
    """Show what would be done and ask for the ok; answer the hash of what was shown."""
    from spincycle.cli.prompt import Prompt
    from spincycle.cli.render.outline import plan_lines
    from spincycle.v1 import request_manager_service_pb2

    asked = request_manager_service_pb2.PlanRequest(type=spec.name)
    fill(asked.args, wanted)
    shown_hash = ""
    try:
        plan = session.ask(lambda services: services.plan(asked))
    except Problem as problem:
        if problem.reason not in {"NOT_YET_THERE", "UNIMPLEMENTED"}:
            raise
    else:
        shown_hash = plan.plan_hash
        room = max(session.terminal.rows - 8, 5)
        session.terminal.lines(plan_lines(plan, session.terminal, room))
        session.terminal.line()
    Prompt(session.terminal).confirm()
    return shown_hash


def _remember(spec: spec_pb2.RequestSpec, wanted: dict[str, Value]) -> None:
    from spincycle.cli.history import ValueHistory, state_file

    open_args = {arg.name for arg in spec.args if not arg.secret}
    ValueHistory(state_file(os.environ)).keep(
        spec.name,
        {
            name: value
            for name, value in wanted.items()
            if name in open_args and isinstance(value, str) and value
        },
    )


def _started(session: CommandSession, made: request_pb2.Request) -> list[str]:
    options = "".join(f"--{name} {value} " for name, value in session.settings.given)
    return [
        f"OK, started {made.type} request {made.id}",
        "",
        f"  spinc status {options}{made.id}",
        "",
    ]


def _waited(session: CommandSession, request_id: str) -> int:
    from spincycle.cli.commands.watch import goes_on
    from spincycle.cli.following import wait_until_ended
    from spincycle.cli.watch import EXIT_CODES

    try:
        state = session.ask(lambda services: wait_until_ended(services, request_id))
    except KeyboardInterrupt:
        return goes_on(session, request_id)
    if session.output == "table":
        session.terminal.line(f"{request_id} ended {state.name}")
    return EXIT_CODES[state]
