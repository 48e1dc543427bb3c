from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from tests.waiting import until

from spincycle.errors import RunnerUnknown
from spincycle.identity.append_grants import AppendGrant
from spincycle.internal.v1 import runner_coordination_service_pb2 as coordination_pb2
from spincycle.internal.v1.runner_coordination_service_pb2_grpc import (
    RunnerCoordinationServiceServicer,
    add_RunnerCoordinationServiceServicer_to_server,
)
from spincycle.job_runner.database_clock import DatabaseClock
from spincycle.job_runner.held_chains import HeldChains
from spincycle.job_runner.lease import Lease
from spincycle.job_runner.registration import Identity, RunnerRegistration
from spincycle.rpc.status import abort
from spincycle.wire.append_grants import decode_grant


class Chains:
    chains = 0
    jobs = 0

    def __init__(self, **held: int) -> None:
        self.abandoned = 0
        self.held: dict[str, int] = held

    def abandon(self, request_id: str, epoch: int) -> None:
        assert self.held.pop(request_id) == epoch

    def stop(self, request_id: str, reason: str) -> bool:
        return True

    def suspend(self, request_id: str) -> bool:
        return True

    def abandon_all(self) -> None:
        self.abandoned += 1


Context = grpc.aio.ServicerContext[Any, Any]


class FakeManager(RunnerCoordinationServiceServicer):
    """Acknowledges runners except those in `evicted`."""

    def __init__(self) -> None:
        self.registered: list[str] = []
        self.heartbeats: list[coordination_pb2.HeartbeatRequest] = []
        self.failing = False
        self.evicted: set[str] = set()
        self.responses: list[coordination_pb2.HeartbeatResponse] = []
        self.interval = 0.01
        self.time = 0

    async def Register(
        self, request: coordination_pb2.RegisterRequest, context: Context
    ) -> coordination_pb2.RegisterResponse:
        self.registered.append(request.runner_id)
        response = coordination_pb2.RegisterResponse()
        response.heartbeat_interval.FromNanoseconds(int(self.interval * 1e9))
        response.silence_timeout.FromSeconds(3600)
        response.stored_at.FromSeconds(self.time)
        return response

    async def Heartbeat(
        self, request: coordination_pb2.HeartbeatRequest, context: Context
    ) -> coordination_pb2.HeartbeatResponse:
        self.heartbeats.append(request)
        if request.runner_id in self.evicted:
            await abort(context, RunnerUnknown(request.runner_id))
        if self.failing:
            await context.abort(grpc.StatusCode.INTERNAL, "as the test says")
        response = self.responses.pop(0) if self.responses else coordination_pb2.HeartbeatResponse()
        response.stored_at.FromSeconds(self.time)
        return response


@pytest.fixture
async def manager() -> AsyncIterator[tuple[FakeManager, str]]:
    manager = FakeManager()
    server = grpc.aio.server()
    add_RunnerCoordinationServiceServicer_to_server(manager, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield manager, f"127.0.0.1:{port}"
    await server.stop(0)


def new_registration(
    address: str, chains: Chains, lease: Lease, clock: DatabaseClock | None = None
) -> RunnerRegistration:
    held = HeldChains(lambda: chains.held, dict)
    clock = clock or DatabaseClock()
    return RunnerRegistration(
        address, Identity("here:1", 0, 0, ()), chains, held, lambda: 0.0, lease, clock
    )


async def test_chains_use_the_time_of_registration_and_heartbeat_responses(
    manager: tuple[FakeManager, str],
) -> None:
    manager[0].time = 1_000
    manager[0].interval = 0.1
    clock = DatabaseClock()
    runner = new_registration(manager[1], Chains(), Lease(), clock)
    running = asyncio.create_task(runner.run())
    await until(lambda: runner.registered)
    assert 999 < clock.for_chain()() / 1e9 < 1_100

    manager[0].time = 2_000_000

    await until(lambda: 1_999_999 < clock.for_chain()() / 1e9 < 2_000_100)
    running.cancel()
    await runner.close()


async def test_an_acknowledged_heartbeat_renews_the_lease(manager: tuple[FakeManager, str]) -> None:
    lease = Lease()
    runner = new_registration(manager[1], Chains(), lease)
    running = asyncio.create_task(runner.run())

    await until(lambda: manager[0].heartbeats)

    assert lease.holds()
    running.cancel()
    await runner.close()


async def test_a_failed_heartbeat_is_soon_retried(
    manager: tuple[FakeManager, str],
) -> None:
    manager[0].failing = True
    chains = Chains()
    runner = new_registration(manager[1], chains, Lease())
    running = asyncio.create_task(runner.run())

    await until(lambda: len(manager[0].heartbeats) > 2)

    assert chains.abandoned == 0
    assert len(manager[0].registered) == 1
    running.cancel()
    await runner.close()


async def test_an_evicted_runner_abandons_its_chains_and_registers_under_a_new_id(
    manager: tuple[FakeManager, str],
) -> None:
    chains, lease = Chains(), Lease()
    runner = new_registration(manager[1], chains, lease)
    running = asyncio.create_task(runner.run())
    await until(lambda: manager[0].heartbeats)

    manager[0].evicted.update(manager[0].registered)

    await until(lambda: len(set(manager[0].registered)) == 2)
    assert chains.abandoned == 1
    await until(lease.holds)
    running.cancel()
    await runner.close()


async def test_a_deregistered_runner_does_not_register_again(
    manager: tuple[FakeManager, str],
) -> None:
    runner = new_registration(manager[1], Chains(), Lease())
    running = asyncio.create_task(runner.run())
    await until(lambda: manager[0].heartbeats)

    await runner.deregister()
    manager[0].evicted.update(manager[0].registered)

    await running
    assert len(manager[0].registered) == 1
    await runner.close()


async def test_a_runner_is_not_connected_while_its_heartbeats_fail(
    manager: tuple[FakeManager, str],
) -> None:
    runner = new_registration(manager[1], Chains(), Lease())
    assert not runner.is_connected()
    running = asyncio.create_task(runner.run())
    await until(runner.is_connected)

    manager[0].failing = True
    await until(lambda: not runner.is_connected())
    manager[0].failing = False

    await until(runner.is_connected)
    assert runner.watchdog.is_alive()
    running.cancel()
    await runner.close()


def chain(request_id: str, epoch: int) -> coordination_pb2.ChainEpoch:
    return coordination_pb2.ChainEpoch(request_id=request_id, epoch=epoch)


async def test_a_runner_lists_its_chains_confirms_missing_ones_and_abandons_foreign_ones(
    manager: tuple[FakeManager, str],
) -> None:
    chains = Chains(kept=3, newer=5, ended=2)
    manager[0].interval = 0.1
    manager[0].responses = [
        coordination_pb2.HeartbeatResponse(list_chains=True),
        coordination_pb2.HeartbeatResponse(
            expected_chains=[chain("kept", 3), chain("newer", 4), chain("lost", 7)],
            abandoned_chains=[chain("ended", 2)],
        ),
    ]
    runner = new_registration(manager[1], chains, Lease())
    task = asyncio.create_task(runner.run())

    await until(lambda: len(manager[0].heartbeats) >= 3)
    task.cancel()
    await runner.close()

    digest, listing, confirming = manager[0].heartbeats[:3]
    before = {"kept": 3, "newer": 5, "ended": 2}
    assert digest.chains_digest == HeldChains(lambda: before, dict).digest()
    assert not digest.HasField("held_chains")
    assert {each.request_id: each.epoch for each in listing.held_chains.chains} == before
    assert list(confirming.missing_chains.chains) == [chain("lost", 7)]
    assert chains.held == {"kept": 3, "newer": 5}


async def test_what_a_runner_has_confirmed_is_not_resent(manager: tuple[FakeManager, str]) -> None:
    manager[0].responses = [
        coordination_pb2.HeartbeatResponse(expected_chains=[chain("lost", 7)]),
    ]
    runner = new_registration(manager[1], Chains(), Lease())
    running = asyncio.create_task(runner.run())

    await until(lambda: len(manager[0].heartbeats) >= 3)

    confirmed = [heartbeat.HasField("missing_chains") for heartbeat in manager[0].heartbeats[:3]]
    assert confirmed == [False, True, False]
    running.cancel()
    await runner.close()


async def test_a_runner_shows_the_grants_of_the_chains_that_it_lists(
    manager: tuple[FakeManager, str],
) -> None:
    manager[0].interval = 0.1
    manager[0].responses = [coordination_pb2.HeartbeatResponse(list_chains=True)]
    grant = AppendGrant("granted", 3, "key", b"code")
    epochs = {"granted": 3, "open": 4}
    held = HeldChains(lambda: epochs, dict, lambda: {"granted": grant})
    identity = Identity("here:1", 0, 0, ())
    runner = RunnerRegistration(
        manager[1], identity, Chains(), held, lambda: 0.0, Lease(), DatabaseClock()
    )
    task = asyncio.create_task(runner.run())

    await until(lambda: len(manager[0].heartbeats) >= 2)
    task.cancel()
    await runner.close()

    listed = {one.request_id: one for one in manager[0].heartbeats[1].held_chains.chains}
    assert listed.keys() == epochs.keys()
    assert decode_grant(listed["granted"].append_grant) == grant
    assert not listed["open"].HasField("append_grant")


def test_a_chain_whose_end_is_not_stored_yet_is_still_held() -> None:
    held = HeldChains(lambda: {"running": 2}, lambda: {"ended": 1})

    assert held.epochs() == {"running": 2, "ended": 1}
    assert held.digest() == (
        HeldChains(lambda: {"running": 2}, dict).digest()
        ^ HeldChains(lambda: {"ended": 1}, dict).digest()
    )
    assert HeldChains(dict, dict).digest() == 0
