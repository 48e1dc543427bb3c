"""The commands `spincycle grant-keys`: the keys that request managers and job logs share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from spincycle.admin.key_files import FILE, KEY_ID, NEW_ID, add_key, drop_key, new_file, use_key

if TYPE_CHECKING:
    from pathlib import Path

    from spincycle.identity.key_file import KeyKind


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
@FILE
@NEW_ID
def new(file: Path, id_: str) -> None:
    """Create FILE with one key; it never overwrites a file.

    Only this account can read it. Give it to all request managers and job logs, and to nothing
    else: its keys entitle to append to every journal.
    """
    new_file(file, _kind(), id_)


@grant_keys.command()
@FILE
@NEW_ID
def add(file: Path, id_: str) -> None:
    """Add a new key to FILE, which verifies grants but does not sign them.

    A key that has the id already is kept.
    """
    add_key(file, _kind(), id_)


@grant_keys.command()
@FILE
@KEY_ID
def use(file: Path, id_: str) -> None:
    """Sign grants with the key ID of FILE from now on.

    Do so once all request managers and job logs have the key.
    """
    use_key(file, _kind(), id_)


@grant_keys.command()
@FILE
@KEY_ID
def drop(file: Path, id_: str) -> None:
    """Remove the key ID from FILE.

    Do so once no request is running that was assigned before another key was used. The key that
    signs cannot be removed.
    """
    drop_key(file, _kind(), id_)


def _kind() -> KeyKind:
    from spincycle.identity.grant_key_file import GRANT_KEY

    return GRANT_KEY
