"""The arguments that a caller gives to a request, as plain values."""

from __future__ import annotations

from google.protobuf.struct_pb2 import Struct

from spincycle.errors import InvalidInput
from spincycle.job_chain import Value
from spincycle.off_loop import LARGE_BYTES, off_loop
from spincycle.rpc.limits import MOST_VALUES
from spincycle.wire.values import from_struct, holds_more


async def read_args(args: Struct) -> dict[str, Value]:
    """Return the arguments.

    Raises:
        InvalidInput: they hold more than 250,000 values.
    """
    return await off_loop(args.ByteSize() >= LARGE_BYTES, lambda: _checked(args))


def _checked(args: Struct) -> dict[str, Value]:
    if holds_more(args, MOST_VALUES):
        raise InvalidInput(
            f"args hold more than {MOST_VALUES} values, those in lists and objects included; "
            "pass fewer, or the name of a file that has them",
            "args",
        )
    return from_struct(args)
