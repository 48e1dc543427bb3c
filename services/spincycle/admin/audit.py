"""The commands `spincycle audit`: verification of the audit log."""

from __future__ import annotations

import asyncio
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spincycle.admin.failure import fail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spincycle.identity.signing_keys import VerifyingKey
    from spincycle.request_manager.audit.verification import Verification

CHANGED = 1
"""Exit code if the audit log was changed."""

NOT_SEALED = 3
"""Exit code if entries have not been sealed for longer than UNSEALED_LIMIT."""

UNSEALED_LIMIT = timedelta(minutes=1)
"""How long an entry may wait for its seal while a request manager runs."""


class _Head(click.ParamType[bytes]):
    """A head in hex letters."""

    name = "head"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> bytes:
        if not re.fullmatch("[0-9a-f]{64}", value):
            self.fail(f'"{value}" is not a head of 64 hex letters', param, ctx)
        return bytes.fromhex(value)


@click.group()
def audit() -> None:
    """Verify the audit log."""


@audit.command()
@click.option(
    "--public-key",
    "key_files",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    help="Public key of `spincycle keys init`; repeat it for older keys.",
)
@click.option(
    "--head",
    "heads",
    metavar="HEX",
    type=_Head(),
    multiple=True,
    help='Head that the audit log must have, from the log event "audit log sealed".',
)
@click.option("--dsn", metavar="DSN", help="Database to use instead of the configured one.")
def verify(key_files: tuple[Path, ...], heads: tuple[bytes, ...], dsn: str | None) -> None:
    """Verify that entries of the audit log and their seals were not changed.

    Prints each changed, missing and inserted entry, oldest first, and each seal that was changed or
    has no valid signature. Reads only, also while the services run. The database is that of
    SPINCYCLE_RM_DATABASE__DSN.

    Exit codes: 0 nothing was changed; 1 something was; 2 it could not be verified; 3 nothing was
    changed, and entries wait for their seal for more than a minute.
    """
    import asyncpg

    from spincycle.errors import DatabaseUnavailable
    from spincycle.identity.signing_keys import VerifyingKey
    from spincycle.runtime.config import ConfigError

    try:
        keys = [VerifyingKey.read(file) for file in key_files]
        result = asyncio.run(_verify(dsn, keys, heads))
    except (ConfigError, DatabaseUnavailable, asyncpg.PostgresError, ValueError) as error:
        fail(f"not verified: {error}")
    _print(result, is_signed=bool(keys))
    if result.problems:
        sys.exit(CHANGED)
    since = result.unsealed_since
    if since is not None and datetime.now(UTC) - since > UNSEALED_LIMIT:
        sys.exit(NOT_SEALED)


async def _verify(
    dsn: str | None, keys: Sequence[VerifyingKey], heads: Sequence[bytes]
) -> Verification:
    from spincycle.admin.databases import request_manager_database
    from spincycle.request_manager.audit.verification import Verifier
    from spincycle.request_manager.storage.seal_store import SealStore

    async with request_manager_database(dsn) as database:
        return await Verifier(SealStore(database), keys, heads).verify()


def _print(result: Verification, *, is_signed: bool) -> None:
    for problem in result.problems:
        click.echo(f"CHANGED: {problem}")
    if result.more_problems:
        click.echo(f"CHANGED: and {result.more_problems} more")
    if result.deleted_up_to:
        click.echo(f"deleted by `spincycle prune`: everything up to seal {result.deleted_up_to}")
    click.echo(f"{result.entries} entries in {result.seals} seals are as they were sealed")
    if result.last:
        signed = (
            f", signed up to seal {result.signed}" if is_signed else ", signatures not verified"
        )
        click.echo(f"last seal {result.last}, head {result.head.hex()}{signed}")
    if result.unsealed_since is not None:
        click.echo(
            f"not sealed yet: {result.unsealed} entries from {result.first_unsealed} on, since "
            f"{result.unsealed_since:%Y-%m-%d %H:%M:%S} UTC"
        )
