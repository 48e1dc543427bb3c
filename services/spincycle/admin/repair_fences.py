"""The command `spincycle repair-fences`: lowers journal fences to the epochs of their requests."""

from __future__ import annotations

import asyncio
import sys

import click

from spincycle.admin.databases import exit_on_error, job_log_database, request_manager_database


@click.command("repair-fences")
@click.argument("request_ids", metavar="ID...", nargs=-1, required=True)
@click.option("--dsn", metavar="DSN", help="Database to use instead of the configured ones.")
def repair_fences(request_ids: tuple[str, ...], dsn: str | None) -> None:
    """Lower the journal fences of requests to the current epochs of the requests.

    A journal with a fence of 65536 or more, the result of a bug, rejects all entries of its
    request; `spinc explain` reports it. Only such fences are lowered, and the requests then
    continue without further action. Each change is recorded in the audit log. The databases are
    those of SPINCYCLE_RM_DATABASE__DSN and SPINCYCLE_JL_DATABASE__DSN.
    """
    with exit_on_error():
        lowered, unknown = asyncio.run(_lower(dsn, request_ids))
    for request_id in request_ids:
        if request_id in unknown:
            click.echo(f"error: request {request_id} not found", err=True)
        elif request_id in lowered:
            before, after = lowered[request_id]
            click.echo(f"{request_id}: fence lowered from {before} to {after}")
        else:
            click.echo(f"{request_id}: nothing to repair")
    if unknown:
        sys.exit(1)


async def _lower(
    dsn: str | None, request_ids: tuple[str, ...]
) -> tuple[dict[str, tuple[int, int]], set[str]]:
    """Return fences before and after, by request id, and the unknown request ids."""
    from spincycle.model.revision import FREE_EPOCHS

    async with request_manager_database(dsn) as manager, job_log_database(dsn) as job_log:
        rows = await manager.fetch("chain_holders", request_ids=list(request_ids))
        epochs = {row["request_id"]: row["epoch"] for row in rows}
        fences = await job_log.fetch(
            "lower_fences",
            request_ids=list(epochs),
            epochs=list(epochs.values()),
            least=FREE_EPOCHS,
        )
        lowered = {row["request_id"]: (row["before"], row["after"]) for row in fences}
        for request_id, (before, after) in lowered.items():
            await manager.execute(
                "audit_repaired_fence",
                request_id=request_id,
                reason=f"fence lowered from {before} to {after}",
            )
    return lowered, set(request_ids) - epochs.keys()
