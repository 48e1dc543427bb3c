from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.chaos.proxy import Proxy, Relay, Weather

Connect = Callable[[], Awaitable[str]]


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[list[asyncio.Server]]:
    """Two servers on Unix sockets; each sends its number to a client, and then what it receives."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(await _server(tmp_path / f"server-{number}", number))
            for number in range(2)
        ]


@pytest.fixture
def proxies(tmp_path: Path, servers: list[asyncio.Server]) -> list[Proxy]:
    return [Proxy(f"unix:{tmp_path}/server-{number}") for number in range(2)]


@pytest.fixture
async def connect(tmp_path: Path, proxies: list[Proxy]) -> AsyncIterator[Connect]:
    """Connects to a relay, sends a letter, and returns what comes back."""
    relay = Relay(f"unix:{tmp_path}/relay", proxies)
    await relay.start()

    async def connected() -> str:
        reader, writer = await asyncio.open_unix_connection(tmp_path / "relay")
        writer.write(b"x")
        try:
            return (await reader.readexactly(2)).decode()
        except asyncio.IncompleteReadError as error:
            return error.partial.decode()
        except ConnectionResetError:
            return ""
        finally:
            writer.transport.abort()

    yield connected
    await relay.stop()


async def test_a_relay_connects_its_clients_to_each_server_in_turn(connect: Connect) -> None:
    assert [await connect() for _ in range(4)] == ["0x", "1x", "0x", "1x"]


async def test_a_relay_skips_a_server_that_does_not_listen(
    connect: Connect, servers: list[asyncio.Server], proxies: list[Proxy]
) -> None:
    servers[0].close()

    assert [await connect() for _ in range(3)] == ["1x", "1x", "1x"]

    proxies[1].weather = Weather(refuse=True)
    assert await connect() == ""


async def test_a_relay_skips_a_server_that_accepts_and_sends_nothing(
    connect: Connect, tmp_path: Path, proxies: list[Proxy]
) -> None:
    async with await _server(tmp_path / "silent", None):
        proxies[0].target = f"unix:{tmp_path}/silent"

        assert await connect() == "1x"


async def test_a_relay_skips_a_server_whose_bytes_are_swallowed(
    connect: Connect, proxies: list[Proxy]
) -> None:
    proxies[0].weather = Weather(swallow_down=True)

    assert await connect() == "1x"


async def _server(path: Path, number: int | None) -> asyncio.Server:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if number is not None:
            writer.write(str(number).encode())
        while piece := await reader.read(1):
            writer.write(piece)
        writer.transport.abort()

    return await asyncio.start_unix_server(accept, path)
