"""States on the wire."""

from __future__ import annotations

from spincycle.model.state import State
from spincycle.v1 import state_pb2

_BY_NUMBER = {int(state): state for state in State}


def encode_state(state: State) -> state_pb2.State.ValueType:
    """The state as the contract's enum."""
    return state_pb2.State.ValueType(state)


def decode_state(number: int) -> State:
    """Return the state with a number; RESERVED, which is never valid, for an unknown number.

    Checks of states refuse RESERVED. They accept UNKNOWN, the state of a try that could not start.
    """
    return _BY_NUMBER.get(number, State.RESERVED)
