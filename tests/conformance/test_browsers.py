"""A page of another origin can neither read nor change anything through the gateway."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from msgspec.structs import replace
from tests.conformance.conftest import Stack
from tests.conformance.samples import ID, a_request

from spincycle.access.config import AuthConfig
from spincycle.gateway.config import GatewayConfig
from spincycle.gateway.process import Gateway
from spincycle.gateway.router import Route
from spincycle.gateway.service_clients import open_service_clients
from spincycle.runtime.config import ConfigError
from spincycle.v1 import request_manager_service_pb2 as rm
from spincycle.v1 import spec_service_pb2

JSON = {"Content-Type": "application/json"}
ONE = f"/api/v1/requests/{ID}"
REBOUND = {"Host": "evil.example:32308"}
FOREIGN = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}

OF_ORIGINAL = {
    ("POST", "/api/v1/requests"),
    ("PUT", "/api/v1/requests/{request_id}/start"),
    ("PUT", "/api/v1/requests/{request_id}/stop"),
}
"""The calls of the original that change something and are on the public address."""


@pytest.fixture(params=["http", "legacy_http", "runner_http"])
def client(stack: Stack, request: pytest.FixtureRequest) -> httpx.AsyncClient:
    """Each listener."""
    found = getattr(stack, request.param)
    assert isinstance(found, httpx.AsyncClient)
    return found


def changes(stack: Stack) -> list[Route]:
    return [route for route in stack.gateway.router.routes if route.method not in {"GET", "HEAD"}]


def path_of(route: Route) -> str:
    return route.path.format(request_id=ID)


def no_call_received(stack: Stack) -> bool:
    return not (stack.manager.received or stack.log.received or stack.runner.received)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/requests"),
        ("GET", "/api/v1/status/running"),
        ("GET", "/openapi.json"),
        ("GET", "/nope"),
        ("GET", "/api/v1/events"),
        ("POST", "/api/v1/requests"),
        ("POST", "/api/v1/job-chains"),
        ("PUT", ONE + "/finish"),
        ("OPTIONS", "/api/v1/requests"),
    ],
)
async def test_a_rebound_name_reaches_nothing_on_any_listener(
    stack: Stack, client: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await client.request(method, path, headers={**REBOUND, **JSON}, content=b"{}")

    assert answer.status_code == 403
    assert answer.json()["message"].startswith('the host "evil.example" is not allowed')
    assert no_call_received(stack)


class TestForAnybody:
    @pytest.fixture
    def config(self, config: GatewayConfig) -> GatewayConfig:
        # A local user must not come by a proxy.
        return replace(config, auth=AuthConfig(none=True, local_user=False))

    async def test_a_forwarded_host_is_ignored(self, stack: Stack) -> None:
        stack.manager.respond(Get=rm.GetResponse(request=a_request()))
        forwarded = {"X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}

        assert (await stack.http.get(ONE, headers=forwarded)).status_code == 200
        refused = await stack.http.get(ONE, headers={**REBOUND, "X-Forwarded-Host": "localhost"})
        assert refused.status_code == 403


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/version"])
async def test_probes_may_use_any_name(stack: Stack, path: str) -> None:
    assert (await stack.http.get(path, headers=REBOUND)).status_code == 200


async def test_a_configured_name_reaches_it(stack: Stack) -> None:
    stack.manager.respond(Get=rm.GetResponse(request=a_request()))

    assert (await stack.http.get(ONE, headers={"Host": "X.:32308"})).status_code == 200


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET {one} HTTP/1.1\r\n", 400),
        ("GET {one} HTTP/1.1\r\nHost:\r\n", 400),
        ("GET {one} HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n", 400),
        ("GET {one} HTTP/1.0\r\n", 200),
        ("GET {one} HTTP/1.0\r\nHost: localhost\r\n", 200),
        ("GET {one} HTTP/1.0\r\nHost: evil.example\r\n", 403),
        ("GET http://localhost{one} HTTP/1.1\r\nHost: localhost\r\n", 200),
        ("GET http://evil.example{one} HTTP/1.1\r\nHost: evil.example\r\n", 403),
        ("GET http://evil.example{one} HTTP/1.1\r\nHost: localhost\r\n", 400),
        ("GET http://localhost{one} HTTP/1.1\r\nHost: evil.example\r\n", 400),
    ],
)
async def test_the_host_of_the_request_target_is_checked(
    stack: Stack, head: str, status: int
) -> None:
    stack.manager.respond(Get=rm.GetResponse(request=a_request()))
    reader, writer = await asyncio.open_connection(*stack.address)
    writer.write((head.format(one=ONE) + "Connection: close\r\n\r\n").encode())
    answer = await reader.read()
    writer.close()

    assert int(answer.split()[1]) == status
    assert (status == 200) is not no_call_received(stack)


async def test_no_call_of_a_foreign_page_changes_anything(
    stack: Stack, client: httpx.AsyncClient
) -> None:
    for route in changes(stack):
        for body in (b"", b"{}"):
            answer = await client.request(
                route.method, path_of(route), headers={**FOREIGN, **JSON}, content=body
            )

            assert answer.status_code == 403, route
            assert answer.json()["message"].startswith("pages of https://evil.example may not")
    assert no_call_received(stack)


async def test_a_page_of_the_gateway_itself_may_make_changes(stack: Stack) -> None:
    stack.manager.respond(Resume=rm.ResumeResponse(request=a_request()))
    own = {"Origin": f"http://{stack.gateway.address}", "Sec-Fetch-Site": "same-origin"}

    for headers in (own, {"Origin": own["Origin"]}):
        answer = await stack.http.post(ONE + "/resume", headers={**headers, **JSON})
        assert answer.status_code == 200


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "text/plain; application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    ],
)
async def test_a_change_that_the_original_lacks_needs_the_type_of_json_also_without_a_body(
    stack: Stack, content_type: str
) -> None:
    """A page sends such a call without a preflight, so no other header need give it away."""
    checked = 0
    for route in changes(stack):
        if (route.method, route.path) in OF_ORIGINAL:
            continue
        checked += 1
        headers = {"Content-Type": content_type} if content_type else {}
        answer = await stack.http.request(route.method, path_of(route), headers=headers)

        assert answer.status_code == 415, route
        assert "Content-Type: application/json" in answer.json()["message"]
    assert checked >= 7
    assert no_call_received(stack)


async def test_the_type_of_json_may_have_parameters(stack: Stack) -> None:
    stack.manager.respond(ReloadSpecs=spec_service_pb2.ReloadSpecsResponse(specs_hash="s2"))
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}

    answer = await stack.http.post("/api/v1/specs/reload", headers=headers)

    assert answer.status_code == 200


async def test_the_changes_of_the_original_need_no_type_without_a_body(stack: Stack) -> None:
    stack.manager.respond(Stop=rm.StopResponse(request=a_request()))

    assert (await stack.http.put(ONE + "/stop")).status_code == 200
    assert (await stack.http.post("/api/v1/requests")).status_code == 400
    assert {
        (route.method, route.path) for route in changes(stack) if route.of_original
    } == OF_ORIGINAL


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"hosts": ("http://gateway",)}, 'hosts: "http://gateway" must be a host name'),
        (
            {"cross_origins": ("gateway.example",)},
            'cross_origins: "gateway.example" must be an origin',
        ),
        ({"listen": "0.0.0.0:0"}, "listen: 0.0.0.0:0 is not a loopback address"),
        ({"listen": ":0"}, "set tls.allow_plaintext: true"),
        ({"listen": "nonsense"}, 'listen: "nonsense" must be host:port'),
    ],
)
async def test_an_unsafe_configuration_is_rejected_at_start(
    config: GatewayConfig, change: dict[str, object], problem: str
) -> None:
    opened = open_service_clients("127.0.0.1:1", "127.0.0.1:1", "127.0.0.1:1", 1)

    with pytest.raises(ConfigError, match=problem):
        Gateway(replace(config, **change), opened)
    await opened.close()
