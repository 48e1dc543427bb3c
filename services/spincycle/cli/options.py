"""The global options, accepted before and after every command."""

from __future__ import annotations

from typing import Any

import click

from spincycle.cli.render.terminal import Terminal

KEY = "spinc.options"

HELP = {
    "addr": "Request Manager address (default: 127.0.0.1:32310)",
    "job-log": "Job log address (default: 127.0.0.1:32312)",
    "rest": "Gateway URL, used instead of --addr and --job-log",
    "context": "Context to use for this call",
    "config": "Config files (default: /etc/spinc/spinc.yaml,~/.spinc.yaml)",
    "timeout": "API timeout, milliseconds (default: 5000 ms)",
    "output": "Output format: table, json, yaml or name (default: table)",
    "env": "Environment (dev, staging, production)",
    "debug": "Print debug to stderr",
}
"""Help text by option; those of the original are worded as it words them."""

_METAVARS = {
    "addr": "HOST:PORT",
    "job-log": "HOST:PORT",
    "rest": "URL",
    "context": "NAME",
    "config": "FILES",
    "timeout": "MS",
    "env": "NAME",
}


def global_options(*, hidden: bool) -> list[click.Parameter]:
    """Return new option objects; they store their values in the context's meta."""
    options: list[click.Parameter] = [
        click.Option(
            [f"--{name}"],
            metavar=metavar,
            expose_value=False,
            callback=_keep,
            hidden=hidden,
            help=HELP[name],
        )
        for name, metavar in _METAVARS.items()
    ]
    options.append(
        click.Option(
            ["--output", "-o"],
            type=click.Choice(["table", "json", "yaml", "name"]),
            expose_value=False,
            callback=_keep,
            hidden=hidden,
            help=HELP["output"],
        )
    )
    options.append(
        click.Option(
            ["--debug"],
            is_flag=True,
            expose_value=False,
            callback=_keep,
            hidden=hidden,
            help=HELP["debug"],
        )
    )
    return options


def given_options(context: click.Context) -> dict[str, Any]:
    """Return the values given so far, by option name."""
    options: dict[str, Any] = context.meta.setdefault(KEY, {})
    return options


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value not in {None, False}:
        given_options(context)[(parameter.name or "").replace("_", "-")] = value


class SpincCommand(click.Command):
    """A command that also accepts the global options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", {"help_option_names": ["--help", "-h"]})
        kwargs.setdefault(
            "epilog", "Global options are accepted too; run 'spinc help' to list them."
        )
        super().__init__(*args, **kwargs)
        self.params += global_options(hidden=True)

    def get_help(self, ctx: click.Context) -> str:
        """Return the help, wrapped also on terminals narrower than click supports."""
        columns = Terminal().table_width
        if columns is not None:
            ctx.terminal_width = max(min(columns, 80) - 2, 20)
        return super().get_help(ctx)
