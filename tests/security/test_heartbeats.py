"""Forged heartbeats."""

from __future__ import annotations

from typing import Any

import pytest
from tests.security.attempt import reason_of
from tests.security.installation import Installation
from tests.security.rogue_runner import RogueRunner

from spincycle.internal.v1 import runner_coordination_service_pb2 as coordination_pb2


def chains(request_id: str, epoch: int) -> coordination_pb2.ChainList:
    chain = coordination_pb2.ChainEpoch(request_id=request_id, epoch=epoch)
    return coordination_pb2.ChainList(chains=[chain])


@pytest.mark.parametrize("kind", ["alive", "leaving", "draining", "missing_chains", "held_chains"])
async def test_a_runner_cannot_send_heartbeats_for_another_one(
    installation: Installation, rogue: RogueRunner, request_id: str, kind: str
) -> None:
    await rogue.register()
    runner_id, epoch = await installation.assignment(request_id)
    before = await installation.rows()
    kinds: dict[str, dict[str, Any]] = {
        "alive": {},
        "leaving": {"leaving": True},
        "draining": {"draining": True},
        "missing_chains": {"missing_chains": chains(request_id, epoch)},
        "held_chains": {"held_chains": coordination_pb2.ChainList()},
    }

    assert await reason_of(rogue.beat(runner_id, **kinds[kind])) == "NOT_YOURS"

    assert await installation.changes_since(before) == []
    assert await installation.assignment(request_id) == (runner_id, epoch)


async def test_a_runner_cannot_have_requests_of_another_one_recovered(
    installation: Installation, rogue: RogueRunner, request_id: str
) -> None:
    await rogue.register()
    _, epoch = await installation.assignment(request_id)
    before = await installation.rows()

    for missing in (epoch, epoch + 1, 0):
        await rogue.beat(missing_chains=chains(request_id, missing))

    assert await installation.changes_since(before) == []


@pytest.mark.parametrize("higher", [0, 1, 2**40, 2**62])
async def test_a_runner_that_claims_requests_of_another_one_does_not_get_them(
    installation: Installation, rogue: RogueRunner, request_id: str, higher: int
) -> None:
    """Without a grant, no epoch takes a request away from its runner."""
    await rogue.register()
    _, epoch = await installation.assignment(request_id)
    before = await installation.rows()

    response = await rogue.beat(held_chains=chains(request_id, epoch + higher))

    assert [chain.request_id for chain in response.abandoned_chains] == [request_id]
    assert await installation.changes_since(before) == []


async def test_a_heartbeat_returns_no_requests_of_another_runner(
    installation: Installation, rogue: RogueRunner, request_id: str
) -> None:
    await rogue.register()

    response = await rogue.beat(held_chains=coordination_pb2.ChainList())

    assert not response.expected_chains
    assert not response.stop_request_ids
    assert not response.suspend_request_ids
