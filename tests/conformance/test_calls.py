from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace
from tests.conformance import samples
from tests.conformance.conftest import Stack
from tests.conformance.samples import ID

from spincycle.gateway.config import GatewayConfig, HttpLimitsConfig
from spincycle.runtime.version import VERSION
from spincycle.v1 import request_manager_service_pb2 as rm

ONE = f"/api/v1/requests/{ID}"


@pytest.mark.parametrize("path", ["/", "/api/v1/nope", "/api/v1/requests/", "/version/", "//"])
async def test_an_unknown_path_is_not_found(stack: Stack, path: str) -> None:
    answer = await stack.http.get(path)

    assert answer.status_code == 404
    assert answer.text == '{"message":"Not Found"}\n'
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-spincycle-version"] == VERSION


async def test_a_known_path_with_another_method_is_rejected(stack: Stack) -> None:
    answer = await stack.http.delete("/api/v1/requests")

    assert answer.status_code == 405
    assert answer.text == '{"message":"Method Not Allowed"}\n'
    assert answer.headers["allow"] == "GET, POST"
    assert answer.headers["x-spincycle-version"] == VERSION


async def test_an_escaped_slash_stays_within_its_segment(stack: Stack) -> None:
    stack.manager.respond(Get=rm.GetResponse(request=samples.a_request()))

    await stack.http.get("/api/v1/requests/a%2Flog")

    assert stack.manager.last("Get").request_id == "a/log"


@pytest.mark.parametrize("target", ["/api/v1/requests/a%00", "/api/v1/requests?type=%00"])
async def test_a_nul_character_is_rejected(stack: Stack, target: str) -> None:
    answer = await stack.http.get(target)

    assert answer.status_code == 400
    assert answer.json() == {"message": "the path or the query contains a NUL character"}


async def test_the_callers_id_of_a_call_is_returned(stack: Stack) -> None:
    answer = await stack.http.get("/version", headers={"X-Request-Id": "call-7"})

    assert answer.headers["x-request-id"] == "call-7"


@pytest.mark.parametrize("unusable", ["", "a b", "x" * 200])
async def test_a_call_without_a_usable_id_gets_one(stack: Stack, unusable: str) -> None:
    answer = await stack.http.get("/version", headers={"X-Request-Id": unusable})

    assert len(answer.headers["x-request-id"]) == 16


async def test_a_large_response_is_compressed_if_the_caller_accepts_it(stack: Stack) -> None:
    request = samples.a_request()
    request.job_chain.CopyFrom(samples.a_chain())
    request.user = "u" * 5000
    stack.manager.respond(Get=rm.GetResponse(request=request))

    packed = await stack.http.get(ONE, headers={"Accept-Encoding": "gzip"})
    plain = await stack.http.get(ONE, headers={"Accept-Encoding": "identity"})

    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < 2000
    assert "content-encoding" not in plain.headers
    assert packed.text == plain.text


async def test_a_dead_service_is_503_with_the_error_shape(stack: Stack) -> None:
    await stack.manager.stop()

    answer = await stack.http.get(ONE)

    assert answer.status_code == 503
    assert answer.json() == {
        "message": f"request manager at {stack.manager.address} cannot be reached; "
        "try again in a moment",
        "requestId": "",
        "httpStatus": 503,
    }


class TestWithSlowService:
    @pytest.fixture
    def config(self, config: GatewayConfig) -> GatewayConfig:
        return replace(config, backend_timeout=0.2)

    async def test_a_slow_service_is_504_with_the_error_shape(self, stack: Stack) -> None:
        async def never(_: object) -> object:
            await asyncio.Event().wait()
            return None

        stack.manager.respond(Get=never)

        answer = await stack.http.get(ONE)

        assert answer.status_code == 504
        assert answer.json() == {
            "message": "request manager did not respond within 0.2 s",
            "requestId": "",
            "httpStatus": 504,
        }


class TestWithTightLimits:
    @pytest.fixture
    def config(self, config: GatewayConfig) -> GatewayConfig:
        limits = HttpLimitsConfig(
            body_bytes=2000,
            header_bytes=2000,
            headers=20,
            header_timeout=0.2,
            body_timeout=0.2,
            query_parameters=10,
        )
        return replace(config, limits=limits)

    async def _talk(self, stack: Stack, *pieces: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(*stack.address)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        answer = await reader.read()
        writer.close()
        return answer

    async def test_a_body_that_is_too_large_is_rejected_unread(self, stack: Stack) -> None:
        answer = await self._talk(
            stack,
            b"POST /api/v1/requests HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n",
        )

        assert answer.startswith(b"HTTP/1.1 413 ")
        assert answer.endswith(b'{"message":"Request Entity Too Large"}\n')

    async def test_a_chunked_body_that_grows_too_large_is_rejected(self, stack: Stack) -> None:
        answer = await self._talk(
            stack,
            b"POST /api/v1/requests HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"bb8\r\n" + b" " * 3000 + b"\r\n",
        )

        assert answer.startswith(b"HTTP/1.1 413 ")

    async def test_a_body_that_does_not_arrive_times_out(self, stack: Stack) -> None:
        answer = await self._talk(
            stack,
            b"POST /api/v1/requests HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{",
        )

        assert answer.startswith(b"HTTP/1.1 408 ")
        assert answer.endswith(b'{"message":"Request Timeout"}\n')

    @pytest.mark.parametrize("begun", [b"", b"GET /version HTTP/1.1\r\nHost: x\r\n"])
    async def test_headers_that_do_not_arrive_time_out(self, stack: Stack, begun: bytes) -> None:
        answer = await self._talk(stack, begun)

        assert answer.startswith(b"HTTP/1.1 408 ")

    @pytest.mark.parametrize(
        "headers",
        [
            b"X-Large: " + b"x" * 4000,
            b"X-Large: " + b"x" * 4000 + b"\r\n\r\n",
            b"X-A: b\r\n" * 21 + b"\r\n",
        ],
    )
    async def test_headers_that_are_too_large_are_rejected(
        self, stack: Stack, headers: bytes
    ) -> None:
        answer = await self._talk(stack, b"GET /version HTTP/1.1\r\nHost: x\r\n" + headers)

        assert answer.startswith(b"HTTP/1.1 431 ")
        assert b"X-Spincycle-Version" in answer

    async def test_a_query_of_too_many_parameters_is_rejected(self, stack: Stack) -> None:
        answer = await stack.http.get("/version?" + "&".join("a=b" for _ in range(11)))

        assert answer.status_code == 400
        assert answer.json() == {"message": "too many query parameters"}

    async def test_bytes_that_are_not_http_are_rejected(self, stack: Stack) -> None:
        answer = await self._talk(stack, b"\x16\x03\x01nonsense\r\n\r\n")

        assert answer.startswith(b"HTTP/1.1 400 ")
        assert answer.endswith(b'{"message":"Bad Request"}\n')

    async def test_responses_on_one_connection_are_in_order(self, stack: Stack) -> None:
        answer = await self._talk(
            stack,
            b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /nope HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        )

        assert answer.index(b"200 OK") < answer.index(b"404 Not Found")
