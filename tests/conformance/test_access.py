"""The gateway authenticates its callers, passes them on, and says who they are."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from msgspec.structs import replace
from tests.conformance import samples
from tests.conformance.conftest import Stack
from tests.conformance.samples import ID
from tests.waiting import until

from spincycle import errors
from spincycle.access.authentication import Authentication, bearer_token
from spincycle.access.caller import Caller
from spincycle.access.credentials import Credentials
from spincycle.gateway import process
from spincycle.internal.v1 import caller_pb2
from spincycle.internal.v1 import journal_service_pb2 as journal_pb2
from spincycle.internal.v1 import runner_coordination_service_pb2 as coordination_pb2
from spincycle.rpc.caller_metadata import ASSERTION
from spincycle.v1 import access_service_pb2, request_event_pb2, state_pb2
from spincycle.v1 import job_log_service_pb2 as jl
from spincycle.v1 import request_manager_service_pb2 as rm

ALICE = {"Authorization": "Bearer alice"}
BOB = {"Authorization": "Bearer bob"}
PROXY = {"X-Test-User": "carol"}
ONE = f"/api/v1/requests/{ID}"
ANONYMOUS = {"/healthz", "/readyz", "/version", "/openapi.json"}


class Names:
    """Accepts the name of a caller as its token, and a header with its name."""

    name = "test"

    async def authenticate(self, credentials: Credentials) -> Caller | None:
        if token := bearer_token(credentials):
            return Caller(token, ("dev",), self.name)
        if names := credentials.headers.get("x-test-user"):
            return Caller(names[0], ("ops",), self.name)
        return None


@pytest.fixture(autouse=True)
def authentication(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "open_authentication", lambda *_: Authentication([Names()]))


def passed_on(stack: Stack, method: str) -> list[tuple[str, str]]:
    """What is passed on of the callers of a method: token, and asserted name."""
    found = []
    for metadata in stack.manager.metadata[method]:
        asserted = caller_pb2.Caller.FromString(bytes(metadata.get(ASSERTION, b"")))  # type: ignore[arg-type] # a key that ends with -bin
        found.append((str(metadata.get("authorization", "")), asserted.name))
    return found


async def test_every_route_but_a_few_needs_a_caller(stack: Stack) -> None:
    refused = set()
    for route in stack.gateway.router.routes:
        path = route.path.replace("{request_id}", ID).replace("{job_id}", "aaaa")
        headers = {"Content-Type": "application/json"} if route.needs_json else {}
        answer = await stack.http.request(route.method, path, headers=headers)
        if answer.status_code == 401:
            assert answer.headers["www-authenticate"] == 'Bearer realm="spincycle"'
            assert answer.json()["message"].startswith("the caller is not authenticated: ")
            refused.add(route.path)

    assert {route.path for route in stack.gateway.router.routes} - refused == ANONYMOUS
    assert not stack.manager.received
    assert not stack.log.received


async def test_a_token_is_passed_on_and_any_other_caller_is_asserted(stack: Stack) -> None:
    stack.manager.respond(Get=rm.GetResponse(request=samples.a_request()))

    await stack.http.get(ONE, headers=ALICE)
    await stack.http.get(ONE, headers=PROXY)

    assert passed_on(stack, "Get") == [("Bearer alice", ""), ("", "carol")]


async def test_calls_of_two_callers_are_never_shared(stack: Stack) -> None:
    stack.manager.respond(Get=rm.GetResponse(request=samples.a_request()))

    await asyncio.gather(
        *(stack.http.get(ONE, headers=who) for who in (ALICE, BOB, PROXY) for _ in range(3))
    )

    callers = set(passed_on(stack, "Get"))
    assert callers == {("Bearer alice", ""), ("Bearer bob", ""), ("", "carol")}


async def test_a_pipelined_call_has_nothing_of_the_caller_before_it(stack: Stack) -> None:
    stack.manager.respond(Get=rm.GetResponse(request=samples.a_request()))
    reader, writer = await asyncio.open_connection(*stack.address)
    head = f"GET {ONE} HTTP/1.1\r\nHost: localhost\r\n"
    writer.write(
        f"{head}Authorization: Bearer alice\r\n\r\n{head}Connection: close\r\n\r\n".encode()
    )
    answers = await reader.read()
    writer.close()

    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"401"]
    assert passed_on(stack, "Get") == [("Bearer alice", "")]


async def test_a_pipelined_call_of_a_runner_is_not_made_for_the_caller_before_it(
    stack: Stack,
) -> None:
    running = samples.a_request(state_pb2.STATE_RUNNING)
    stack.manager.respond(
        Get=rm.GetResponse(request=running), Finish=coordination_pb2.FinishResponse()
    )
    host, _, port = stack.gateway.legacy_runner_address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    end = "HTTP/1.1\r\nHost: localhost\r\n"
    first = f"GET {ONE} {end}Authorization: Bearer alice\r\n\r\n"
    body = '{"state":3}'
    second = (
        f"PUT {ONE}/finish {end}Content-Type: application/json\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    )
    writer.write((first + second).encode())
    answers = await reader.read()
    writer.close()

    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"200"]
    assert passed_on(stack, "Get") == [("Bearer alice", ""), ("", "")]


async def test_a_caller_learns_who_it_is(stack: Stack) -> None:
    response = access_service_pb2.WhoAmIResponse(
        name="alice", roles=["dev", "ops"], authenticator="oidc", admin=True
    )
    response.expires_at.FromSeconds(1_800_000_000)
    stack.manager.respond(WhoAmI=response)

    answer = await stack.http.get("/api/v1/me", headers=ALICE)

    assert answer.json() == {
        "name": "alice",
        "roles": ["dev", "ops"],
        "authenticator": "oidc",
        "expiresAt": "2027-01-15T08:00:00Z",
        "admin": True,
    }
    assert answer.headers["cache-control"] == "no-store"
    assert passed_on(stack, "WhoAmI") == [("Bearer alice", "")]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            "operation=start&type=drain",
            access_service_pb2.CheckAccessRequest(operation="start", request_type="drain"),
        ),
        (
            f"operation=stop&requestId={ID}",
            access_service_pb2.CheckAccessRequest(operation="stop", request_id=ID),
        ),
        ("", access_service_pb2.CheckAccessRequest()),
    ],
)
async def test_a_caller_learns_what_it_may_do(
    stack: Stack, query: str, message: access_service_pb2.CheckAccessRequest
) -> None:
    stack.manager.respond(
        CheckAccess=access_service_pb2.CheckAccessResponse(
            allowed=True, rule="acl", message="yes", granting_roles=["ops"]
        )
    )

    answer = await stack.http.get(f"/api/v1/access-check?{query}", headers=ALICE)

    assert answer.json() == {
        "allowed": True,
        "rule": "acl",
        "message": "yes",
        "grantingRoles": ["ops"],
    }
    assert stack.manager.last("CheckAccess") == message


DENIED = errors.AccessDenied("alice", "stop", ID, "no role", "dev", "ops, admin", ID)
TOO_MANY = errors.TooManyOpenRequests("alice", 5)


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (DENIED, 403, {}),
        (TOO_MANY, 429, {"retry-after": "30"}),
        (errors.TooManyCreations("alice", 5), 429, {"retry-after": "5"}),
        (errors.NotAuthenticated("it has expired"), 401, {"www-authenticate": "Bearer"}),
        (errors.AuthenticationUnavailable("the issuer is away"), 503, {}),
    ],
)
async def test_an_error_of_access_is_an_answer_of_its_own(
    stack: Stack, error: errors.SpinCycleError, status: int, headers: dict[str, str]
) -> None:
    stack.manager.respond(Create=error)

    answer = await stack.http.post("/api/v1/requests", headers=ALICE, json={"type": "drain"})

    assert answer.status_code == status
    assert answer.json()["message"] == error.message
    for name, value in headers.items():
        assert answer.headers[name].startswith(value)


async def test_a_journal_that_the_caller_may_not_read_is_empty_as_an_unknown_one(
    stack: Stack,
) -> None:
    stack.log.respond(ListEntries=errors.RequestNotFound(ID), GetEntry=errors.RequestNotFound(ID))

    entries = await stack.http.get(f"{ONE}/log", headers=ALICE)
    full = await stack.http.get(f"/api/v1/full/requests/{ID}/log", headers=ALICE)
    entry = await stack.http.get(f"{ONE}/log/aaaa", headers=ALICE)

    assert (entries.status_code, entries.text) == (200, "[]\n")
    assert (full.status_code, entry.status_code) == (404, 404)


async def test_a_journal_that_nobody_can_decide_on_is_not_empty(stack: Stack) -> None:
    stack.log.respond(ListEntries=errors.ServiceUnavailable("request manager", "x:1"))

    assert (await stack.http.get(f"{ONE}/log", headers=ALICE)).status_code == 503


async def changes() -> AsyncIterator[rm.WatchResponse]:
    snapshot = request_event_pb2.RequestSnapshot(request=samples.a_request())
    yield rm.WatchResponse(
        events=[request_event_pb2.RequestEvent(request_id=ID, cursor="c1", snapshot=snapshot)]
    )
    await asyncio.Event().wait()


class TestWithThreeStreams:
    @pytest.fixture
    def config(self, config: Any) -> Any:
        return replace(config, max_event_streams=4, max_event_streams_per_caller=3)

    async def test_one_caller_cannot_take_all_event_streams(self, stack: Stack) -> None:
        stack.manager.respond(Watch=lambda _: changes())

        async with AsyncExitStack() as open_streams:
            for _ in range(3):
                stream = stack.http.stream("GET", f"{ONE}/events", headers=ALICE)
                assert (await open_streams.enter_async_context(stream)).status_code == 200
            refused = await stack.http.get("/api/v1/events", headers=ALICE)
            stream = stack.http.stream("GET", f"{ONE}/events", headers=BOB)
            other = await open_streams.enter_async_context(stream)

        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "5"
        assert refused.json()["message"] == errors.TooManyStreams("alice", 3).message
        assert other.status_code == 200

    async def test_a_closed_stream_makes_room_for_another(self, stack: Stack) -> None:
        stack.manager.respond(Watch=lambda _: changes())

        for _ in range(5):
            async with stack.http.stream("GET", f"{ONE}/events", headers=ALICE) as stream:
                assert stream.status_code == 200
            await until(lambda: not stack.gateway._events._streams)


async def test_a_stream_whose_credential_ends_ends_with_an_error_event(stack: Stack) -> None:
    async def ended() -> AsyncIterator[rm.WatchResponse]:
        async for change in changes():
            yield change
            raise errors.NotAuthenticated("the credential has expired")

    stack.manager.respond(Watch=lambda _: ended())

    answer = await stack.http.get(f"{ONE}/events", headers=ALICE)

    last = answer.text.strip().rpartition("\n\n")[2]
    name, _, data = last.partition("\n")
    assert name == "event: error"
    assert json.loads(data.removeprefix("data: "))["httpStatus"] == 401
    assert len(stack.manager.received["Watch"]) == 1


async def test_on_the_listener_of_runners_only_their_calls_need_no_caller(stack: Stack) -> None:
    running = samples.a_request(state_pb2.STATE_RUNNING)
    stack.manager.respond(
        Get=rm.GetResponse(request=running),
        Finish=coordination_pb2.FinishResponse(),
        Report=coordination_pb2.ReportResponse(
            results=[coordination_pb2.ReportResult(request_id=ID)]
        ),
    )
    stack.log.respond(Append=journal_pb2.AppendResponse(batch=1))
    stack.log.respond(ListEntries=jl.ListEntriesResponse())

    calls = [("PUT", "/finish", {"state": 3}), ("PUT", "/progress", {"requestId": ID})]
    calls.append(("POST", "/log", {"jobId": "aaaa", "try": 1}))
    statuses = [
        (await stack.legacy_http.request(method, ONE + path, json=body)).status_code
        for method, path, body in calls
    ]
    public = [(await stack.legacy_http.get(path)).status_code for path in (ONE, ONE + "/log")]

    assert statuses == [200, 200, 201]
    assert public == [401, 401]
    assert set(passed_on(stack, "Get")) == {("", "")}


async def test_the_document_says_which_routes_need_a_caller(stack: Stack) -> None:
    document = (await stack.http.get("/openapi.json")).json()

    anonymous = {
        path
        for path, item in document["paths"].items()
        for operation in item.values()
        if "401" not in operation["responses"]
    }
    assert anonymous == ANONYMOUS
    assert "429" in document["paths"]["/api/v1/requests"]["post"]["responses"]
