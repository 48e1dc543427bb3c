"""Prints docs/reference/spincycle.md from the commands of `spincycle`.

`python -m tests.documentation.spincycle_page > docs/reference/spincycle.md`
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator

import click

from spincycle.admin.main import main as spincycle

_HEAD = """\
# spincycle

Look up the commands of the operator here: start everything on one machine, check specs, make
certificates, migrate and prune the databases. `make generate` makes this page from the commands. To
work with requests, use [spinc](spinc.md)."""


def spincycle_page() -> str:
    """The page as Markdown."""
    context = click.Context(spincycle, info_name="spincycle")
    parts = [_HEAD]
    for name in spincycle.list_commands(context):
        command = spincycle.get_command(context, name)
        assert command is not None
        parts += _chapters(command, click.Context(command, info_name=name, parent=context))
    return "\n".join(parts)


def _chapters(command: click.Command, context: click.Context) -> Iterator[str]:
    """The chapter of a command, or those of the commands of a group."""
    if not isinstance(command, click.Group):
        yield from _chapter(command, context)
        return
    for name, inner in command.commands.items():
        yield from _chapter(inner, click.Context(inner, info_name=name, parent=context))


def _chapter(command: click.Command, context: click.Context) -> Iterator[str]:
    pieces = " ".join(command.collect_usage_pieces(context)).replace("[OPTIONS] ", "")
    yield f"\n## {context.command_path}\n"
    yield f"    {context.command_path} {pieces}".removesuffix(" [OPTIONS]") + "\n"
    yield from _paragraphs(inspect.cleandoc(command.help or ""))
    records = [
        record
        for parameter in command.params
        if isinstance(parameter, click.Option)
        and (record := parameter.get_help_record(context)) is not None
    ]
    if records:
        yield "| option | meaning |"
        yield "| --- | --- |"
        for option, meaning in records:
            cells = [f"`{option}`", meaning.replace("<=x<=", " to ").replace("x>=", "at least ")]
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in text.split("\n\n"):
        if paragraph.startswith("\b\n"):
            yield "\n".join(["```text", *paragraph.split("\n")[1:], "```", ""])
        else:
            yield paragraph + "\n"


if __name__ == "__main__":
    sys.stdout.write(spincycle_page())
