"""The command start: arguments, prompts, plan, confirmation."""

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
    values_to_remember,
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
@click.option("--yes", "-y", is_flag=True, help="Start without confirmation.")
@click.option("--wait", is_flag=True, help="Wait until the request ends.")
@click.option("--watch", is_flag=True, help="Watch the request live until it ends.")
@click.option(
    "--follow", "-f", is_flag=True, help="Like --watch, and print the output of each job."
)
@click.option(
    "--plan-hash", default="", metavar="HASH", help="Start only if the plan has this hash."
)
@click.option(
    "--priority",
    type=click.IntRange(-100, 100),
    default=0,
    metavar="N",
    help="A higher priority starts first.",
)
@click.option(
    "--idempotency-key", default="", metavar="KEY", help="Start at most one request with this key."
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
    all args if none is given, otherwise for missing required ones. Without a terminal, spinc does
    not prompt. Run 'spinc help <request>' to list the request args.

    name=@file reads the value from a file, and name=- from standard input, so that a secret is
    neither in the shell's history nor in the list of processes. A value that begins with @ is
    written name=@@text.

    With --wait, --watch or --follow, exits 0 if the request ended COMPLETE, 1 if FAIL, 3 if
    STOPPED.

    Example: spinc start rolling-restart hosts=web1,web2 --watch
    """
    from spincycle.v1 import request_manager_service_pb2

    given = parse_args(args)
    spec = spec_named(session.call(lambda services: services.specs()), request)
    check_names(spec, given)
    confirms = session.terminal.interactive and not yes
    final_args = without_defaults(spec, _complete_args(session, spec, given, confirms=confirms))
    command = full_command(spec, final_args, session.settings.given)
    if session.output == "table":
        session.terminal.lines(["", f"# {command}", ""])
    if confirms:
        plan_hash = _confirm(session, spec, final_args) or plan_hash
    message = request_manager_service_pb2.CreateRequest(
        type=spec.name,
        idempotency_key=idempotency_key or str(uuid.uuid4()),
        expected_plan_hash=plan_hash,
        priority=priority,
    )
    fill(message.args, final_args)
    created = session.call(lambda services: services.create(message))
    _store_values(spec, final_args)
    session.show(created, [created.id], lambda: _started_lines(session, created))
    session.terminal.out.flush()
    if watch or follow:
        from spincycle.cli.commands.watch import show_until_ended

        return show_until_ended(session, created.id, follow=follow)
    return _wait(session, created.id) if wait else 0


def _complete_args(
    session: CommandSession, spec: spec_pb2.RequestSpec, given: dict[str, Value], *, confirms: bool
) -> dict[str, Value]:
    """Prompt for missing arguments; without a terminal, a missing required one is an error."""
    lacking = missing(spec, given)
    if not session.terminal.interactive or (lacking and session.output != "table"):
        ensure_complete(spec, given)
        return given
    prompted = lacking if given or not confirms else list(spec.args)
    if not prompted:
        return given
    from spincycle.cli.history import ValueHistory, state_file
    from spincycle.cli.prompt import Prompt

    prompt = Prompt(session.terminal)
    earlier = ValueHistory(state_file(os.environ))
    entered: dict[str, Value] = {
        arg.name: prompt.value(arg, earlier.of(spec.name, arg.name)) for arg in prompted
    }
    return given | entered


def _confirm(session: CommandSession, spec: spec_pb2.RequestSpec, args: dict[str, Value]) -> str:
    """Show the plan, prompt for confirmation, and return the hash of the plan shown."""
    from spincycle.cli.prompt import Prompt
    from spincycle.cli.render.outline import plan_lines
    from spincycle.v1 import request_manager_service_pb2

    message = request_manager_service_pb2.PlanRequest(type=spec.name)
    fill(message.args, args)
    shown_hash = ""
    try:
        plan = session.call(lambda services: services.plan(message))
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


def _store_values(spec: spec_pb2.RequestSpec, args: dict[str, Value]) -> None:
    from spincycle.cli.history import ValueHistory, state_file

    remembered = values_to_remember(spec, args)
    ValueHistory(state_file(os.environ)).add(spec.name, remembered)


def _started_lines(session: CommandSession, created: request_pb2.Request) -> list[str]:
    options = "".join(f"--{name} {value} " for name, value in session.settings.given)
    return [
        f"OK, started {created.type} request {created.id}",
        "",
        f"  spinc status {options}{created.id}",
        "",
    ]


def _wait(session: CommandSession, request_id: str) -> int:
    from spincycle.cli.commands.watch import report_still_running
    from spincycle.cli.transport.resumable_stream import ResumableStream
    from spincycle.cli.watch import EXIT_CODES

    try:
        state = session.call(lambda services: ResumableStream(services, request_id).final_state())
    except KeyboardInterrupt:
        return report_still_running(session, request_id)
    if session.output == "table":
        session.terminal.line(f"{request_id} ended {state.name}")
    return EXIT_CODES[state]
