"""The command `spinc`: ask for requests, follow them, stop them, read what they did."""

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
    """The group of all commands, each imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 # part of the signature
        """Names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 # part of the signature
        """The command of that name, if there is one."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module = import_module(f"spincycle.cli.commands.{entry.module}")
        command = getattr(module, f"{cmd_name}_command")
        if not isinstance(command, click.Command):
            raise TypeError(f"{cmd_name} is no command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but with a word on what was perhaps meant."""
        name = args[0]
        if name not in COMMANDS and not ctx.resilient_parsing:
            raise Problem(
                f"unknown command: {name}{_meant(name, COMMANDS)}",
                "run 'spinc help' to list commands",
            )
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 # part of the signature
        """The whole usage, as `spinc help` prints it."""
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
    """Ask for requests, follow them, stop them, and read what they did."""
    if version:
        from spincycle.cli.commands.help import version_command

        context.invoke(version_command)
    elif context.invoked_subcommand is None:
        from spincycle.cli.commands.help import listing_command

        context.invoke(listing_command)


def main(args: list[str] | None = None) -> NoReturn:
    """Run spinc and end the process with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # What the terminal has no sign for must not end the command.
            stream.reconfigure(errors="replace")
    try:
        code = _run(sys.argv[1:] if args is None else args)
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        # Whoever read has read enough.
        code = _BROKEN_PIPE
    except OSError as error:
        sys.stderr.write(f"error: cannot write the output: {error.strerror}\n")
        code = FAILED
    # All is written and closed. Taking the interpreter apart first would be felt: 15 ms.
    os._exit(code)


def _run(args: list[str]) -> int:
    try:
        _ensure_text(args)
        answer: Any = spinc.main(args, prog_name="spinc", standalone_mode=False)
    except Problem as problem:
        return _complain(problem)
    except click.exceptions.NoArgsIsHelpError as error:
        # What only groups others shows them.
        sys.stdout.write(error.format_message() + "\n")
        return 0
    except click.UsageError as error:
        return _complain(_usage_problem(error))
    except click.ClickException as error:
        return _complain(Problem(error.format_message()))
    except (KeyboardInterrupt, click.Abort):
        sys.stderr.write("\n")
        return INTERRUPTED
    except OSError:
        raise
    except Exception as error:
        # Whatever it is, a person is told in a line.
        if "--debug" in args or os.environ.get("SPINC_DEBUG"):
            raise
        what = f"{type(error).__name__}: {error}"
        return _complain(Problem(f"spinc itself has failed: {what}", "--debug shows where"))
    return answer if isinstance(answer, int) else 0


def _ensure_text(args: Iterable[str]) -> None:
    for place, word in enumerate(args, 1):
        if not word.isascii() and any("\ud800" <= character <= "\udfff" for character in word):
            raise Problem(f"word {place} of the command is not UTF-8 text")


def _meant(word: str, known: Iterable[str]) -> str:
    # Only who mistypes waits for this import.
    from difflib import get_close_matches

    close = get_close_matches(word, list(known), 1)
    return f" (did you mean {close[0]}?)" if close else ""


def _complain(problem: Problem) -> int:
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
    hint = "run 'spinc help' for the usage"
    if context is not None and context.parent is not None:
        pieces = " ".join(context.command.collect_usage_pieces(context))
        hint = f"usage: {context.command_path} {pieces}"
    return Problem(message, hint, exit_code=FAILED)
