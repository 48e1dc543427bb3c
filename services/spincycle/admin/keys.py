"""The commands `spincycle keys`: the key that signs the audit log."""

from __future__ import annotations

from pathlib import Path

import click

from spincycle.admin.failure import fail


@click.group()
def keys() -> None:
    """Make the key that signs the audit log."""


@keys.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
def init(directory: Path) -> None:
    """Write a new key pair into DIR: audit.key and audit.pub; it never overwrites a file.

    Only this account can read audit.key. Give it to all request managers, as audit.signing_key,
    and to nothing else: with it a changed audit log can be signed. Keep audit.pub, and a copy of
    it on another machine: `spincycle audit verify` needs it.
    """
    from spincycle.identity.signing_keys import PRIVATE_FILE, PUBLIC_FILE, create_signing_key

    try:
        key_id = create_signing_key(directory)
    except FileExistsError as error:
        fail(f"{error.filename} exists; name another directory")
    except OSError as error:
        fail(f"cannot write {error.filename}: {error.strerror}")
    click.echo(f"{directory / PRIVATE_FILE}: private key {key_id}, for audit.signing_key")
    click.echo(f"{directory / PUBLIC_FILE}: public key {key_id}, for `spincycle audit verify`")
