from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import grpc
import pytest

from spincycle.rpc.identified_channel import IdentifiedBlockingChannel


class Unreachable(grpc.RpcError):
    """A call without a connection."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNAVAILABLE


class Connection:
    """A channel whose methods answer with its name, or fail."""

    def __init__(self, name: str, *, fails: bool = False) -> None:
        self.name = name
        self.fails = fails
        self.is_closed = False

    def unary_unary(self, *_: Any) -> Callable[..., str]:
        def call(*_: Any, **__: Any) -> str:
            if self.fails:
                raise Unreachable
            return self.name

        return call

    def close(self) -> None:
        self.is_closed = True


def channel_of(*connections: Connection) -> Callable[[], str]:
    """A call over a channel that opens these connections in turn, and is renewed after each."""
    opening = iter(connections)
    channel = IdentifiedBlockingChannel(lambda: cast("grpc.Channel", next(opening)))
    call = channel.unary_unary("/method")
    called = False

    def next_call() -> str:
        nonlocal called
        if called and len(connections) > 1:
            channel.renew()
        called = True
        return str(call(b"", timeout=1))

    return next_call


def test_a_renewed_connection_replaces_the_one_before_once_it_works() -> None:
    first, second, third = Connection("first"), Connection("second"), Connection("third")
    call = channel_of(first, second, third)

    assert [call(), call(), call()] == ["first", "second", "third"]
    assert [one.is_closed for one in (first, second, third)] == [True, True, False]


def test_a_renewed_connection_that_fails_leaves_the_one_before() -> None:
    first, second, third = (
        Connection("first"),
        Connection("second", fails=True),
        Connection("third"),
    )
    call = channel_of(first, second, third)

    assert [call(), call(), call()] == ["first", "first", "third"]
    assert [one.is_closed for one in (first, second, third)] == [True, True, False]


def test_a_failure_without_a_renewed_connection_is_raised() -> None:
    with pytest.raises(Unreachable):
        channel_of(Connection("only", fails=True))()
