"""The command context: named addresses and credentials in the config file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from spincycle.cli.commands import COMMANDS
from spincycle.cli.config_files import Contexts, load_file, load_files, save_file
from spincycle.cli.options import SpincCommand, given_options
from spincycle.cli.problem import Problem
from spincycle.cli.render.table import Column, table
from spincycle.cli.render.terminal import Terminal
from spincycle.cli.settings import config_paths, delete_logins

_COLUMNS = (
    Column("", 1),
    Column("NAME", 16),
    Column("ADDR", 32),
    Column("JOB LOG", 32),
    Column("TLS", 3),
    Column("REST"),
)


def _complete_context(
    context: click.Context,
    parameter: click.Parameter,  # noqa: ARG001 # click hands it over
    incomplete: str,
) -> list[CompletionItem[str]]:
    try:
        names = load_files(_paths(context)).contexts
    except Problem:
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _paths(context: click.Context) -> list[Path]:
    return config_paths(given_options(context), os.environ)


@click.group("context", short_help=COMMANDS["context"].summary)
def context_command() -> None:
    """Manage named addresses and credentials.

    Contexts are stored in the last config file. --context or SPINC_CONTEXT selects one for a
    single call; addresses given as options or environment variables override it.

    Example: spinc context use prod
    """


@context_command.command("list", cls=SpincCommand)
@click.pass_context
def list_command(context: click.Context) -> None:
    """List the contexts; a star marks the current one.

    Example: spinc context list
    """
    files = load_files(_paths(context))
    output = given_options(context).get("output", "table")
    if output == "name":
        click.echo("".join(f"{name}\n" for name in files.contexts), nl=False)
        return
    if output != "table":
        from spincycle.cli.render.machine import dump

        click.echo(dump({"current": files.current, "contexts": {**files.contexts}}, output))
        return
    rows = [
        [
            "*" if name == files.current else "",
            name,
            str(keys.get("addr", "")),
            str(keys.get("job-log", "")),
            "yes" if "tls" in keys else "no",
            str(keys.get("rest", "")),
        ]
        for name, keys in files.contexts.items()
    ]
    for line in table(_COLUMNS, rows, Terminal().table_width):
        click.echo(line.rstrip())


@context_command.command("use", cls=SpincCommand)
@click.argument("name", shell_complete=_complete_context)
@click.pass_context
def use_command(context: click.Context, name: str) -> None:
    """Make a context the current one.

    Example: spinc context use prod
    """
    paths = _paths(context)
    if name not in load_files(paths).contexts:
        raise Problem(
            f'there is no context "{name}"', f"run 'spinc context set {name}' to create it"
        )
    file = load_file(paths[-1])
    file.current = name
    save_file(paths[-1], file)
    click.echo(f"OK, using context {name}")


@context_command.command("set", cls=SpincCommand)
@click.argument("name", shell_complete=_complete_context)
@click.option("--token-file", metavar="FILE", help="File that contains a bearer token.")
@click.option("--issuer", metavar="URL", help="Issuer at which `spinc login` logs in.")
@click.option("--client-id", metavar="ID", help="Id that the issuer has given to spinc.")
@click.option("--tls/--no-tls", default=None, help="Connect with or without TLS.")
@click.option("--ca", metavar="FILE", help="Certificates to trust (PEM).")
@click.option("--cert", metavar="FILE", help="Client certificate (PEM).")
@click.option("--key", metavar="FILE", help="Private key of the client (PEM).")
@click.option("--server-name", metavar="NAME", help="Name to expect in the server's certificate.")
@click.pass_context
def set_command(
    context: click.Context,
    name: str,
    token_file: str | None,
    issuer: str | None,
    client_id: str | None,
    tls: bool | None,
    ca: str | None,
    cert: str | None,
    key: str | None,
    server_name: str | None,
) -> None:
    """Create a context, or change the given settings of one.

    --addr, --job-log, --rest, --timeout and --env are stored in it, too.

    Example: spinc context set prod --addr rm.example.com:32310 --ca ~/.spinc/ca.pem
    """
    path = _paths(context)[-1]
    file = load_file(path)
    keys = file.contexts.setdefault(name, {})
    given = given_options(context)
    before = _addresses(keys)
    keys |= {
        option: given[option]
        for option in ("addr", "job-log", "rest", "timeout", "env")
        if option in given
    }
    if token_file:
        keys["token-file"] = token_file
    elif "token-file" in keys and _addresses(keys) != before:
        # A token is never sent to another address than that for which it was stored.
        click.echo(f"the token file {keys.pop('token-file')} is for {' '.join(before)}: left out")
    login = {"issuer": issuer, "client-id": client_id}
    if any(login.values()):
        keys["login"] = {
            **keys.get("login", {}),
            **{option: value for option, value in login.items() if value},
        }
    files = {"ca": ca, "cert": cert, "key": key, "server-name": server_name}
    named = {option: value for option, value in files.items() if value}
    if tls is False:
        keys.pop("tls", None)
    elif tls or named:
        keys["tls"] = {**keys.get("tls", {}), **named}
    save_file(path, file)
    click.echo(f"OK, saved context {name} in {path}")


def _addresses(keys: Mapping[str, Any]) -> list[str]:
    return [str(keys[name]) for name in ("addr", "job-log", "rest") if name in keys]


@context_command.command("delete", cls=SpincCommand)
@click.argument("name", shell_complete=_complete_context)
@click.pass_context
def delete_command(context: click.Context, name: str) -> None:
    """Delete a context, and the tokens of its logins.

    Example: spinc context delete staging
    """
    path = _paths(context)[-1]
    file = load_file(path)
    if name not in file.contexts:
        raise Problem(
            f'{path} has no context "{name}"', "run 'spinc context list' to list contexts"
        )
    kept = {known: keys for known, keys in file.contexts.items() if known != name}
    save_file(path, Contexts(file.plain, kept, None if file.current == name else file.current))
    delete_logins(path, name)
    click.echo(f"OK, deleted context {name}")
