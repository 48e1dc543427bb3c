"""The command `spincycle`, for those who run the services; spinc is for those who use them."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import ClassVar

import click

from spincycle.runtime.version import VERSION


class LateGroup(click.Group):
    """Imports a command when it is asked for, so that each of them starts fast."""

    places: ClassVar[dict[str, tuple[str, str]]] = {
        "dev": ("spincycle.dev.command:dev", "Start everything on this machine."),
        "demo": ("spincycle.dev.demo:demo", "Start everything, show a rolling restart, stop."),
        "init": ("spincycle.admin.init:init", "Write a small project to start from."),
        "lint": ("spincycle.admin.lint:lint_command", "Check spec files."),
        "migrate": ("spincycle.admin.migrate:migrate", "Bring the databases up to date."),
        "repair-fences": (
            "spincycle.admin.repair_fences:repair_fences",
            "Lower fences that no request manager can outrun.",
        ),
        "prune": ("spincycle.admin.prune:prune", "Delete requests that ended long ago."),
    }

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 # the signature is given
        """All of them, in the order in which one meets them."""
        return list(self.places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command, imported now."""
        if cmd_name not in self.places:
            return None
        module, _, attribute = self.places[cmd_name][0].partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List them without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, place[1]) for name, place in self.places.items()])


@click.group(cls=LateGroup)
@click.version_option(VERSION, prog_name="spincycle")
def main() -> None:
    """Run Spin Cycle on this machine, and look after its specs and databases."""
    # Where people expect the modules that they name by --jobs.
    sys.path.append(str(Path.cwd()))
