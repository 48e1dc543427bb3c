"""Steps that the installation takes by itself are in the audit log, each with its reason."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.integration.request_manager.sealed_log import SealedLog, open_log

from spincycle.request_manager.storage.dispatch_store import DispatchStore
from spincycle.request_manager.storage.model import Assignment, Orphan
from spincycle.request_manager.storage.reconciliation_store import ReconciliationStore
from spincycle.request_manager.storage.recovery_store import RecoveryStore
from spincycle.request_manager.storage.request_counts import RequestCounts

PENDING, RUNNING = 1, 2


@pytest.fixture
async def log(database: str, tmp_path: Path) -> AsyncIterator[SealedLog]:
    async with open_log(database, tmp_path / "keys") as log:
        yield log


async def insert(log: SealedLog, request_id: str, state: int, *, orphaned: bool = False) -> None:
    """Insert a request that is assigned to the runner r1 under epoch 3."""
    await log.connection.execute(
        "INSERT INTO request_manager.requests (request_id, type, state, created_at, total_jobs,"
        " spec_revision, plan_hash, runner_id, epoch, orphaned)"
        " VALUES ($1, 'nap', $2, now(), 3, '', '', 'r1', 3, $3)",
        request_id,
        state,
        orphaned,
    )


async def audited(log: SealedLog) -> list[tuple[str, ...]]:
    """Return caller, operation, request, type and reason of all entries."""
    rows = await log.connection.fetch(
        "SELECT user_name, action, request_id, request_type, reason FROM request_manager.audit"
        " ORDER BY audit_id"
    )
    return [tuple(row) for row in rows]


async def test_reconciliation_is_audited(log: SealedLog) -> None:
    store = ReconciliationStore(log.database)
    await insert(log, "missing", RUNNING)
    await insert(log, "stray", RUNNING)
    await insert(log, "right", RUNNING)

    await store.orphan_missing("r1", {"missing": 3, "right": 2})
    await store.orphan_strays("r1", {"stray": 5, "right": 3}, set())

    stray = "runner r1 holds its chain under epoch 5, which its row does not assign; epoch raised"
    assert await audited(log) == [
        (
            "",
            "reconcile",
            "missing",
            "nap",
            "runner r1 does not hold its chain; epoch raised to 4",
        ),
        ("", "reconcile", "stray", "nap", f"{stray} to 6"),
    ]


async def test_claims_for_recovery_and_raised_epochs_are_audited_once(log: SealedLog) -> None:
    store = RecoveryStore(log.database)
    await insert(log, "unanswered", PENDING)
    await insert(log, "lost", RUNNING)
    await insert(log, "claimed", RUNNING, orphaned=True)

    await store.claim_unanswered([Assignment("unanswered", "r1", 3, resumed=False)], 4.0)
    await store.claim_orphans(4.0, 10)
    await store.outrun_fence(Orphan("lost", 4, "r1", 0, 0), 9)
    await store.outrun_fence(Orphan("lost", 4, "r1", 0, 0), 9)

    assert await audited(log) == [
        ("", "fence", "unanswered", "nap", "runner r1 may have accepted it; epoch raised to 4"),
        ("", "fence", "lost", "nap", "runner r1 is lost; epoch raised to 4"),
        ("", "fence", "lost", "nap", "epoch raised to 9, above the fence of the journal"),
    ]


async def test_a_request_that_no_runner_can_run_is_audited_with_the_reason(log: SealedLog) -> None:
    store = DispatchStore(log.database, RequestCounts())
    await insert(log, "r1", RUNNING)

    await store.fail({Assignment("r1", "r1", 3, resumed=False): "the chain is damaged"})

    assert await audited(log) == [("", "fail", "r1", "nap", "the chain is damaged")]
