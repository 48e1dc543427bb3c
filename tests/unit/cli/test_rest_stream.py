from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from spincycle.cli.settings import Settings
from spincycle.cli.transport.http_client import ServerSentEvent
from spincycle.cli.transport.rest_backend import RestBackend
from spincycle.errors import RemoteError


def gateway_says(backend: RestBackend, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    async def events(*_: Any) -> AsyncIterator[ServerSentEvent]:
        for name in names:
            yield ServerSentEvent(name, "c1", {})

    monkeypatch.setattr(backend._gateway, "events", events)


async def test_a_stream_without_an_end_event_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = RestBackend(Settings(rest="http://127.0.0.1:1"))
    gateway_says(backend, monkeypatch, "request", "end")
    assert [event.cursor async for event in backend.watch("r1", "")] == ["c1"]

    # A gateway that shuts down ends its streams without an end event; the client must reconnect.
    gateway_says(backend, monkeypatch, "request")
    stream = backend.watch("r1", "")
    await anext(stream)
    with pytest.raises(RemoteError, match="the stream ended"):
        await anext(stream)
