"""The arguments that a caller gives to a request, as plain values."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext

from google.protobuf.struct_pb2 import Struct

from spincycle.errors import InvalidInput
from spincycle.model.job_chain import Value
from spincycle.rpc.limits import MAX_VALUES
from spincycle.runtime.off_loop import LARGE_BYTES, off_loop
from spincycle.wire.values import from_struct, holds_more

MANY_BYTES = 256 * 1024
"""Bytes of arguments from which few requests are made at a time."""

MADE_AT_ONCE = 2
"""Requests with so large arguments that are made at a time: each may take 100 MB meanwhile."""


class LargeArgs:
    """Bounds the memory of requests that are being made out of large arguments."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(MADE_AT_ONCE)

    def slot(self, size: int) -> AbstractAsyncContextManager[None]:
        """Wait, before a request is made out of `size` bytes of arguments, until it may be."""
        return self._slots if size >= MANY_BYTES else nullcontext()


async def read_args(args: Struct, size: int) -> dict[str, Value]:
    """Return the arguments, which take `size` bytes.

    Raises:
        InvalidInput: they hold more than 250,000 values.
    """
    return await off_loop(size >= LARGE_BYTES, lambda: _checked(args))


def _checked(args: Struct) -> dict[str, Value]:
    if holds_more(args, MAX_VALUES):
        raise InvalidInput(
            f"args hold more than {MAX_VALUES} values, those in lists and objects included; "
            "pass fewer, or the name of a file that has them",
            "args",
        )
    return from_struct(args)
