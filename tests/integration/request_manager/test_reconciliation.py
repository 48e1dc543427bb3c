"""Differences between the rows of requests and the chains of runners are repaired."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from itertools import product

import asyncpg
import pytest
from msgspec.structs import replace
from tests.integration.request_manager.conftest import (
    Manager,
    ShelvedJobLog,
    SteeredRunner,
    running_manager,
    until,
)

from spincycle.internal.v1 import runner_coordination_service_pb2 as coordination_pb2
from spincycle.job_runner.held_chains import HeldChains
from spincycle.model.revision import LAST_EPOCH
from spincycle.request_manager.config import RequestManagerConfig
from spincycle.v1 import request_manager_service_pb2 as rpc
from spincycle.v1 import state_pb2

Heartbeat = coordination_pb2.HeartbeatRequest
Answered = coordination_pb2.HeartbeatResponse

EPOCH = 3
"""Epoch of every request before the faults."""

ROWS = {
    "pending": "state = 1",
    "unaccepted": "state = 1, runner_id = 'subject', claimed_until = now() + interval '1 hour'",
    "running": "state = 2, runner_id = 'subject', started_at = now()",
    "running elsewhere": "state = 2, runner_id = 'elsewhere', started_at = now()",
    "suspended": "state = 7",
    "held": "state = 7, desired_state = 7",
    "complete": "state = 3, finished_at = now()",
    "failed": "state = 4, finished_at = now()",
    "stopped": "state = 6, finished_at = now()",
    "orphaned": "state = 2, runner_id = 'subject', orphaned = true",
}
"""What a row can say, as the SET of an UPDATE."""

HELD = {
    "nothing": None,
    "the chain": EPOCH,
    "an older chain": EPOCH - 1,
    "a newer chain": EPOCH + 2,
}
"""Epoch of the chain that the runner holds."""

FENCES = {"no fence": 0, "the next epoch": EPOCH + 1, "far ahead": EPOCH + 9, "2^16": 2**16}
"""Epoch under which the journal is fenced."""

LIVE = {"pending", "unaccepted", "running", "running elsewhere", "suspended", "orphaned"}


@dataclass(frozen=True)
class Case:
    row: str
    held: str
    fence: str

    @property
    def is_recovered(self) -> bool:
        """Whether the request has to go through the recovery."""
        if self.row not in LIVE:
            return False
        if self.row == "orphaned" or self.held == "a newer chain":
            return True
        if self.row == "running":
            return self.held != "the chain"
        return self.held == "the chain" and self.row != "unaccepted"

    @property
    def stays(self) -> bool:
        """Whether the row must be unchanged in the end."""
        return not self.is_recovered and self.row not in {"pending", "suspended"}

    @property
    def is_abandoned(self) -> bool:
        """Whether the runner must abandon its chain."""
        fits = self.held == "the chain" and self.row in {"unaccepted", "running"}
        return self.held != "nothing" and not fits


CASES = [Case(*each) for each in product(ROWS, HELD, FENCES)]


@pytest.fixture
async def manager(
    config: RequestManagerConfig, job_log: tuple[ShelvedJobLog, str]
) -> AsyncIterator[Manager]:
    # Only the faults of the test are repaired: silent runners are not evicted.
    async with running_manager(replace(config, silence_limit=60.0), job_log[0]) as manager:
        yield manager


class Subject:
    """A runner that holds the chain of the test case, and sends each heartbeat twice."""

    def __init__(self, manager: Manager, held: dict[str, int], runner_id: str = "subject") -> None:
        self.held = held
        self.abandoned: set[str] = set()
        self.sent: list[Heartbeat] = []
        self._runner_id = runner_id
        self._manager = manager

    async def beat(self) -> None:
        """Send a heartbeat, and those that follow it at once."""
        response = await self._send(Heartbeat(chains_digest=self._digest()))
        if not response.list_chains:
            return
        listing = Heartbeat(chains_digest=self._digest())
        listing.held_chains.SetInParent()
        for request_id, epoch in self.held.items():
            listing.held_chains.chains.add(request_id=request_id, epoch=epoch)
        response = await self._send(listing)
        for chain in response.abandoned_chains:
            self.abandoned.add(chain.request_id)
            self.held.pop(chain.request_id, None)
        if response.expected_chains:
            confirming = Heartbeat(chains_digest=self._digest())
            confirming.missing_chains.SetInParent()
            for chain in response.expected_chains:
                if self.held.get(chain.request_id, 0) < chain.epoch:
                    confirming.missing_chains.chains.append(chain)
            await self._send(confirming)

    async def replay(self) -> None:
        """Send the same heartbeats again, as delayed ones."""
        for beat in self.sent:
            await self._manager.coordination.Heartbeat(beat)

    async def _send(self, beat: Heartbeat) -> Answered:
        beat.runner_id = self._runner_id
        beat.draining = True
        self.sent.append(beat)
        await self._manager.coordination.Heartbeat(beat)
        return await self._manager.coordination.Heartbeat(beat)

    def _digest(self) -> int:
        return HeldChains(lambda: self.held, dict).digest()


def rows_of(cases: list[tuple[Case, str]], name: str) -> list[str]:
    return [request_id for case, request_id in cases if case.row == name]


def differences(cases: list[tuple[Case, str]]) -> Iterator[tuple[str, int]]:
    for case, request_id in cases:
        epoch = HELD[case.held]
        if epoch is not None:
            yield request_id, epoch


async def test_every_pair_of_row_and_runner_ends_with_one_runner_or_unchanged(
    manager: Manager, connection: asyncpg.Connection
) -> None:
    subject = Subject(manager, {})
    for name in ("subject", "elsewhere"):
        await manager.register(SteeredRunner(name))
        await manager.coordination.Heartbeat(Heartbeat(runner_id=name, draining=True))
    cases = [(case, (await manager.create()).request.id) for case in CASES]
    for name, changes in ROWS.items():
        await connection.execute(
            f"UPDATE request_manager.requests SET epoch = $1, {changes}"
            " WHERE request_id = ANY ($2)",
            EPOCH,
            rows_of(cases, name),
        )
    for case, request_id in cases:
        manager.job_log.fences[request_id] = FENCES[case.fence]
    subject.held = dict(differences(cases))

    for _ in range(3):
        await subject.beat()
    await subject.replay()

    assert subject.abandoned == {id_ for case, id_ in cases if case.is_abandoned}
    await manager.register(SteeredRunner("taker"))

    async def row(request_id: str) -> asyncpg.Record:
        found = await connection.fetchrow(
            "SELECT state, epoch, runner_id, orphaned FROM request_manager.requests"
            " WHERE request_id = $1",
            request_id,
        )
        assert found is not None
        return found

    async def taken() -> bool:
        live = [id_ for case, id_ in cases if case.row in LIVE and not case.stays]
        found = await connection.fetchval(
            "SELECT count(*) FROM request_manager.requests"
            " WHERE request_id = ANY ($1) AND state = 2 AND runner_id = 'taker'",
            live,
        )
        return bool(found == len(live))

    await until(taken)
    await subject.replay()
    for case, request_id in cases:
        found = await row(request_id)
        if case.stays:
            expected = {"running": "subject", "unaccepted": "subject"}.get(case.row)
            if case.row == "running elsewhere":
                expected = "elsewhere"
            assert (found["runner_id"], found["orphaned"]) == (expected, False), case
            # A suspension by a user outlasts the recovery.
            assert found["epoch"] == EPOCH or case.row == "held", case
        elif case.is_recovered:
            assert found["epoch"] > max(HELD[case.held] or 0, FENCES[case.fence], EPOCH), case


async def test_a_runner_and_a_request_manager_that_agree_list_nothing(
    manager: Manager, connection: asyncpg.Connection
) -> None:
    runner = await manager.register(SteeredRunner("one"))
    ids = [(await manager.create()).request.id for _ in range(3)]
    await until(lambda: set(ids) <= runner.chains.keys())
    for request_id in ids:
        await manager.until_state(request_id, 2)

    digest = HeldChains(lambda: runner.chains, dict).digest()
    beat = Heartbeat(runner_id="one", chains_digest=digest)

    assert digest > 0
    assert not (await manager.coordination.Heartbeat(beat)).list_chains
    beat.chains_digest = digest ^ 1
    assert (await manager.coordination.Heartbeat(beat)).list_chains


async def test_a_stop_of_a_chain_that_its_runner_lacks_takes_effect(
    manager: Manager, connection: asyncpg.Connection
) -> None:
    runner = await manager.register(SteeredRunner("one"))
    request_id = (await manager.create()).request.id
    await manager.until_state(request_id, state_pb2.STATE_RUNNING)
    runner.chains.clear()
    explained = await manager.stub.Explain(rpc.ExplainRequest(request_id=request_id))
    assert explained.message == (
        "runner one does not hold the chain of the request; once its heartbeats have confirmed "
        "that, the request is recovered on another runner"
    )

    await manager.stub.Stop(rpc.StopRequest(request_id=request_id))
    await Subject(manager, {}, "one").beat()

    await manager.until_state(request_id, state_pb2.STATE_STOPPED)


@pytest.mark.parametrize("fence", [2**17, 2**62])
async def test_a_fence_above_the_last_epoch_is_reported_and_the_request_waits(
    manager: Manager, connection: asyncpg.Connection, fence: int
) -> None:
    runner = await manager.register(SteeredRunner("one"))
    request_id = (await manager.create()).request.id
    await manager.until_state(request_id, 2)
    manager.job_log.fences[request_id] = fence
    runner.chains.clear()
    await Subject(manager, {}, "one").beat()

    async def is_tried() -> bool:
        return bool(
            await connection.fetchval(
                "SELECT orphaned AND claimed_until > now() FROM request_manager.requests"
                " WHERE request_id = $1",
                request_id,
            )
        )

    await until(is_tried)
    explained = await manager.stub.Explain(rpc.ExplainRequest(request_id=request_id))
    assert explained.message == (
        f"its journal is fenced under epoch {fence}, which no runner can be assigned; run "
        f"`spincycle repair-fences {request_id}`"
    )
    assert manager.job_log.fences[request_id] == fence

    manager.job_log.fences[request_id] = 2
    await manager.register(SteeredRunner("two"))
    await manager.until_state(request_id, 2)


async def test_a_request_that_has_used_up_its_epochs_fails_with_the_reason(
    manager: Manager,
) -> None:
    runner = await manager.register(SteeredRunner("one"))
    request_id = (await manager.create()).request.id
    await manager.until_state(request_id, state_pb2.STATE_RUNNING)
    manager.job_log.fences[request_id] = LAST_EPOCH - 1
    runner.chains.clear()

    await Subject(manager, {}, "one").beat()

    await manager.until_state(request_id, state_pb2.STATE_FAIL)
    failed = await manager.stub.Get(rpc.GetRequest(request_id=request_id))
    assert failed.request.state_message == (
        f"the request has reached epoch {LAST_EPOCH}, and can be assigned to no further runner; "
        "rerun it"
    )


async def test_a_request_of_an_unknown_runner_is_recovered(
    manager: Manager, connection: asyncpg.Connection
) -> None:
    request_id = (await manager.create()).request.id
    await connection.execute(
        "UPDATE request_manager.requests SET state = 2, runner_id = 'forgotten', epoch = 1"
        " WHERE request_id = $1",
        request_id,
    )

    runner = await manager.register(SteeredRunner("one"))

    await until(lambda: runner.chains.get(request_id, 0) > 1)
