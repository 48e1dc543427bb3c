"""The command `spincycle prune`: deletes old requests, journals and audit entries."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import click

from spincycle.admin.age import Age
from spincycle.admin.databases import exit_on_error, job_log_database, request_manager_database

BATCH = 200
"""Default number of requests per transaction."""

SEAL_BATCH = 200
"""Seals of the audit log per transaction, of at most 500 entries each."""


@dataclass(slots=True)
class _Deleted:
    """Numbers of deleted rows."""

    requests: int = 0
    entries: int = 0
    runners: int = 0


@click.command()
@click.option(
    "--older-than",
    "age",
    metavar="AGE",
    type=Age(),
    help="Delete requests that ended longer ago than this, for example 90d.",
)
@click.option(
    "--audit-older-than",
    "audit_age",
    metavar="AGE",
    type=Age(),
    help="Delete audit entries that were sealed longer ago than this, for example 730d.",
)
@click.option(
    "--batch",
    metavar="N",
    type=click.IntRange(1, 10_000),
    default=BATCH,
    show_default=True,
    help="Requests to delete in one transaction.",
)
@click.option("--dry-run", is_flag=True, help="Print the number of requests, delete nothing.")
@click.option("--dsn", metavar="DSN", help="Database to use instead of the configured ones.")
def prune(
    age: timedelta | None,
    audit_age: timedelta | None,
    batch: int,
    dry_run: bool,
    dsn: str | None,
) -> None:
    """Permanently delete old requests with their journals, and old audit entries.

    Deletes in small batches while the services run, and can be interrupted and run again at any
    time. The databases are those of SPINCYCLE_RM_DATABASE__DSN and SPINCYCLE_JL_DATABASE__DSN.

    Audit entries are kept when their requests are deleted. To delete them, the account of the
    database must own the table. `spincycle audit verify` accepts the deletion, which is an entry.
    """
    if age is None and audit_age is None:
        raise click.UsageError("give --older-than, --audit-older-than, or both")
    now = datetime.now(UTC)
    with exit_on_error():
        if age is not None:
            _prune_requests(dsn, now - age, batch, dry_run=dry_run)
        if audit_age is not None:
            _prune_audit(dsn, now - audit_age, dry_run=dry_run)


def _prune_requests(dsn: str | None, moment: datetime, batch: int, *, dry_run: bool) -> None:
    if dry_run:
        count = asyncio.run(_count(dsn, moment))
        click.echo(f"{count} requests ended before {_text(moment)}")
        return
    deleted = asyncio.run(_delete(dsn, moment, batch))
    click.echo(
        f"deleted {deleted.requests} requests that ended before {_text(moment)}, "
        f"{deleted.entries} journal entries and {deleted.runners} old runners"
    )


def _prune_audit(dsn: str | None, moment: datetime, *, dry_run: bool) -> None:
    count = asyncio.run(_delete_audit(dsn, moment, dry_run=dry_run))
    if dry_run:
        click.echo(f"{count} audit entries were sealed before {_text(moment)}")
    else:
        click.echo(f"deleted {count} audit entries that were sealed before {_text(moment)}")


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


async def _delete(dsn: str | None, moment: datetime, batch: int) -> _Deleted:
    from spincycle.job_log.retention import JournalRetention as Journals
    from spincycle.request_manager.storage.retention import RequestRetention as Requests

    deleted = _Deleted()
    async with request_manager_database(dsn) as manager, job_log_database(dsn) as job_log:
        requests, journals = Requests(manager), Journals(job_log)
        while request_ids := await requests.ended_before(moment, batch):
            # Journals first: after an interruption, the next run still finds the requests.
            deleted.entries += await journals.forget(request_ids)
            deleted.requests += await requests.delete(request_ids)
        deleted.runners = await requests.delete_runners(moment)
    return deleted


async def _count(dsn: str | None, moment: datetime) -> int:
    from spincycle.request_manager.storage.retention import RequestRetention as Requests

    async with request_manager_database(dsn) as manager:
        return await Requests(manager).count_ended_before(moment)


async def _delete_audit(dsn: str | None, moment: datetime, *, dry_run: bool) -> int:
    """Delete audit entries, or count them; return their number."""
    from spincycle.request_manager.storage.retention import RequestRetention as Requests

    total = 0
    async with request_manager_database(dsn) as manager:
        requests = Requests(manager)
        if dry_run:
            return await requests.count_audit(moment)
        while (deleted := await requests.delete_audit(moment, SEAL_BATCH)) is not None:
            total += deleted
    return total
