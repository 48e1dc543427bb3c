"""The commands whoami and can."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from spincycle.cli.commands import COMMANDS
from spincycle.cli.completion import complete_request
from spincycle.cli.options import SpincCommand
from spincycle.cli.problem import UNDETERMINED
from spincycle.cli.session import CommandSession, exit_code_on_error, with_session
from spincycle.model.operation import Operation
from spincycle.model.request_id import is_request_id

if TYPE_CHECKING:
    from spincycle.v1 import access_service_pb2


def _complete_operation(
    context: click.Context,  # noqa: ARG001 # click hands it over
    parameter: click.Parameter,  # noqa: ARG001 # click hands it over
    incomplete: str,
) -> list[CompletionItem[str]]:
    return [CompletionItem(one.value) for one in Operation if one.value.startswith(incomplete)]


@click.command("whoami", cls=SpincCommand, short_help=COMMANDS["whoami"].summary)
@with_session
def whoami_command(session: CommandSession) -> None:
    """Print your name and roles, and the authenticator that accepted you.

    The name is the user of the requests that you start.

    Example: spinc whoami
    """
    caller = session.call(lambda services: services.who_am_i())
    session.show(caller, [caller.name], lambda: _caller_lines(session, caller))


def _caller_lines(session: CommandSession, caller: access_service_pb2.WhoAmIResponse) -> list[str]:
    from spincycle.cli.render.access import caller_lines

    return caller_lines(caller, session.settings.target, time.time(), session.terminal.table_width)


@click.command("can", cls=SpincCommand, short_help=COMMANDS["can"].summary)
@click.argument("operation", shell_complete=_complete_operation)
@click.argument(
    "subject", required=False, default="", metavar="[REQUEST|ID]", shell_complete=complete_request
)
@exit_code_on_error(UNDETERMINED)
@with_session
def can_command(session: CommandSession, operation: str, subject: str) -> int:
    """Explain whether you may do something, and do not do it.

    OPERATION is view, start, stop, suspend, resume, rerun or skip, with the name of a request or
    the id of one that exists; or admin or impersonate. Exits 0 if you may, 1 if you may not, and 2
    if that cannot be found out.

    Example: spinc can start rolling-restart

    Example: spinc can stop dc2c0938di121n1t4i90
    """
    from spincycle.v1 import access_service_pb2

    message = access_service_pb2.CheckAccessRequest(operation=operation)
    if is_request_id(subject):
        message.request_id = subject
    else:
        message.request_type = subject
    decision = session.call(lambda services: services.check_access(message))
    word = "yes" if decision.allowed else "no"
    session.show(decision, [word], lambda: _decision_lines(session, decision))
    return 0 if decision.allowed else 1


def _decision_lines(
    session: CommandSession, decision: access_service_pb2.CheckAccessResponse
) -> list[str]:
    from spincycle.cli.render.access import decision_lines

    return decision_lines(decision, session.terminal.table_width)
