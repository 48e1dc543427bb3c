"""The `spinc` program: start requests, watch them, stop them, and read their logs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from importlib import import_module
from io import TextIOWrapper
from typing import Any, NoReturn

import click

from spincycle.cli.commands import COMMANDS
from spincycle.cli.options import global_options
from spincycle.cli.problem import FAILED, INTERRUPTED, Problem
from spincycle.cli.render.terminal import Terminal

_BROKEN_PIPE = 141


class Spinc(click.Group):
    """The group of all commands; each is imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 # part of the signature
        """Return the names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 # part of the signature
        """Import and return the command; None if there is none of that name."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module = import_module(f"spincycle.cli.commands.{entry.module}")
        command = getattr(module, f"{cmd_name}_command")
        if not isinstance(command, click.Command):
            raise TypeError(f"{cmd_name}_command is not a click command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve the command; an unknown name is an error that suggests a similar one."""
        name = args[0]
        if name not in COMMANDS and not ctx.resilient_parsing:
            raise Problem(
                f"unknown command: {name}{_meant(name, COMMANDS)}",
                "run 'spinc help' to list the commands",
            )
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 # part of the signature
        """Write the usage, as `spinc help` prints it."""
        from spincycle.cli.commands.help import usage_lines

        formatter.write("\n".join(usage_lines(Terminal().table_width)) + "\n")


@click.group(
    cls=Spinc,
    name="spinc",
    invoke_without_command=True,
    params=global_options(hidden=False),
    context_settings={"help_option_names": ["--help", "-h"]},
)
@click.option("--version", is_flag=True, help="Print version")
@click.pass_context
def spinc(context: click.Context, version: bool) -> None:
    """Start requests, watch them, stop them, and read their logs."""
    if version:
        from spincycle.cli.commands.help import version_command

        context.invoke(version_command)
    elif context.invoked_subcommand is None:
        from spincycle.cli.commands.help import listing_command

        context.invoke(listing_command)


def main(args: list[str] | None = None) -> NoReturn:
    """Run spinc and exit the process with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A character that the terminal cannot encode must not end the command.
            stream.reconfigure(errors="replace")
    try:
        code = _run(sys.argv[1:] if args is None else args)
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = _BROKEN_PIPE
    except OSError as error:
        sys.stderr.write(f"error: cannot write the output: {error.strerror}\n")
        code = FAILED
    # All output is flushed. A regular interpreter shutdown would take 15 ms more.
    os._exit(code)


def _run(args: list[str]) -> int:
    try:
        _ensure_text(args)
        code: Any = spinc.main(args, prog_name="spinc", standalone_mode=False)
    except Problem as problem:
        return _report(problem)
    except click.exceptions.NoArgsIsHelpError as error:
        # A group without a subcommand prints its help.
        sys.stdout.write(error.format_message() + "\n")
        return 0
    except click.UsageError as error:
        return _report(_usage_problem(error))
    except click.ClickException as error:
        return _report(Problem(error.format_message()))
    except (KeyboardInterrupt, click.Abort):
        sys.stderr.write("\n")
        return INTERRUPTED
    except OSError:
        raise
    except Exception as error:
        # A bug in spinc: one line, unless debugging is on.
        if "--debug" in args or os.environ.get("SPINC_DEBUG"):
            raise
        what = f"{type(error).__name__}: {error}"
        return _report(Problem(f"internal error in spinc: {what}", "--debug prints a traceback"))
    return code if isinstance(code, int) else 0


def _ensure_text(args: Iterable[str]) -> None:
    for place, word in enumerate(args, 1):
        if not word.isascii() and any("\ud800" <= character <= "\udfff" for character in word):
            raise Problem(f"word {place} of the command is not UTF-8 text")


def _meant(word: str, known: Iterable[str]) -> str:
    # Imported late: only a mistyped command needs it.
    from difflib import get_close_matches

    close = get_close_matches(word, list(known), 1)
    return f" (did you mean {close[0]}?)" if close else ""


def _report(problem: Problem) -> int:
    sys.stdout.flush()
    sys.stderr.writelines(line + "\n" for line in problem.lines())
    return problem.exit_code


def _usage_problem(error: click.UsageError) -> Problem:
    message = error.format_message().rstrip(".")
    message = message[:1].lower() + message[1:]
    if isinstance(error, click.NoSuchOption):
        meant = _meant(error.option_name, error.possibilities or ())
        message = f"no such option: {error.option_name}{meant}"
    context = error.ctx
    hint = "run 'spinc help' for usage"
    if context is not None and context.parent is not None:
        pieces = " ".join(context.command.collect_usage_pieces(context))
        hint = f"usage: {context.command_path} {pieces}"
    return Problem(message, hint, exit_code=FAILED)
