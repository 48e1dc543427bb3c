"""The original runners' calls are served on a listener of their own, and nowhere else."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace
from tests.conformance.conftest import Stack
from tests.conformance.samples import ID, a_request

from spincycle.access.config import AuthConfig, CertificatesConfig
from spincycle.gateway.config import GatewayConfig
from spincycle.gateway.process import Gateway
from spincycle.gateway.service_clients import open_service_clients
from spincycle.runtime.config import ConfigError
from spincycle.v1 import request_manager_service_pb2 as rm

ONE = f"/api/v1/requests/{ID}"
JSON = {"Content-Type": "application/json"}
CALLS = [("PUT", "/finish"), ("PUT", "/suspend"), ("PUT", "/progress"), ("POST", "/log")]


@pytest.mark.parametrize(("method", "path"), CALLS)
async def test_a_runners_call_is_unknown_on_the_public_address(
    stack: Stack, method: str, path: str
) -> None:
    answer = await stack.http.request(method, ONE + path, headers=JSON, content=b"{}")

    assert answer.status_code in {404, 405}
    assert not stack.manager.received
    assert not stack.log.received


async def test_the_public_document_does_not_describe_them_and_the_other_one_does(
    stack: Stack,
) -> None:
    def described(document: dict[str, dict[str, dict[str, object]]]) -> set[tuple[str, str]]:
        return {
            (method.upper(), path.removeprefix("/api/v1/requests/{request_id}"))
            for path, item in document["paths"].items()
            for method in item
        }

    public = described((await stack.http.get("/openapi.json")).json())
    legacy = described((await stack.legacy_http.get("/openapi.json")).json())

    assert not public & set(CALLS)
    assert legacy == public | set(CALLS)


async def test_it_also_serves_the_public_routes(stack: Stack) -> None:
    stack.manager.respond(Get=rm.GetResponse(request=a_request()))

    assert (await stack.legacy_http.get(ONE)).json()["id"] == ID


async def test_it_is_off_by_default(config: GatewayConfig) -> None:
    opened = open_service_clients("127.0.0.1:1", "127.0.0.1:1", "127.0.0.1:1", 1)
    gateway = Gateway(GatewayConfig(listen="127.0.0.1:0"), opened)

    assert gateway.legacy_runner_address == ""
    assert gateway.runner_address == ""
    serving = asyncio.create_task(gateway.serve())
    gateway.end()
    await serving
    await opened.close()


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "10.0.0.7:0", "[::]:0", "gateway:0", ":0"])
@pytest.mark.parametrize("setting", ["legacy_runner_listen", "job_runner_listen"])
async def test_it_is_rejected_beyond_loopback(
    config: GatewayConfig, setting: str, listen: str
) -> None:
    opened = open_service_clients("127.0.0.1:1", "127.0.0.1:1", "127.0.0.1:1", 1)

    with pytest.raises(ConfigError, match="is not a loopback address") as refused:
        Gateway(replace(config, **{setting: listen}), opened)
    assert str(refused.value).startswith(f"{setting}: {listen} ")
    await opened.close()


async def test_its_calls_are_counted_with_the_others(stack: Stack) -> None:
    stack.manager.respond(Get=rm.GetResponse(request=a_request()))
    await stack.legacy_http.get(ONE)
    await stack.http.get(ONE)

    assert stack.gateway._calls()["GET", "200"] == 2


async def test_a_listener_for_certificates_alone_is_none_of_the_gateway(
    config: GatewayConfig,
) -> None:
    opened = open_service_clients("127.0.0.1:1", "127.0.0.1:1", "127.0.0.1:1", 1)
    auth = AuthConfig(certificates=CertificatesConfig(listen="127.0.0.1:0"))

    with pytest.raises(ConfigError, match=r"set tls\.client_ca"):
        Gateway(replace(config, auth=auth), opened)
    await opened.close()
