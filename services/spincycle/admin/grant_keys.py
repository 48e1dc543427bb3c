"""The commands `spincycle grant-keys`: the keys that request managers and job logs share."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click

from spincycle.admin.failure import fail


class _KeyId(click.ParamType[str]):
    """Id of a key."""

    name = "id"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from spincycle.identity.grant_key_file import ID

        if not re.fullmatch(ID, value):
            self.fail(
                f'"{value}" is not an id: use up to 64 letters, digits, ".", "_" and "-"',
                param,
                ctx,
            )
        return value


_FILE = click.argument("file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
_ID = click.argument("id_", metavar="ID", type=_KeyId())
_NEW_ID = click.option(
    "--id",
    "id_",
    metavar="ID",
    type=_KeyId(),
    default=lambda: f"{datetime.now(UTC):%Y-%m-%d}",
    show_default="today's date",
    help="Id of the new key.",
)


@click.group("grant-keys")
def grant_keys() -> None:
    """Make and rotate the keys that request managers and job logs share.

    With them a request manager grants the runner of a request to append entries of it to the
    journal. All request managers and job logs have the same file, set as append_grant_keys.

    To rotate the keys, change the file in three steps. After each step give the file to all request
    managers and job logs; they read it again within seconds. Each step can be repeated.

    1. `add`: the new key is accepted everywhere, and not used yet.

    2. `use`: the new key signs. Without step 1, a job log that does not have it yet would refuse
    the entries.

    3. `drop`: the old key is gone. Wait until every request that was assigned before step 2 has
    ended: its runner has only a grant of the old key. If one is left, the job log refuses its
    entries and it is recovered, which runs its interrupted jobs again.
    """


@grant_keys.command()
@_FILE
@_NEW_ID
def new(file: Path, id_: str) -> None:
    """Create FILE with one key; it never overwrites a file.

    Only this account can read it. Give it to all request managers and job logs, and to nothing
    else: its keys entitle to append to every journal.
    """
    if file.exists():
        fail(f"{file} exists; add a key by `spincycle grant-keys add`, or name another file")
    with _exit_on_error():
        _write(file, {id_: _new_key()})


@grant_keys.command()
@_FILE
@_NEW_ID
def add(file: Path, id_: str) -> None:
    """Add a new key to FILE, which verifies grants but does not sign them.

    A key that has the id already is kept.
    """
    with _exit_on_error():
        keys = _read(file)
        if id_ in keys:
            _print(file, keys)
        else:
            _write(file, {**keys, id_: _new_key()})


@grant_keys.command()
@_FILE
@_ID
def use(file: Path, id_: str) -> None:
    """Sign grants with the key ID of FILE from now on.

    Do so once all request managers and job logs have the key.
    """
    with _exit_on_error():
        keys = _read(file)
        if id_ not in keys:
            fail(f'{file} has no key "{id_}"; it has {", ".join(keys)}')
        _write(file, {id_: keys.pop(id_), **keys})


@grant_keys.command()
@_FILE
@_ID
def drop(file: Path, id_: str) -> None:
    """Remove the key ID from FILE.

    Do so once no request is running that was assigned before another key was used. The key that
    signs cannot be removed.
    """
    with _exit_on_error():
        keys = _read(file)
        if next(iter(keys)) == id_:
            fail(f'the key "{id_}" signs; use another one first: `spincycle grant-keys use`')
        if id_ in keys:
            del keys[id_]
            _write(file, keys)
        else:
            _print(file, keys)


def _new_key() -> bytes:
    from spincycle.identity.grant_key_file import KEY_BYTES

    return secrets.token_bytes(KEY_BYTES)


def _read(file: Path) -> dict[str, bytes]:
    from spincycle.identity.grant_key_file import read_grant_keys

    return read_grant_keys(file)


def _write(file: Path, keys: Mapping[str, bytes]) -> None:
    from spincycle.identity.grant_key_file import write_grant_keys

    write_grant_keys(file, keys)
    _print(file, keys)


def _print(file: Path, keys: Mapping[str, bytes]) -> None:
    signing, *others = keys
    click.echo(f"{file}: {', '.join([f'{signing} (signs)', *others])}")


@contextmanager
def _exit_on_error() -> Iterator[None]:
    from spincycle.runtime.config import ConfigError

    try:
        yield
    except ConfigError as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot write {error.filename}: {error.strerror}")
