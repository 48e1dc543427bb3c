from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from msgspec.structs import replace
from tests.conformance import samples
from tests.conformance.conftest import Stack
from tests.conformance.samples import ID

from spincycle import errors
from spincycle.gateway.routes import events as events_module
from spincycle.v1 import job_output_pb2, request_event_pb2, state_pb2
from spincycle.v1 import request_manager_service_pb2 as rm

EVENTS = f"/api/v1/requests/{ID}/events"


def an_event(revision: int, **change: Any) -> request_event_pb2.RequestEvent:
    return request_event_pb2.RequestEvent(
        request_id=ID,
        revision=f"{revision:019d}",
        cursor=f"c{revision}",
        occurred_at=samples.CREATED,
        **change,
    )


def the_changes() -> list[rm.WatchResponse]:
    running = samples.a_request(state_pb2.STATE_RUNNING)
    snapshot = request_event_pb2.RequestSnapshot(request=running, jobs=[samples.a_status()])
    return [
        rm.WatchResponse(events=[an_event(1, snapshot=snapshot)]),
        rm.WatchResponse(
            events=[an_event(2, job=samples.a_status()), an_event(3, request=samples.a_request())]
        ),
    ]


def events_of(text: str) -> list[dict[str, str]]:
    blocks = [block for block in text.split("\n\n") if block and not block.startswith(":")]
    return [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]


async def test_changes_come_as_events_whose_id_is_the_cursor(stack: Stack) -> None:
    stack.manager.respond(Watch=the_changes())

    answer = await stack.http.get(EVENTS)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["cache-control"] == "no-store"
    events = events_of(answer.text)
    assert [(event.get("id"), event["event"]) for event in events] == [
        ("c1", "snapshot"),
        ("c2", "job"),
        ("c3", "request"),
        (None, "end"),
    ]
    first, second, third = (json.loads(event["data"]) for event in events[:3])
    assert first["requestId"] == ID
    assert first["revision"] == 1
    assert first["snapshot"]["request"]["jrURL"] == "http://10.0.0.7:32321"
    assert first["snapshot"]["jobs"] == [json.loads(samples.STATUS)]
    assert second["job"] == json.loads(samples.STATUS)
    assert third["request"]["state"] == 3
    assert stack.manager.last("Watch") == rm.WatchRequest(request_ids=[ID])


@pytest.mark.parametrize(
    ("headers", "query"), [({"Last-Event-ID": "c7"}, {}), ({}, {"cursor": "c7"})]
)
async def test_a_caller_resumes_after_its_last_event(
    stack: Stack, headers: dict[str, str], query: dict[str, str]
) -> None:
    stack.manager.respond(Watch=[])

    answer = await stack.http.get(EVENTS, headers=headers, params=query)

    assert events_of(answer.text) == [{"event": "end", "data": "{}"}]
    assert stack.manager.last("Watch").cursor == "c7"


async def test_the_events_of_all_requests_can_be_filtered(stack: Stack) -> None:
    stack.manager.respond(Watch=the_changes())

    answer = await stack.http.get(
        "/api/v1/events?type=drain&state=RUNNING&user=dana&arg=host=a&requestsOnly=true"
    )

    assert answer.status_code == 200
    message = stack.manager.last("Watch")
    assert message.requests_only
    assert message.filter.type == "drain"
    assert message.filter.user == "dana"
    assert list(message.filter.states) == [state_pb2.STATE_RUNNING]
    assert dict(message.filter.args) == {"host": "a"}


@pytest.mark.parametrize(
    ("error", "status"), [(errors.RequestNotFound(ID), 404), (errors.CursorTooOld("c1"), 410)]
)
async def test_a_rejected_stream_is_an_error_response(
    stack: Stack, error: errors.SpinCycleError, status: int
) -> None:
    stack.manager.respond(Watch=error)

    answer = await stack.http.get(EVENTS)

    assert answer.status_code == status
    assert answer.json()["message"] == error.message


async def test_a_broken_stream_ends_with_an_error_event(stack: Stack) -> None:
    stack.manager.respond(Watch=[the_changes()[0], errors.WatcherTooSlow(1000)])

    answer = await stack.http.get(EVENTS)

    last = events_of(answer.text)[-1]
    assert last["event"] == "error"
    assert json.loads(last["data"])["httpStatus"] == 503


async def test_job_output_is_sent_if_requested(stack: Stack) -> None:
    piece = job_output_pb2.JobOutput(
        request_id=ID,
        job_id="j1",
        name="drain",
        stream=job_output_pb2.OUTPUT_STREAM_STDERR,
        offset=7,
        data=b"\xff left\n",
    )
    piece.try_number = 2
    stack.manager.respond(Watch=[rm.WatchResponse(events=[an_event(2, output=piece)])])

    answer = await stack.http.get(EVENTS + "?output=true")

    first = events_of(answer.text)[0]
    assert (first["event"], first["id"]) == ("output", "c2")
    assert json.loads(first["data"])["output"] == {
        "requestId": ID,
        "jobId": "j1",
        "try": 2,
        "name": "drain",
        "stream": "STDERR",
        "offset": 7,
        "data": base64.b64encode(b"\xff left\n").decode(),
    }
    assert stack.manager.last("Watch") == rm.WatchRequest(
        request_ids=[ID], include_live_output=True
    )


async def test_comments_are_sent_without_events(stack: Stack) -> None:
    more = asyncio.Event()

    async def changes() -> AsyncIterator[rm.WatchResponse]:
        yield the_changes()[0]
        await more.wait()

    stack.manager.respond(Watch=lambda _: changes())

    async with stack.http.stream("GET", EVENTS) as answer:
        parts = answer.aiter_text()
        while not (await anext(parts)).startswith(":"):
            pass
        more.set()
        rest = "".join([part async for part in parts])

    assert rest.endswith("event: end\ndata: {}\n\n")


async def test_a_disconnect_ends_the_watch(stack: Stack) -> None:
    gone = asyncio.Event()

    async def changes() -> AsyncIterator[rm.WatchResponse]:
        try:
            yield the_changes()[0]
            await asyncio.Event().wait()
        finally:
            gone.set()

    stack.manager.respond(Watch=lambda _: changes())

    async with stack.http.stream("GET", EVENTS) as answer:
        await anext(answer.aiter_text())

    await asyncio.wait_for(gone.wait(), 10)


async def test_the_end_of_the_gateway_ends_the_streams_without_an_end_event(
    stack: Stack,
) -> None:
    async def changes() -> AsyncIterator[rm.WatchResponse]:
        yield the_changes()[0]
        await asyncio.Event().wait()

    stack.manager.respond(Watch=lambda _: changes())

    async with stack.http.stream("GET", EVENTS) as answer:
        parts = answer.aiter_text()
        await anext(parts)
        stack.gateway.end()
        rest = "".join([part async for part in parts])

    assert "event: end" not in rest


class TestWithOneStream:
    @pytest.fixture
    def config(self, config: Any) -> Any:
        return replace(config, max_event_streams=1)

    async def test_one_stream_too_many_is_rejected(self, stack: Stack) -> None:
        async def changes() -> AsyncIterator[rm.WatchResponse]:
            yield the_changes()[0]
            await asyncio.Event().wait()

        stack.manager.respond(Watch=lambda _: changes())

        async with stack.http.stream("GET", EVENTS):
            second = await stack.http.get(EVENTS)

        assert second.status_code == 503
        assert second.json()["httpStatus"] == 503


async def test_events_are_never_compressed(stack: Stack) -> None:
    stack.manager.respond(Watch=the_changes())

    answer: httpx.Response = await stack.http.get(EVENTS, headers={"Accept-Encoding": "gzip"})

    assert "content-encoding" not in answer.headers


async def test_a_cursor_without_an_event_is_an_id_alone(stack: Stack) -> None:
    first = an_event(1, snapshot=request_event_pb2.RequestSnapshot(request=samples.a_request()))
    first.cursor = ""
    stack.manager.respond(Watch=[rm.WatchResponse(events=[first]), rm.WatchResponse(cursor="c9")])

    answer = await stack.http.get("/api/v1/events")

    text = answer.text
    assert text.startswith("event: snapshot\n")
    assert "\n\nid: c9\n\n" in text


async def test_only_the_last_event_of_a_response_has_the_cursor(
    stack: Stack,
) -> None:
    events = [an_event(n, snapshot=request_event_pb2.RequestSnapshot()) for n in (1, 2)]
    for event in events:
        event.cursor = ""
    stack.manager.respond(Watch=[rm.WatchResponse(events=events, cursor="c9")])

    answer = await stack.http.get("/api/v1/events")

    output = [part.split("\n")[0] for part in answer.text.split("\n\n")]
    assert output[:2] == ["event: snapshot", "id: c9"]


@pytest.mark.parametrize("resumed_after", [0.0, 60.0])
async def test_a_stream_whose_connection_became_too_old_is_resumed_after_its_last_event(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, resumed_after: float
) -> None:
    monkeypatch.setattr(events_module, "_RESUMED_AFTER", resumed_after)
    first, *_, last = the_changes()

    def watch(request: rm.WatchRequest) -> list[object]:
        if request.cursor:
            return [last]
        return [first, errors.ServiceUnavailable("request manager", "x:1")]

    stack.manager.respond(Watch=watch)

    found = events_of((await stack.http.get(EVENTS)).text)

    ids = [event.get("id") for event in found]
    if resumed_after:
        # One that ends soon after its start would be resumed without end.
        assert (ids, found[-1]["event"]) == (["c1", None], "error")
        return
    assert ids == ["c1", "c2", "c3", None]
    assert found[-1]["event"] == "end"
    assert [each.cursor for each in stack.manager.received["Watch"]] == ["", "c1"]
