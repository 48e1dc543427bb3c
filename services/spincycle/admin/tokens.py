"""The commands `spincycle tokens`: bearer tokens of people and programs."""

from __future__ import annotations

from pathlib import Path

import click

from spincycle.admin.failure import fail


@click.group("tokens")
def tokens() -> None:
    """Make the bearer tokens that the file auth.token_file accepts.

    The file has the digests of the tokens, not the tokens. Services read it again within a second
    of a change. To revoke a token, remove the lines of its name.
    """


@tokens.command()
@click.argument("name", metavar="NAME")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--roles",
    metavar="ROLE,...",
    default="",
    help="Roles of the caller, separated by commas.",
)
def new(name: str, file: Path, roles: str) -> None:
    """Add a token for NAME to FILE, and print the token.

    It is printed only this once. A FILE that does not exist is made; then only this account can
    read it.
    """
    from spincycle.access.token_file import add_token, generate_token
    from spincycle.runtime.config import ConfigError

    token = generate_token()
    try:
        add_token(file, name, [role for role in roles.split(",") if role], token)
    except (ConfigError, ValueError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot write {error.filename}: {error.strerror}")
    click.echo(token)
