"""Changes of files of keys: the steps by which keys are made and rotated."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spincycle.admin.failure import fail

if TYPE_CHECKING:
    from spincycle.identity.key_file import KeyKind


class _KeyId(click.ParamType[str]):
    """Id of a key."""

    name = "id"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from spincycle.identity.key_file import ID

        if not re.fullmatch(ID, value):
            self.fail(
                f'"{value}" is not an id: use up to 64 letters, digits, ".", "_" and "-"',
                param,
                ctx,
            )
        return value


FILE = click.argument("file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
KEY_ID = click.argument("id_", metavar="ID", type=_KeyId())
NEW_ID = click.option(
    "--id",
    "id_",
    metavar="ID",
    type=_KeyId(),
    default=lambda: f"{datetime.now(UTC):%Y-%m-%d}",
    show_default="today's date",
    help="Id of the new key.",
)


def new_file(file: Path, kind: KeyKind, id_: str) -> None:
    """Create a file with one key; exit if it exists."""
    if file.exists():
        fail(f"{file} exists; add a key by `{kind.command('add')}`, or name another file")
    with _exit_on_error():
        _write(file, kind, {id_: _new_key()})


def add_key(file: Path, kind: KeyKind, id_: str) -> None:
    """Add a new key that is not used yet; keep one that has the id already."""
    with _exit_on_error():
        keys = _read(file, kind)
        if id_ in keys:
            _print(file, kind, keys)
        else:
            _write(file, kind, {**keys, id_: _new_key()})


def use_key(file: Path, kind: KeyKind, id_: str) -> None:
    """Put a key first; exit if the file does not have it."""
    with _exit_on_error():
        keys = _read(file, kind)
        if id_ not in keys:
            fail(f'{file} has no key "{id_}"; it has {", ".join(keys)}')
        _write(file, kind, {id_: keys.pop(id_), **keys})


def drop_key(file: Path, kind: KeyKind, id_: str) -> None:
    """Remove a key; exit if it is the first one."""
    with _exit_on_error():
        keys = _read(file, kind)
        if next(iter(keys)) == id_:
            fail(f'the key "{id_}" {kind.first}; use another one first: `{kind.command("use")}`')
        if id_ in keys:
            del keys[id_]
            _write(file, kind, keys)
        else:
            _print(file, kind, keys)


def _new_key() -> bytes:
    from spincycle.identity.key_file import KEY_BYTES

    return secrets.token_bytes(KEY_BYTES)


def _read(file: Path, kind: KeyKind) -> dict[str, bytes]:
    from spincycle.identity.key_file import read_keys

    return read_keys(file, kind)


def _write(file: Path, kind: KeyKind, keys: Mapping[str, bytes]) -> None:
    from spincycle.identity.key_file import write_keys

    write_keys(file, keys)
    _print(file, kind, keys)


def _print(file: Path, kind: KeyKind, keys: Mapping[str, bytes]) -> None:
    first, *others = keys
    click.echo(f"{file}: {', '.join([f'{first} ({kind.first})', *others])}")


@contextmanager
def _exit_on_error() -> Iterator[None]:
    from spincycle.runtime.config import ConfigError

    try:
        yield
    except ConfigError as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot write {error.filename}: {error.strerror}")
