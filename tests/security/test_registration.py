"""Rogue registrations."""

from __future__ import annotations

import pytest
from tests.security.attempt import reason_of
from tests.security.installation import Installation
from tests.security.rogue_runner import RogueRunner


async def test_a_runner_cannot_register_under_the_id_of_another_one(
    installation: Installation, rogue: RogueRunner, request_id: str
) -> None:
    runner_id, _ = await installation.assignment(request_id)
    before = await installation.rows()

    assert await reason_of(rogue.register(runner_id)) == "NOT_YOURS"

    assert await installation.changes_since(before) == []


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254:80",
        "[fe80::1]:80",
        "[::ffff:169.254.169.254]:80",
        "0.0.0.0:32321",
        "[::]:32321",
        "8.8.8.8:443",
        "[2001:4860:4860::8888]:443",
        "224.0.0.1:32321",
        "[ff02::1]:32321",
        "255.255.255.255:32321",
        "metadata.google.internal:80",
        "runner.example.com:32321",
        "localhost.example.com:32321",
        "2130706433:32321",
        "127.1:32321",
        "0x7f000001:32321",
        "017700000001:32321",
        "ipv4:8.8.8.8:443",
        "dns:///runner.example.com:32321",
        "xds:///runner:1",
        "unix-abstract:runner",
        "127.0.0.1:32321,8.8.8.8:443",
        "127.0.0.1@8.8.8.8:443",
        "",
    ],
)
async def test_a_runner_cannot_advertise_an_address_beyond_the_allowed_networks(
    installation: Installation, rogue: RogueRunner, address: str
) -> None:
    before = await installation.rows()

    assert await reason_of(rogue.register(address=address)) == "INVALID_INPUT"

    assert await installation.changes_since(before) == []


async def test_a_runner_cannot_advertise_a_unix_socket_over_tcp(
    installation: Installation, rogue: RogueRunner
) -> None:
    before = await installation.rows()

    for address in ("unix:/run/docker.sock", "unix:///run/docker.sock"):
        assert await reason_of(rogue.register(address=address)) == "INVALID_INPUT"

    assert await installation.changes_since(before) == []


async def test_a_runner_cannot_take_over_the_address_of_another_one(
    installation: Installation, rogue: RogueRunner, request_id: str
) -> None:
    """Chains are for a runner id, so the runner at the address refuses those for the rogue."""
    runner_id, epoch = await installation.assignment(request_id)
    async with installation.database() as connection:
        address = await connection.fetchval(
            "SELECT address FROM request_manager.runners WHERE runner_id = $1", runner_id
        )

    await rogue.register(f"{rogue.runner_id}-elsewhere", address=address, job_types=[])
    other = await installation.run_request()

    assert (await installation.assignment(other))[0] == runner_id
    assert await installation.assignment(request_id) == (runner_id, epoch)
    await rogue.beat(f"{rogue.runner_id}-elsewhere", leaving=True)
    await installation.stop_request(other)
