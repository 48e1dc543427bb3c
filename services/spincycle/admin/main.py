"""The operators' program `spincycle`; spinc is the program of its users."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import ClassVar

import click

from spincycle.runtime.version import VERSION


class LateGroup(click.Group):
    """Imports a command when it is called, so that each of them starts fast."""

    places: ClassVar[dict[str, tuple[str, str]]] = {
        "dev": ("spincycle.dev.command:dev", "Start all services on this machine."),
        "demo": ("spincycle.dev.demo:demo", "Run a rolling restart through all services."),
        "init": ("spincycle.admin.init:init", "Write a small project to start from."),
        "lint": ("spincycle.admin.lint:lint_command", "Check spec files."),
        "certs": ("spincycle.admin.certs:certs", "Make certificates for the services."),
        "grant-keys": (
            "spincycle.admin.grant_keys:grant_keys",
            "Make and rotate the keys of append grants.",
        ),
        "secrets": (
            "spincycle.admin.secrets:secrets",
            "Make and rotate the keys that seal secrets.",
        ),
        "tokens": ("spincycle.admin.tokens:tokens", "Make bearer tokens of callers."),
        "keys": ("spincycle.admin.keys:keys", "Make the key that signs the audit log."),
        "audit": ("spincycle.admin.audit:audit", "Verify the audit log."),
        "migrate": ("spincycle.admin.migrate:migrate", "Migrate the database schemas."),
        "repair-fences": (
            "spincycle.admin.repair_fences:repair_fences",
            "Lower journal fences that block their requests.",
        ),
        "prune": (
            "spincycle.admin.prune:prune",
            "Delete old requests, journals and audit entries.",
        ),
    }

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 # part of the signature
        """Return the names of all commands."""
        return list(self.places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return the command; None if there is none of that name."""
        if cmd_name not in self.places:
            return None
        module, _, attribute = self.places[cmd_name][0].partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, place[1]) for name, place in self.places.items()])


@click.group(cls=LateGroup)
@click.version_option(VERSION, prog_name="spincycle")
def main() -> None:
    """Run Spin Cycle on this machine, and maintain its specs and databases."""
    # So that --jobs finds modules in the working directory.
    sys.path.append(str(Path.cwd()))
