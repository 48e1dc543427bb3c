from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, cast

from spincycle.gateway.coalescing_transport import LARGE, CoalescingTransport


class Transport:
    """Records its calls."""

    def __init__(self, *, is_encrypted: bool = False) -> None:
        self.done: list[Any] = []
        self._is_encrypted = is_encrypted

    def get_extra_info(self, name: str) -> object:
        return "context" if name == "sslcontext" and self._is_encrypted else None

    def write(self, data: bytes) -> None:
        self.done.append(bytes(data))

    def writelines(self, parts: Iterable[bytes]) -> None:
        self.done.append(b"".join(parts))

    def close(self) -> None:
        self.done.append("closed")

    def is_closing(self) -> bool:
        return "closed" in self.done

    def get_write_buffer_size(self) -> int:
        return 0


def joined(*, is_encrypted: bool = False) -> tuple[CoalescingTransport, list[Any]]:
    transport = Transport(is_encrypted=is_encrypted)
    loop = asyncio.get_running_loop()
    return CoalescingTransport(cast("asyncio.Transport", transport), loop), transport.done


async def test_writes_of_one_loop_iteration_are_sent_together() -> None:
    transport, done = joined()
    transport.write(b"head")
    transport.write(b" body")
    assert transport.get_write_buffer_size() == 9
    await asyncio.sleep(0)
    assert done == [b"head body"]
    assert transport.get_write_buffer_size() == 0

    transport.write(b"next")
    await asyncio.sleep(0)
    assert done == [b"head body", b"next"]


async def test_a_large_write_is_sent_immediately() -> None:
    transport, done = joined()
    transport.write(b"head")
    transport.write(b"x" * LARGE)
    assert done == [b"head" + b"x" * LARGE]

    transport.write(b"end")
    await asyncio.sleep(0)
    assert done[1:] == [b"end"]


async def test_buffered_writes_are_sent_before_close_and_none_after() -> None:
    transport, done = joined()
    transport.write(b"last words")
    transport.close()
    transport.write(b"too late")
    await asyncio.sleep(0)

    assert done == [b"last words", "closed"]
    assert transport.is_closing()


async def test_with_tls_large_writes_are_split_so_that_what_is_unsent_is_counted() -> None:
    transport, done = joined(is_encrypted=True)

    transport.write(b"h" * 10)
    transport.write(b"x" * (2 * LARGE))

    assert [len(part) for part in done] == [LARGE, LARGE, 10]
    assert b"".join(done) == b"h" * 10 + b"x" * (2 * LARGE)
