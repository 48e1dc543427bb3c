from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.gateway.asgi_call import application, call

from spincycle.gateway.app import Application
from spincycle.gateway.config import HttpLimitsConfig
from spincycle.gateway.cors import CrossOrigin
from spincycle.gateway.error_responses import error_response
from spincycle.gateway.hosts import AllowedHosts
from spincycle.gateway.http_messages import HttpRequest, HttpResponse
from spincycle.gateway.router import Route, Router
from spincycle.gateway.routes.access import AccessRoutes
from spincycle.gateway.routes.actions import ActionRoutes
from spincycle.gateway.routes.events import EventRoutes
from spincycle.gateway.routes.job_runner import JobRunnerRoutes
from spincycle.gateway.routes.journal import JournalRoutes
from spincycle.gateway.routes.requests import RequestRoutes
from spincycle.gateway.routes.runner_calls import RunnerCallRoutes
from spincycle.gateway.routes.running import RunningRoutes
from spincycle.gateway.service_clients import ServiceClients
from spincycle.rest_codec.messages import CREATE_REQUEST


@pytest.fixture(scope="session")
def api(empty_clients: ServiceClients) -> Application:
    manager = empty_clients.request_manager
    return application(
        [
            *RequestRoutes(manager, empty_clients.specs, 10).routes(),
            *JournalRoutes(empty_clients.job_log).routes(),
            *RunningRoutes(manager).routes(),
            *RunnerCallRoutes(
                empty_clients.request_manager, empty_clients.coordination, empty_clients.journal
            ).routes(),
            *ActionRoutes(manager, empty_clients.specs).routes(),
            *AccessRoutes(empty_clients.access).routes(),
            *EventRoutes(manager, 1, 10, 5).routes(),
            *JobRunnerRoutes(empty_clients.job_runner, "http://x").routes()[:3],
        ]
    )


SEGMENTS = st.sampled_from(
    [
        b"api",
        b"v1",
        b"requests",
        b"log",
        b"stop",
        b"suspend",
        b"finish",
        b"progress",
        b"events",
        b"job-chains",
        b"resume",
        b"plans",
        b"lint",
        b"skip",
        b"rerun",
        b"explain",
        b"me",
        b"access-check",
        b"x",
        b"",
    ]
) | st.binary(max_size=5).map(lambda raw: quote_from_bytes(raw).encode())
PATHS = st.one_of(
    st.lists(SEGMENTS, max_size=6).map(lambda parts: b"/" + b"/".join(parts)),
    st.tuples(SEGMENTS, SEGMENTS).map(lambda parts: b"/api/v1/requests/" + b"/".join(parts)),
    st.sampled_from([b"/api/v1/requests", b"/api/v1/job-chains", b"/api/v1/plans"]),
)
QUERIES = st.lists(
    st.tuples(
        st.sampled_from(
            [
                b"type",
                b"state",
                b"arg",
                b"since",
                b"until",
                b"limit",
                b"offset",
                b"page_token",
                b"requestId",
                b"cursor",
            ]
        ),
        st.sampled_from(
            [
                b"",
                b"RUNNING",
                b"a=b",
                b"=",
                b"2020-01-01T00:00:00Z",
                b"5",
                b"99999999999999999999999",
                b"0001-01-01T00:00:00Z",
            ]
        )
        | st.binary(max_size=6).map(lambda raw: quote_from_bytes(raw).encode()),
    ),
    max_size=4,
).map(lambda pairs: b"&".join(b"=".join(pair) for pair in pairs))
KEYS = st.sampled_from(
    [
        "type",
        "Args",
        "requestId",
        "jobChain",
        "jobs",
        "adjacencyList",
        "state",
        "finishedAt",
        "startedAt",
        "try",
        "bytes",
        "args",
        "data",
        "jobIds",
        "jobId",
        "reason",
        "files",
        "retry",
    ]
)
BODIES = st.binary(max_size=20) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=12,
).map(lambda value: json.dumps(value).encode())


@settings(max_examples=400)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD"]),
    path=PATHS,
    query=QUERIES,
    content_type=st.sampled_from([b"application/json"] * 5 + [b"", b"text/xml", b"\xff"]),
    body=BODIES,
)
def test_no_input_causes_an_internal_error(
    api: Application, method: str, path: bytes, query: bytes, content_type: bytes, body: bytes
) -> None:
    headers = {b"content-type": content_type, b"accept-encoding": b"gzip"}

    status, response_headers, _ = asyncio.run(call(api, method, path, query, headers, body))

    assert status < 500 or status == 503
    assert "X-Spincycle-Version" in response_headers


async def test_an_internal_error_does_not_reveal_its_cause() -> None:
    async def broken(_: HttpRequest) -> HttpResponse:
        raise RuntimeError("secret")

    app = application([Route("GET", "/x", broken, "")])

    status, headers, body = await call(app, "GET", b"/x")

    assert status == 500
    assert body == b'{"message":"Internal Server Error"}\n'
    assert headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("*", True),
        ("", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip; q=0.0, br", False),
    ],
)
async def test_a_response_is_compressed_only_if_the_caller_accepts_it(
    accepted: str, packed: bool
) -> None:
    async def long(_: HttpRequest) -> HttpResponse:
        return HttpResponse(b"x" * 1000)

    app = application([Route("GET", "/x", long, "")])

    _, headers, _ = await call(app, "GET", b"/x", headers={b"accept-encoding": accepted.encode()})

    assert ("Content-Encoding" in headers) is packed


async def test_the_source_of_a_response_is_closed_if_the_caller_disconnects() -> None:
    closed = asyncio.Event()

    class Endless:
        def __aiter__(self) -> Endless:
            return self

        async def __anext__(self) -> bytes:
            await asyncio.Event().wait()
            return b""

        async def aclose(self) -> None:
            closed.set()

    async def endless(_: HttpRequest) -> HttpResponse:
        return HttpResponse(Endless(), live=True)

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None:
        pass

    app = application([Route("GET", "/x", endless, "")])
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": "/x",
        "raw_path": b"/x",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
    }
    await app(scope, receive, send)

    assert closed.is_set()


async def test_bodies_beyond_the_bytes_in_flight_are_rejected_until_others_complete() -> None:
    released, arrived = asyncio.Event(), asyncio.Event()

    async def hold(call: HttpRequest) -> HttpResponse:
        arrived.set()
        await released.wait()
        return HttpResponse(b"{}")

    limits = HttpLimitsConfig(bytes_in_flight=2048)
    route = Route("POST", "/x", hold, "hold", body=CREATE_REQUEST)
    app = Application(Router([route]), error_response, limits, 100, AllowedHosts(), CrossOrigin(()))
    json_type = {b"content-type": b"application/json"}

    first = asyncio.create_task(call(app, "POST", b"/x", headers=json_type, body=b"x" * 4096))
    await arrived.wait()
    status, headers, body = await call(app, "POST", b"/x", headers=json_type, body=b"x")
    released.set()
    before, _, _ = await first
    after, _, _ = await call(app, "POST", b"/x", headers=json_type, body=b"x")

    assert (status, headers["Retry-After"]) == (503, "1")
    assert "try again" in json.loads(body)["message"]
    assert (before, after) == (200, 200)
