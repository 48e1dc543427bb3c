"""The command `spincycle lint`: checks spec files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from spincycle.spec import JobTypeRule
    from spincycle.spec.linter import LintResult

OK, FAILED, UNUSABLE = 0, 1, 2
"""Exit codes: no errors; errors found; the specs could not be checked."""


@click.command(name="lint")
@click.argument(
    "paths", nargs=-1, type=click.Path(exists=True, path_type=Path), metavar="[DIR|FILE]..."
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["human", "json", "github"]),
    default="human",
    show_default=True,
    help="Output format.",
)
@click.option("-s", "--strict", is_flag=True, help="Treat warnings as errors.")
@click.option("--warnings/--no-warnings", default=True, help="Print or hide warnings.")
@click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Colour the human format; auto: on a terminal, unless NO_COLOR is set.",
)
@click.option(
    "--jobs",
    multiple=True,
    metavar="MODULE[:ATTRIBUTE]",
    help="Job factory; repeatable. Job types unknown to all factories are then errors.",
)
@click.option(
    "--sequences", default="", metavar="A,B", help="Print only findings in these sequences."
)
@click.option(
    "--roles",
    default="",
    metavar="A,B",
    help="Roles that callers can have; warns of other roles in ACLs.",
)
@click.option("--codes", is_flag=True, help="List all codes with their meaning and exit.")
def lint_command(
    *,
    paths: tuple[Path, ...],
    format_: str,
    strict: bool,
    warnings: bool,
    color: str,
    jobs: tuple[str, ...],
    sequences: str,
    roles: str,
    codes: bool,
) -> None:
    """Check request specs.

    All FILEs and all *.yaml files below each DIR are checked together as one set of specs; by
    default those of the current directory.

    Exits 0 if the specs are valid, 1 if they have errors, and 2 if they could not be checked.
    """
    from spincycle.spec.linter import lint

    if codes:
        _print_codes()
        return
    result = lint(
        paths or (Path(),),
        _job_types(jobs),
        roles=_names(roles) or None,
        strict=strict,
        sequences=_names(sequences),
    )
    if result.unknown:
        names = ", ".join(f'"{name}"' for name in result.unknown)
        _exit_with_error(f"no sequence {names} in these specs")
    _print(result, format_, color=_use_color(color), warnings=warnings)
    sys.exit(FAILED if result.failed else OK)


def _names(listed: str) -> frozenset[str]:
    return frozenset(name.strip() for name in listed.split(",") if name.strip())


def _job_types(jobs: tuple[str, ...]) -> JobTypeRule:
    from spincycle.job import JobsNotLoaded, load_jobs
    from spincycle.spec import JobTypeRule, Severity

    try:
        known = load_jobs(jobs).types()
    except JobsNotLoaded as error:
        _exit_with_error(str(error))
    return JobTypeRule(known, Severity.ERROR if jobs else Severity.WARNING)


def _print(result: LintResult, format_: str, *, color: bool, warnings: bool) -> None:
    from spincycle.spec import Severity, render

    shown = [
        finding for finding in result.findings if warnings or finding.severity is Severity.ERROR
    ]
    if format_ == "json":
        click.echo(render.as_json(shown, result.revision))
        return
    if format_ == "github":
        for line in render.github(shown):
            click.echo(line)
        return
    for line in render.human(shown, result.sources, color=color):
        click.echo(line, color=color)
    click.echo(render.summary(shown, len(result.sources)))
    hidden = len(result.findings) - len(shown) + result.hidden
    if hidden:
        click.echo(f"({hidden} more not shown)")


def _print_codes() -> None:
    from spincycle.spec import CHECKS

    for check in CHECKS.values():
        click.echo(f"{check.code:24} {check.severity!s:8} {check.meaning}")


def _use_color(choice: str) -> bool:
    import os

    if choice == "auto":
        return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return choice == "always"


def _exit_with_error(message: str) -> NoReturn:
    click.echo(f"error: {message}", err=True)
    sys.exit(UNUSABLE)
