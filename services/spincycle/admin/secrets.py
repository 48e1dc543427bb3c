"""The commands `spincycle secrets`: the keys that seal secrets, and their rotation."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spincycle.admin.databases import exit_on_error, request_manager_database
from spincycle.admin.failure import fail
from spincycle.admin.key_files import FILE, KEY_ID, NEW_ID, add_key, drop_key, new_file, use_key

if TYPE_CHECKING:
    from spincycle.identity.key_file import KeyKind
    from spincycle.request_manager.secret_rotation import Rotated

BATCH = 100
"""Default number of requests per transaction."""

_DSN = click.option("--dsn", metavar="DSN", help="Database to use instead of the configured one.")


@click.group()
def secrets() -> None:
    """Make and rotate the keys that seal the secrets of requests in the database.

    All request managers have the same file of keys, set as secrets.key_file. They read it again
    within seconds when it changes. Keep copies of it: without a key, what is sealed under it is
    lost.

    To rotate the keys, after each change give the file to all request managers. Each step can be
    repeated.

    1. `add-key`: the new key opens everywhere, and does not seal yet.

    2. `use-key`: the new key seals.

    3. `rotate`: what other keys have sealed is sealed under the new one.

    4. `drop-key`: the old key is gone.
    """


@secrets.command("new-key")
@FILE
@NEW_ID
def new_key_command(file: Path, id_: str) -> None:
    """Create FILE with one key; it never overwrites a file.

    Only this account can read it. Give it to all request managers, and to nothing else.
    """
    new_file(file, _kind(), id_)


@secrets.command("add-key")
@FILE
@NEW_ID
def add_key_command(file: Path, id_: str) -> None:
    """Add a new key to FILE, which opens but does not seal.

    A key that has the id already is kept.
    """
    add_key(file, _kind(), id_)


@secrets.command("use-key")
@FILE
@KEY_ID
def use_key_command(file: Path, id_: str) -> None:
    """Seal with the key ID of FILE from now on.

    Do so once all request managers have the key: the others could not read new requests.
    """
    use_key(file, _kind(), id_)


@secrets.command("drop-key")
@FILE
@KEY_ID
@_DSN
def drop_key_command(file: Path, id_: str, dsn: str | None) -> None:
    """Remove the key ID from FILE, unless the database holds something sealed under it.

    The key that seals cannot be removed. Backups of the database may need the key: keep a copy as
    long as you keep them.
    """
    with exit_on_error():
        left = asyncio.run(_count_sealed_under(dsn, id_))
    if left:
        fail(
            f'{left} rows are still sealed under the key "{id_}"; seal them under another one by '
            "`spincycle secrets rotate`"
        )
    drop_key(file, _kind(), id_)


@secrets.command()
@click.option(
    "--key-file",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of the keys, instead of the configured secrets.key_file.",
)
@click.option(
    "--batch",
    metavar="N",
    type=click.IntRange(1, 10_000),
    default=BATCH,
    show_default=True,
    help="Requests to seal in one transaction.",
)
@_DSN
def rotate(key_file: Path | None, batch: int, dsn: str | None) -> None:
    """Seal all secrets under the first key: those in clear, and those under other keys.

    Works in small batches while the services run, and can be interrupted and run again at any time.
    The database is that of SPINCYCLE_RM_DATABASE__DSN, the file that of
    SPINCYCLE_RM_SECRETS__KEY_FILE.
    """
    with exit_on_error():
        rotated, key_id, left = asyncio.run(_rotate(key_file, batch, dsn))
    click.echo(
        f"sealed {rotated.archives} requests and {rotated.states} saved states under the key "
        f'"{key_id}", of which {rotated.were_in_clear} were in clear'
    )
    for request_id, problem in sorted(rotated.unreadable.items()):
        click.echo(f"error: request {request_id} is left as it is: {problem}", err=True)
    if left > rotated.unreadable_rows:
        click.echo(
            f"error: {left - rotated.unreadable_rows} rows are left, which other processes stored "
            "meanwhile; give the file to all request managers, and run the command again",
            err=True,
        )
    if rotated.unreadable or left:
        sys.exit(1)


async def _rotate(key_file: Path | None, batch: int, dsn: str | None) -> tuple[Rotated, str, int]:
    """Return what was sealed, under which key, and the number of requests that are left."""
    from spincycle.request_manager.config import RequestManagerConfig
    from spincycle.request_manager.secret_rotation import SecretRotation
    from spincycle.request_manager.storage.secret_columns import SecretColumns
    from spincycle.request_manager.storage.secret_store import SecretStore
    from spincycle.runtime.config import ConfigError, load_config
    from spincycle.sealing.sealing_key_file import read_sealing_keys
    from spincycle.sealing.secret_sealer import SecretSealer

    path = key_file or load_config(RequestManagerConfig, None).secrets.key_file
    if path is None:
        raise ConfigError(
            "secrets.key_file: not set; set SPINCYCLE_RM_SECRETS__KEY_FILE, or name the file by "
            "--key-file"
        )
    keys = read_sealing_keys(path)
    async with request_manager_database(dsn) as database:
        store = SecretStore(database)
        columns = SecretColumns(SecretSealer(lambda: keys, plaintext=False))
        rotation = SecretRotation(store, columns, keys.first)
        rotated = await rotation.rotate(batch, _show)
        return rotated, keys.first, await store.count_not_sealed_under(keys.first)


def _show(rotated: Rotated) -> None:
    if sys.stderr.isatty():
        done = rotated.archives + rotated.states + rotated.without_secrets
        click.echo(f"\r{done} rows", nl=False, err=True)


async def _count_sealed_under(dsn: str | None, key_id: str) -> int:
    from spincycle.request_manager.storage.secret_store import SecretStore

    async with request_manager_database(dsn) as database:
        return await SecretStore(database).count_sealed_under(key_id)


def _kind() -> KeyKind:
    from spincycle.sealing.sealing_key_file import SEALING_KEY

    return SEALING_KEY
