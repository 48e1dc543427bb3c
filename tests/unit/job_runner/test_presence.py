from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from tests.waiting import until

from spincycle.errors import RunnerUnknown
from spincycle.internal.v1 import runner_coordination_service_pb2 as coordination_pb2
from spincycle.internal.v1.runner_coordination_service_pb2_grpc import (
    RunnerCoordinationServiceServicer,
    add_RunnerCoordinationServiceServicer_to_server,
)
from spincycle.job_runner.database_clock import DatabaseClock
from spincycle.job_runner.held_chains import HeldChains
from spincycle.job_runner.lease import Lease
from spincycle.job_runner.presence import Identity, RunnerPresence
from spincycle.rpc.status import abort


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


class Manager(RunnerCoordinationServiceServicer):
    """Knows runners until the test says that they are given up."""

    def __init__(self) -> None:
        self.registered: list[str] = []
        self.beats: list[coordination_pb2.HeartbeatRequest] = []
        self.fails = False
        self.gone: set[str] = set()
        self.answers: list[coordination_pb2.HeartbeatResponse] = []
        self.interval = 0.01
        self.time = 0

    async def Register(self, request, context):  # type: ignore[no-untyped-def]
        self.registered.append(request.runner_id)
        response = coordination_pb2.RegisterResponse()
        response.heartbeat_interval.FromNanoseconds(int(self.interval * 1e9))
        response.silence_timeout.FromSeconds(3600)
        response.stored_at.FromSeconds(self.time)
        return response

    async def Heartbeat(self, request, context):  # type: ignore[no-untyped-def]
        self.beats.append(request)
        if request.runner_id in self.gone:
            await abort(context, RunnerUnknown(request.runner_id))
        if self.fails:
            await context.abort(grpc.StatusCode.INTERNAL, "as the test says")
        response = self.answers.pop(0) if self.answers else coordination_pb2.HeartbeatResponse()
        response.stored_at.FromSeconds(self.time)
        return response


@pytest.fixture
async def manager() -> AsyncIterator[tuple[Manager, str]]:
    manager = Manager()
    server = grpc.aio.server()
    add_RunnerCoordinationServiceServicer_to_server(manager, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield manager, f"127.0.0.1:{port}"
    await server.stop(0)


def presence(
    address: str, chains: Chains, lease: Lease, clock: DatabaseClock | None = None
) -> RunnerPresence:
    held = HeldChains(lambda: chains.held, dict)
    clock = clock or DatabaseClock()
    return RunnerPresence(
        address, Identity("here:1", 0, 0, ()), chains, held, lambda: 0.0, lease, clock
    )


async def test_chains_have_the_time_that_answers_to_registrations_and_heartbeats_carry(
    manager: tuple[Manager, str],
) -> None:
    manager[0].time = 1_000
    manager[0].interval = 0.1
    clock = DatabaseClock()
    present = presence(manager[1], Chains(), Lease(), clock)
    running = asyncio.create_task(present.run())
    await until(lambda: present.known)
    assert 999 < clock.for_chain()() / 1e9 < 1_100

    manager[0].time = 2_000_000

    await until(lambda: 1_999_999 < clock.for_chain()() / 1e9 < 2_000_100)
    running.cancel()
    await present.close()


async def test_an_answered_beat_renews_the_lease(manager: tuple[Manager, str]) -> None:
    lease = Lease()
    present = presence(manager[1], Chains(), lease)
    running = asyncio.create_task(present.run())

    await until(lambda: manager[0].beats)

    assert lease.holds()
    running.cancel()
    await present.close()


async def test_a_beat_that_is_not_answered_is_soon_sent_again(
    manager: tuple[Manager, str],
) -> None:
    manager[0].fails = True
    chains = Chains()
    present = presence(manager[1], chains, Lease())
    running = asyncio.create_task(present.run())

    await until(lambda: len(manager[0].beats) > 2)

    assert chains.abandoned == 0
    assert len(manager[0].registered) == 1
    running.cancel()
    await present.close()


async def test_a_runner_that_was_given_up_abandons_its_chains_and_comes_back_as_another(
    manager: tuple[Manager, str],
) -> None:
    chains, lease = Chains(), Lease()
    present = presence(manager[1], chains, lease)
    running = asyncio.create_task(present.run())
    await until(lambda: manager[0].beats)

    manager[0].gone.update(manager[0].registered)

    await until(lambda: len(set(manager[0].registered)) == 2)
    assert chains.abandoned == 1
    await until(lease.holds)
    running.cancel()
    await present.close()


async def test_a_runner_that_has_left_does_not_register_again(
    manager: tuple[Manager, str],
) -> None:
    present = presence(manager[1], Chains(), Lease())
    running = asyncio.create_task(present.run())
    await until(lambda: manager[0].beats)

    await present.leave()
    manager[0].gone.update(manager[0].registered)

    await running
    assert len(manager[0].registered) == 1
    await present.close()


async def test_a_runner_whose_beats_are_not_answered_is_not_heard_until_one_is(
    manager: tuple[Manager, str],
) -> None:
    present = presence(manager[1], Chains(), Lease())
    assert not present.is_heard()
    running = asyncio.create_task(present.run())
    await until(present.is_heard)

    manager[0].fails = True
    await until(lambda: not present.is_heard())
    manager[0].fails = False

    await until(present.is_heard)
    assert present.pulse.is_alive()
    running.cancel()
    await present.close()


def chain(request_id: str, epoch: int) -> coordination_pb2.ChainEpoch:
    return coordination_pb2.ChainEpoch(request_id=request_id, epoch=epoch)


async def test_a_runner_lists_its_chains_confirms_what_it_lacks_and_abandons_what_is_not_its_own(
    manager: tuple[Manager, str],
) -> None:
    chains = Chains(kept=3, newer=5, ended=2)
    manager[0].interval = 3600.0
    manager[0].answers = [
        coordination_pb2.HeartbeatResponse(list_chains=True),
        coordination_pb2.HeartbeatResponse(
            expected_chains=[chain("kept", 3), chain("newer", 4), chain("lost", 7)],
            abandoned_chains=[chain("ended", 2)],
        ),
    ]
    present = presence(manager[1], chains, Lease())
    await present._register()
    beating = asyncio.create_task(present._beat_until_given_up())
    present._interval = 0.0

    await until(lambda: len(manager[0].beats) >= 3)
    beating.cancel()
    await present.close()

    digest, listing, confirming = manager[0].beats[:3]
    before = {"kept": 3, "newer": 5, "ended": 2}
    assert digest.chains_digest == HeldChains(lambda: before, dict).digest()
    assert not digest.HasField("held_chains")
    assert {each.request_id: each.epoch for each in listing.held_chains.chains} == before
    assert list(confirming.missing_chains.chains) == [chain("lost", 7)]
    assert chains.held == {"kept": 3, "newer": 5}


async def test_what_a_runner_has_confirmed_is_not_sent_again(manager: tuple[Manager, str]) -> None:
    manager[0].answers = [
        coordination_pb2.HeartbeatResponse(expected_chains=[chain("lost", 7)]),
    ]
    present = presence(manager[1], Chains(), Lease())
    running = asyncio.create_task(present.run())

    await until(lambda: len(manager[0].beats) >= 3)

    confirmed = [beat.HasField("missing_chains") for beat in manager[0].beats[:3]]
    assert confirmed == [False, True, False]
    running.cancel()
    await present.close()


def test_an_end_that_is_not_stored_yet_is_still_held() -> None:
    held = HeldChains(lambda: {"running": 2}, lambda: {"ended": 1})

    assert held.epochs() == {"running": 2, "ended": 1}
    assert held.digest() == (
        HeldChains(lambda: {"running": 2}, dict).digest()
        ^ HeldChains(lambda: {"ended": 1}, dict).digest()
    )
    assert HeldChains(dict, dict).digest() == 0
