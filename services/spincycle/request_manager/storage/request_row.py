"""Conversion of rows of the table of requests."""

from __future__ import annotations

import asyncpg

from spincycle.model.state import State
from spincycle.request_manager.storage.model import Request
from spincycle.rpc.limits import REASON_BYTES
from spincycle.text.shortening import shortened


def request_of(row: asyncpg.Record) -> Request:
    """Return a row, which has the address of its runner, as a request.

    Reasons are shortened: rows of older versions have reasons of any length.
    """
    return Request(
        request_id=row["request_id"],
        type=row["type"],
        state=State(row["state"]),
        user=row["user_name"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        total_jobs=row["total_jobs"],
        finished_jobs=row["finished_jobs"],
        rolled_back_jobs=row["rolled_back_jobs"],
        epoch=row["epoch"],
        runner_id=row["runner_id"] or "",
        runner_address=(row["runner_address"] or "") if row["state"] == State.RUNNING else "",
        priority=row["priority"],
        reason=shortened(row["reason"], REASON_BYTES),
        spec_revision=row["spec_revision"],
        plan_hash=row["plan_hash"],
        rerun_of=row["rerun_of"] or "",
        desired_state=State(row["desired_state"]) if row["desired_state"] else None,
        max_running=row["max_running"],
        given_args=row["given_args"],
        required_features=frozenset(row["required_features"]),
        job_types=tuple(row["job_types"]),
    )
