"""The commands help and version, and the list of requests."""

from __future__ import annotations

import click

from spincycle.cli.commands import COMMANDS
from spincycle.cli.completion import complete_topic
from spincycle.cli.options import HELP, SpincCommand, given_options
from spincycle.cli.problem import Problem
from spincycle.cli.render.terminal import Terminal
from spincycle.cli.render.text import hanging
from spincycle.cli.session import CommandSession, with_session

_FLAGS = {
    "--addr": HELP["addr"],
    "--config": HELP["config"],
    "--context": HELP["context"],
    "--debug": HELP["debug"],
    "--env": HELP["env"],
    "--help, -h": "Print help",
    "--job-log": HELP["job-log"],
    "--output, -o": HELP["output"],
    "--rest": HELP["rest"],
    "--timeout": HELP["timeout"],
    "--version": "Print version",
}


def usage_lines(width: int | None = None) -> list[str]:
    """Return the usage: global options and commands."""
    lines = hanging("Usage: spinc [flags] command [request|id] [args]", 7, width)
    lines += ["", "Flags:"]
    for flag, text in _FLAGS.items():
        lines += hanging(f"  {flag:<12}  {text}", 16, width)
    lines.append("Commands:")
    for name, entry in COMMANDS.items():
        line = f"  {name:<10} {entry.args:<10}  {entry.summary}"
        lines += hanging(line.rstrip(), 25, width)
    return [*lines, "", "Run spinc (no command) to list requests"]


@click.command("listing", cls=SpincCommand)
@with_session
def listing_command(session: CommandSession) -> None:
    """List the requests that can be started."""
    if session.output != "table":
        specs = session.call(lambda services: services.specs())
        session.show(specs, [spec.name for spec in specs], list)
        return
    out = session.terminal
    out.lines([f"Request Manager address: {session.settings.target}", "", "Requests:"])
    # Print the header before the call, which can take until its timeout.
    out.out.flush()
    try:
        names = [spec.name for spec in session.call(lambda services: services.specs())]
    except Problem as problem:
        names = problem.lines()
    out.lines(f"  {name}" for name in names)
    out.lines(["", "spinc help  <request>", "spinc start <request>"])


@click.command(
    "help",
    cls=SpincCommand,
    short_help=COMMANDS["help"].summary,
)
@click.argument("topic", required=False, metavar="[COMMAND|REQUEST]", shell_complete=complete_topic)
@click.pass_context
def help_command(context: click.Context, topic: str | None) -> None:
    """Print usage, the help of a command, or the args of a request.

    If a command and a request have the same name, the help of the command is printed.

    Example: spinc help rolling-restart
    """
    if topic is None:
        click.echo("\n".join(usage_lines(Terminal().table_width)))
    elif topic in COMMANDS:
        group = context.find_root().command
        assert isinstance(group, click.Group)
        command = group.get_command(context, topic)
        assert command is not None
        with click.Context(command, info_name=topic, parent=context.find_root()) as of_command:
            click.echo(command.get_help(of_command))
    else:
        context.invoke(_request_help, name=topic)


@click.command("request", cls=SpincCommand)
@click.argument("name")
@with_session
def _request_help(session: CommandSession, name: str) -> None:
    from spincycle.cli.render.layout import arg_lines
    from spincycle.cli.specs import spec_named

    spec = spec_named(session.call(lambda services: services.specs()), name)
    session.show(
        spec,
        [spec.name],
        lambda: [
            f"Request Manager address: {session.settings.target}",
            "",
            f"{spec.name} request args (* required)",
            "",
            *arg_lines(spec, session.terminal.table_width),
            "",
            f"To start a {spec.name} request, run 'spinc start {spec.name}'",
        ],
    )


@click.command("version", cls=SpincCommand, short_help=COMMANDS["version"].summary)
@click.pass_context
def version_command(context: click.Context) -> None:
    """Print the version of spinc.

    Example: spinc version
    """
    from spincycle.runtime.version import VERSION

    output = given_options(context).get("output", "table")
    if output == "table":
        click.echo(f"spinc {VERSION}")
    elif output == "name":
        click.echo(VERSION)
    else:
        from spincycle.cli.render.machine import dump

        click.echo(dump({"version": VERSION}, output))
