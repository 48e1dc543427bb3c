"""Generates docs/reference/spinc.md from the commands: python -m spincycle.cli.reference."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator

import click

from spincycle.cli.commands import COMMANDS
from spincycle.cli.options import HELP
from spincycle.cli.spinc import spinc

_INTRODUCTION = """\
# spinc

The command line of Spin Cycle: start requests, watch them, stop them, and read their logs.
This page is generated from the commands (`python -m spincycle.cli.reference`).

`spinc` without a command lists the requests that can be started.
"""

_END = """\
## Contexts and config files

Config files are YAML. A later file overrides an earlier one, environment variables override the
files, and options override environment variables. Missing files are ignored.

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

A context with `tls` connects with TLS. `ca` is the file of trusted certificates, `cert` and `key`
are the client's certificate and private key, and `server-name` is the name to expect in the
server's certificate. `SPINC_TOKEN` sets the bearer token without a file. `login` has `issuer`,
`client-id`, `scopes` and `id-token` for `spinc login`. A token is sent only to the addresses that
it was stored for; [login.md](../how-to/login.md#where-tokens-are-sent) has the rules.

## Exit codes

| code | meaning |
| --- | --- |
| 0 | success; `watch` and `start --wait`: the request ended COMPLETE; `can`: you may |
| 1 | an error; `watch` and `start --wait`: the request ended FAIL; `running`: it has ended |
| 1 | `can`: you may not |
| 2 | `watch` and `running` only: the state of the request could not be read |
| 2 | `can` only: the decision could not be read |
| 3 | `watch` and `start --wait` only: the request ended STOPPED |
| 130 | interrupted with Ctrl-C |

## Output

`-o table` prints tables: fitted to the width of a terminal, with fixed columns elsewhere.
`-o json` and `-o yaml` print the messages of the API with camelCase keys, state names and
RFC 3339 times. `-o name` prints one id or name per line. Set `NO_COLOR` to turn colours off.

## Output of running jobs

`log --follow`, `watch --follow` and `start --follow` print the output of running jobs live. Each
line is printed once, even if the connection is lost and reopened:

```text
A001/1 drain | 12 connections left
A001/1 drain ! web1 is slow
A001/1 drain | [... 70000 bytes missed ...]
```

Each line begins with the job and its try (`watch` prints the path of the job in the request),
then `|` for standard output or `!` for standard error. A line is printed when it is complete, or
when its try ends. The output is not repeated when the try ends.

The runner keeps a limited amount of live output. If a job prints more than that before it is
read, a mark shows the number of bytes missed; the journal has the beginning and the end of the
output. `log --failed` prints entries only, each with its output.

With `-o json` and `-o yaml` each piece of output is a document: `log` prints one with `stream`,
`offset` and `data` (an entry has `state`), `watch` prints an event with `output`. Entries contain
the whole output.
"""


def reference() -> str:
    """Return the whole page."""
    return "\n".join([_INTRODUCTION, *_flags(), *_commands(), _END])


def _flags() -> Iterator[str]:
    yield "## Options of all commands\n"
    yield "They are accepted before or after the command.\n"
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
            cell = option.replace("|", "\\|")
            yield f"| `{cell}` | {_readable(meaning)} |"
        yield ""
    if given_examples:
        yield "```sh"
        yield from given_examples
        yield "```\n"


def _readable(meaning: str) -> str:
    """Return the help of an option with its default and range in words."""
    meaning = re.sub(r"\[default: \((.+?)\)", r"[default: \1", meaning)
    return meaning.replace("<=x<=", " to ").replace("x>=", "at least ")


def split_help(command: click.Command) -> tuple[str, list[str]]:
    """Return the help of a command as Markdown, and its examples."""
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
    """Return the examples of all commands."""
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
