"""Arguments of callers as plain values."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext

from google.protobuf.struct_pb2 import Struct

from spincycle.errors import InvalidInput
from spincycle.model.job_chain import Value
from spincycle.rpc.limits import MAX_VALUES
from spincycle.runtime.off_loop import LARGE_BYTES, off_loop
from spincycle.wire.values import from_struct, holds_more

LARGE_ARGS_BYTES = 256 * 1024
"""Bytes of arguments from which the number of requests created at the same time is bounded."""

MAX_CONCURRENT = 2
"""Requests with such arguments that are created at the same time: each may need 100 MB."""


class LargeArgs:
    """Bounds the memory for creating requests with large arguments."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(MAX_CONCURRENT)

    def slot(self, size: int) -> AbstractAsyncContextManager[None]:
        """Return a context that waits until `size` bytes of arguments may be processed."""
        return self._slots if size >= LARGE_ARGS_BYTES else nullcontext()


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
