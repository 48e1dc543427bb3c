"""The command `spincycle prune`: deletes old requests with their journals."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import click

from spincycle.admin.age import Age
from spincycle.admin.databases import exit_on_error, job_log_database, request_manager_database

BATCH = 200
"""Default number of requests per transaction."""


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
    required=True,
    help="Delete requests that ended longer ago than this, for example 90d.",
)
@click.option(
    "--batch",
    metavar="N",
    type=click.IntRange(1, 10_000),
    default=BATCH,
    show_default=True,
    help="Requests to delete in one transaction.",
)
@click.option("--keep-audit", is_flag=True, help="Keep the audit log.")
@click.option("--dry-run", is_flag=True, help="Print the number of requests, delete nothing.")
@click.option("--dsn", metavar="DSN", help="Database to use instead of the configured ones.")
def prune(age: timedelta, batch: int, keep_audit: bool, dry_run: bool, dsn: str | None) -> None:
    """Permanently delete old requests with their journals.

    Deletes in small batches while the services run, and can be interrupted and run again at any
    time. The databases are those of SPINCYCLE_RM_DATABASE__DSN and SPINCYCLE_JL_DATABASE__DSN.
    """
    moment = datetime.now(UTC) - age
    when = moment.strftime("%Y-%m-%d %H:%M:%S UTC")
    with exit_on_error():
        if dry_run:
            count = asyncio.run(_count(dsn, moment))
            click.echo(f"{count} requests ended before {when}")
            return
        deleted = asyncio.run(_delete(dsn, moment, batch, keep_audit=keep_audit))
    click.echo(
        f"deleted {deleted.requests} requests that ended before {when}, {deleted.entries} journal "
        f"entries and {deleted.runners} old runners"
    )


async def _delete(dsn: str | None, moment: datetime, batch: int, *, keep_audit: bool) -> _Deleted:
    from spincycle.job_log.retention import JournalRetention as Journals
    from spincycle.request_manager.storage.retention import RequestRetention as Requests

    deleted = _Deleted()
    async with request_manager_database(dsn) as manager, job_log_database(dsn) as job_log:
        requests, journals = Requests(manager), Journals(job_log)
        while request_ids := await requests.ended_before(moment, batch):
            # Journals first: after an interruption, the next run still finds the requests.
            deleted.entries += await journals.forget(request_ids)
            deleted.requests += await requests.delete(request_ids, keep_audit=keep_audit)
        deleted.runners = await requests.delete_runners(moment)
        while not keep_audit and await requests.delete_audit(moment, batch) == batch:
            pass
    return deleted


async def _count(dsn: str | None, moment: datetime) -> int:
    from spincycle.request_manager.storage.retention import RequestRetention as Requests

    async with request_manager_database(dsn) as manager:
        return await Requests(manager).count_ended_before(moment)
