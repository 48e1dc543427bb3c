"""spincycle prune: delete requests that ended long ago, with their journals."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import click

from spincycle.admin.databases import failures_reported, job_log_database, request_manager_database

BATCH = 200
"""Requests that one statement deletes, by default."""


_CENTURY = 100 * 365 * 86400


class _Age(click.ParamType[timedelta]):
    """A span such as 90d, 36h or 1h30m."""

    name = "age"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        from spincycle.model.duration import parse_duration

        days = re.fullmatch(r"(\d{1,5})d", value)
        try:
            seconds = int(days[1]) * 86400 if days else parse_duration(value)
        except ValueError:
            seconds = 0
        if not 0 < seconds < _CENTURY:
            self.fail(f'"{value}" is not an age: write it as 90d, 36h or 1h30m', param, ctx)
        return timedelta(seconds=seconds)


@dataclass(slots=True)
class _Pruned:
    """What was deleted."""

    requests: int = 0
    entries: int = 0
    runners: int = 0


@click.command()
@click.option(
    "--older-than",
    "age",
    metavar="AGE",
    type=_Age(),
    required=True,
    help="Delete what ended longer ago than this, for example 90d.",
)
@click.option(
    "--batch",
    metavar="N",
    type=click.IntRange(1, 10_000),
    default=BATCH,
    show_default=True,
    help="Requests to delete in one transaction.",
)
@click.option("--keep-audit", is_flag=True, help="Keep who did what to them, and why.")
@click.option("--dry-run", is_flag=True, help="Say how many requests it would be, and end.")
@click.option("--dsn", metavar="DSN", help="The database, instead of the configured ones.")
def prune(age: timedelta, batch: int, keep_audit: bool, dry_run: bool, dsn: str | None) -> None:
    """Delete requests that ended long ago, with their journals, for good.

    It goes in small batches beside the services at work, and can be stopped and run again at
    any time. The databases are those of the services' environment, SPINCYCLE_RM_DATABASE__DSN
    and SPINCYCLE_JL_DATABASE__DSN.
    """
    moment = datetime.now(UTC) - age
    when = moment.strftime("%Y-%m-%d %H:%M:%S UTC")
    with failures_reported():
        if dry_run:
            count = asyncio.run(_counted(dsn, moment))
            click.echo(f"{count} requests ended before {when}")
            return
        pruned = asyncio.run(_pruned(dsn, moment, batch, keep_audit=keep_audit))
    click.echo(
        f"deleted {pruned.requests} requests that ended before {when}, with {pruned.entries} "
        f"journal entries and {pruned.runners} runners that were gone"
    )


async def _pruned(dsn: str | None, moment: datetime, batch: int, *, keep_audit: bool) -> _Pruned:
    from spincycle.job_log.retention import JournalRetention as Journals
    from spincycle.request_manager.storage.retention import RequestRetention as Requests

    done = _Pruned()
    async with request_manager_database(dsn) as manager, job_log_database(dsn) as job_log:
        requests, journals = Requests(manager), Journals(job_log)
        while request_ids := await requests.ended_before(moment, batch):
            # In this order: if this ends between the two, the next run finds the request again.
            done.entries += await journals.forget(request_ids)
            done.requests += await requests.delete(request_ids, keep_audit=keep_audit)
        done.runners = await requests.delete_runners(moment)
    return done


async def _counted(dsn: str | None, moment: datetime) -> int:
    from spincycle.request_manager.storage.retention import RequestRetention as Requests

    async with request_manager_database(dsn) as manager:
        return await Requests(manager).count_ended_before(moment)
