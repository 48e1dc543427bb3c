"""Refused calls are audited in the background, within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, cast

from tests.waiting import until

from spincycle.errors import DatabaseUnavailable
from spincycle.request_manager.refusal_audit import AuditPolicy, RefusalAudit
from spincycle.request_manager.storage.actor import Actor
from spincycle.request_manager.storage.audit_store import AuditStore, Refusal

REFUSAL = Refusal("spiffe://a", "S/Report", "NOT_YOURS", "not that runner's", "ipv4:1", "r1")

POLICY = AuditPolicy(period=60.0, kinds=3, pending=4, retry=0.001)


class Rows:
    """Stores what it gets, while the database is there."""

    def __init__(self) -> None:
        self.rows: list[Refusal] = []
        self.is_away = False
        self.blocked: asyncio.Event | None = None
        self.attempts = 0

    async def add_refusals(self, refusals: Sequence[Refusal]) -> None:
        self.attempts += 1
        if self.blocked is not None:
            await self.blocked.wait()
        if self.is_away:
            raise DatabaseUnavailable("away")
        self.rows += refusals


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def audit_of(rows: Rows, clock: Clock | None = None, **policy: Any) -> RefusalAudit:
    return RefusalAudit(cast("AuditStore", rows), replace(POLICY, **policy), clock or Clock())


@asynccontextmanager
async def running(audit: RefusalAudit) -> AsyncIterator[None]:
    task = asyncio.create_task(audit.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_refusal_is_stored_in_the_background() -> None:
    rows = Rows()
    audit = audit_of(rows)
    async with running(audit):
        assert audit.record(REFUSAL)
        await until(lambda: rows.rows == [REFUSAL])


async def test_equal_refusals_of_a_minute_are_one_further_row_with_their_number() -> None:
    rows, clock = Rows(), Clock()
    audit = audit_of(rows, clock)
    async with running(audit):
        audit.record(REFUSAL)
        for _ in range(5):
            assert not audit.record(replace(REFUSAL, peer="ipv4:2"))
        await until(lambda: rows.rows == [REFUSAL])

        clock.now += 60.0
        assert audit.record(REFUSAL)
        await until(lambda: len(rows.rows) == 3)

    counted = "5 more within 60 s, the first one: not that runner's"
    assert rows.rows[1:] == [replace(REFUSAL, problem=counted), REFUSAL]


async def test_repeats_are_stored_after_the_minute_without_a_further_refusal() -> None:
    rows = Rows()
    audit = RefusalAudit(cast("AuditStore", rows), replace(POLICY, period=0.05))
    async with running(audit):
        audit.record(REFUSAL)
        audit.record(REFUSAL)
        await until(lambda: len(rows.rows) == 2)

    assert rows.rows[1].problem.startswith("1 more within 0.05 s")


async def test_refusals_that_differ_in_caller_method_reason_or_request_have_rows_of_their_own() -> (
    None
):
    rows = Rows()
    audit = audit_of(rows, kinds=10, pending=10)
    different = [
        REFUSAL,
        replace(REFUSAL, caller="spiffe://b"),
        replace(REFUSAL, method="S/Finish"),
        replace(REFUSAL, reason="NOT_IDENTIFIED"),
        replace(REFUSAL, request_id="r2"),
    ]
    async with running(audit):
        assert all(audit.record(one) for one in different)
        await until(lambda: rows.rows == different)


async def test_only_so_many_different_refusals_are_stored_per_minute() -> None:
    rows, clock = Rows(), Clock()
    audit = audit_of(rows, clock)
    async with running(audit):
        for number in range(100):
            audit.record(replace(REFUSAL, request_id=str(number)))
        await until(lambda: len(rows.rows) == 3)
        assert audit.left_out == 97

        clock.now += 60.0
        for number in range(100):
            audit.record(replace(REFUSAL, request_id=str(number)))
        await until(lambda: len(rows.rows) == 6)
    assert audit.left_out == 194


async def test_a_caller_does_not_use_up_what_is_stored_of_others() -> None:
    rows = Rows()
    audit = audit_of(rows, all_kinds=5)
    async with running(audit):
        for number in range(100):
            audit.record(replace(REFUSAL, request_id=str(number)))
        await until(lambda: len(rows.rows) == 3)
        for number in range(100):
            audit.record(replace(REFUSAL, caller="other", request_id=str(number)))
        await until(lambda: len(rows.rows) == 5)

    assert [row.caller for row in rows.rows] == [REFUSAL.caller] * 3 + ["other"] * 2
    assert audit.left_out == 195


async def test_a_denied_operation_is_stored_with_its_caller_and_problem() -> None:
    rows = Rows()
    audit = audit_of(rows)
    actor = Actor("eve", "oidc", ("sales",), "10.0.0.1:5", "no-role", "c1")
    denied = Refusal.of_operation(actor, "stop", "eve may not stop r1", "nap", "r1")
    async with running(audit):
        assert audit.record(denied)
        assert not audit.record(denied)
        assert audit.record(replace(denied, operation="suspend"))
        await until(lambda: len(rows.rows) == 2)

    assert rows.rows[0].text == "eve may not stop r1"
    assert (rows.rows[0].actor, rows.rows[0].caller) == (actor, "eve")


async def test_while_the_database_is_away_rows_wait_within_a_bound() -> None:
    rows, clock = Rows(), Clock()
    rows.is_away = True
    audit = audit_of(rows, clock)
    recorded = []
    async with running(audit):
        for number in range(6):
            recorded.append(replace(REFUSAL, request_id=str(number)))
            audit.record(recorded[-1])
            clock.now += 60.0
        await until(lambda: rows.attempts > 2)

        rows.is_away = False
        await until(lambda: rows.rows == recorded[:4])
    assert audit.left_out == 2


async def test_rows_whose_statement_was_cancelled_are_stored_at_the_end() -> None:
    rows = Rows()
    rows.blocked = asyncio.Event()
    audit = audit_of(rows)
    async with running(audit):
        audit.record(REFUSAL)
        await until(lambda: rows.attempts == 1)
        audit.record(REFUSAL)
    rows.blocked.set()

    await audit.close()

    counted = replace(REFUSAL, problem="1 more within 60 s, the first one: not that runner's")
    assert rows.rows == [REFUSAL, counted]


async def test_the_end_does_not_wait_for_a_database_that_is_away() -> None:
    rows = Rows()
    rows.is_away = True
    audit = audit_of(rows)
    audit.record(REFUSAL)

    await audit.close()

    assert rows.rows == []
