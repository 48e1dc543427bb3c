from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.conformance.conftest import Stack

from spincycle.gateway.config import GatewayConfig

PAGE = {"Origin": "https://ops.example.com"}
ASKED = {**PAGE, "Access-Control-Request-Method": "POST"}


@pytest.fixture
def allowed() -> tuple[str, ...]:
    return ("https://ops.example.com",)


@pytest.fixture
def config(config: GatewayConfig, allowed: tuple[str, ...]) -> GatewayConfig:
    return replace(config, cross_origins=allowed)


@pytest.mark.parametrize("allowed", [("https://ops.example.com",), ("*",)])
async def test_a_page_of_an_allowed_origin_may_call(stack: Stack) -> None:
    message = await stack.http.options("/api/v1/requests", headers=ASKED)
    called = await stack.http.get("/healthz", headers=PAGE)

    assert (message.status_code, message.content) == (204, b"")
    assert message.headers["access-control-allow-methods"] == "GET, POST"
    assert "Idempotency-Key" in message.headers["access-control-allow-headers"]
    for answer in (message, called):
        assert answer.headers["access-control-allow-origin"] == PAGE["Origin"]
        assert answer.headers["vary"] == "Origin"


async def test_a_page_may_read_why_its_call_failed(stack: Stack) -> None:
    answer = await stack.http.get("/api/v1/nope", headers=PAGE)

    assert answer.status_code == 404
    assert answer.headers["access-control-allow-origin"] == PAGE["Origin"]


@pytest.mark.parametrize("path", ["/api/v1/nope", "/api/v1/requests/"])
async def test_a_preflight_of_an_unknown_path_is_rejected(stack: Stack, path: str) -> None:
    answer = await stack.http.options(path, headers=ASKED)

    assert answer.status_code == 404


@pytest.mark.parametrize("allowed", [(), ("https://other.example.com",)])
async def test_a_page_of_another_origin_may_not_call(stack: Stack) -> None:
    message = await stack.http.options("/api/v1/requests", headers=ASKED)
    called = await stack.http.get("/healthz", headers=PAGE)

    assert (message.status_code, called.status_code) == (405, 200)
    for answer in (message, called):
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_a_call_without_an_origin_is_unchanged(stack: Stack) -> None:
    answer = await stack.http.options("/api/v1/requests")

    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")
