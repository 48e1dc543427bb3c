"""Arguments of requests as messages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from spincycle.errors import SpinCycleError
from spincycle.request_manager.storage.stored_args import StoredArgs
from spincycle.v1 import request_pb2


@dataclass(frozen=True, slots=True)
class EncodedArgs:
    """Arguments of a request as messages, secret ones redacted, or why they cannot be read."""

    messages: Sequence[request_pb2.RequestArg] = ()
    failure: SpinCycleError | None = None


NO_ARGS = EncodedArgs()
"""The arguments of a request that has none."""

EncodeArgs = Callable[[str, StoredArgs], Awaitable[EncodedArgs]]
"""Encodes the stored arguments of the request with an id."""
