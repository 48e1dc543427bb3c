"""docs/reference/spinc.md, made from the commands themselves: python -m spincycle.cli.reference."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator

import click

from spincycle.cli.commands import COMMANDS
from spincycle.cli.options import HELP
from spincycle.cli.spinc import spinc

_INTRODUCTION = """\
# spinc

The command line of Spin Cycle: ask for requests, follow them, stop them, and read what they did.
This page is made from the commands themselves (`python -m spincycle.cli.reference`).

`spinc` alone lists the requests that can be started.
"""

_END = """\
## Contexts and config files

Config files are YAML. Later ones win over earlier ones, the environment over all of them, and the
command line over the environment. Files that do not exist are left out.

```yaml
addr: 127.0.0.1:32310
job-log: 127.0.0.1:32312
timeout: 5000
context: prod
contexts:
  prod:
    addr: rm.example.com:32310
    job-log: jl.example.com:32312
    token-file: ~/.spinc/token
    tls:
      ca: ~/.spinc/ca.pem
```

A context with `tls` speaks TLS; `cert` and `key` name the client's own certificate and key,
`server-name` the name to expect in the server's. `SPINC_TOKEN` holds a token, too.

## Exit codes

| code | meaning |
| --- | --- |
| 0 | done; `watch` and `start --wait`: the request ended COMPLETE |
| 1 | an error, told on standard error; `watch` and `start --wait`: FAIL; `running`: has ended |
| 2 | `watch` and `running` only: there is no telling |
| 3 | `watch` and `start --wait` only: the request ended STOPPED |
| 130 | Ctrl-C |

## Output

`-o table` is for people: on a terminal, tables fit its width; elsewhere they have fixed columns.
`-o json` and `-o yaml` print the messages of the API with camelCase keys, names of states and
RFC 3339 times. `-o name` prints one id or name a line. `NO_COLOR` is honoured.

## What running jobs print

`log --follow`, `watch --follow` and `start --follow` print it as it comes, each line once, also
when a connection breaks meanwhile:

```text
A001/1 drain | 12 connections left
A001/1 drain ! web1 is slow
A001/1 drain | [... 70000 bytes missed ...]
```

Before the line stands the job with its try (`watch` says where in the request it is), and `|` for
standard output or `!` for standard error. Where a job prints more than is kept for those who look
on, or had printed more before, a mark says how much was missed; the journal has head and tail of
it. A line is printed when it ends, at the latest with its try. When the try has ended, what was
printed of it is not printed again. With `log --failed` entries are printed whole when they come.

With `-o json` and `-o yaml` each piece is a document: of `log` one with `stream`, `offset` and
`data` where an entry has `state`, of `watch` an event with `output`. Entries are whole.
"""


def reference() -> str:
    """The whole page."""
    return "\n".join([_INTRODUCTION, *_flags(), *_commands(), _END])


def _flags() -> Iterator[str]:
    yield "## Options of all commands\n"
    yield "They may stand before or after the command.\n"
    yield "| option | environment | meaning |"
    yield "| --- | --- | --- |"
    for name, text in HELP.items():
        option = f"`--{name}`, `-o`" if name == "output" else f"`--{name}`"
        variable = "SPINC_" + name.upper().replace("-", "_")
        yield f"| {option} | {'' if name == 'output' else f'`{variable}`'} | {text} |"
    yield ""


def _commands() -> Iterator[str]:
    context = click.Context(spinc, info_name="spinc")
    for name in COMMANDS:
        command = spinc.get_command(context, name)
        assert command is not None
        yield from _command(command, click.Context(command, info_name=name, parent=context))


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    if isinstance(command, click.Group):
        yield from _one(command, context, f"{context.command_path} VERB")
        for name, verb in command.commands.items():
            yield from _command(verb, click.Context(verb, info_name=name, parent=context))
        return
    pieces = " ".join(command.collect_usage_pieces(context)).replace("[OPTIONS] ", "")
    usage = f"{context.command_path} {pieces}".removesuffix(" [OPTIONS]").strip()
    yield from _one(command, context, usage)


def _one(command: click.Command, context: click.Context, usage: str) -> Iterator[str]:
    text, given_examples = split_help(command)
    yield f"## {context.command_path}\n"
    yield f"    {usage}\n"
    yield f"{text}\n"
    options = [
        record
        for parameter in command.params
        if isinstance(parameter, click.Option)
        and (record := parameter.get_help_record(context)) is not None
    ]
    if options:
        yield "| option | meaning |"
        yield "| --- | --- |"
        for option, meaning in options:
            yield f"| `{option}` | {meaning} |".replace("<=x<=", " to ")
        yield ""
    if given_examples:
        yield "```sh"
        yield from given_examples
        yield "```\n"


def split_help(command: click.Command) -> tuple[str, list[str]]:
    """What a command says of itself, as Markdown, and its examples."""
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    kept: list[str] = []
    found: list[str] = []
    for paragraph in paragraphs:
        if paragraph.startswith("Example: "):
            found += [line.removeprefix("Example: ") for line in paragraph.split("\n")]
        elif paragraph.startswith("\b\n"):
            lines = paragraph.split("\n")[1:]
            kept.append("\n".join(["```text", *lines, "```"]))
        else:
            kept.append(paragraph)
    return "\n\n".join(kept), found


def examples() -> list[str]:
    """Every example of every command."""
    found: list[str] = []

    def collect(command: click.Command) -> None:
        found.extend(split_help(command)[1])
        if isinstance(command, click.Group):
            for verb in command.commands.values():
                collect(verb)

    context = click.Context(spinc)
    for name in COMMANDS:
        command = spinc.get_command(context, name)
        assert command is not None
        collect(command)
    return found


if __name__ == "__main__":
    sys.stdout.write(reference())
