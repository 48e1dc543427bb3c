"""Client certificates on real TLS listeners: gRPC, and the API of a gateway process."""

from __future__ import annotations

import json
import os
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from cryptography.x509 import DNSName, GeneralName, RFC822Name
from tests.conformance import backends, samples
from tests.conformance.gateway_process import next_line, process
from tests.identities import Authority
from tests.ordinary_account import as_ordinary_account
from tests.program_output import run_program

from spincycle.access.authenticators import open_authentication
from spincycle.access.caller import current_caller
from spincycle.access.config import AuthConfig, CertificatesConfig, CertifiedCaller, ProxyConfig
from spincycle.rpc.channel import open_channel
from spincycle.rpc.limits import PUBLIC
from spincycle.rpc.server import RpcServer, RpcService
from spincycle.rpc.status import from_rpc_error
from spincycle.runtime.config import ConfigError, TlsConfig
from spincycle.v1 import job_log_service_pb2 as pb
from spincycle.v1 import request_manager_service_pb2 as rm
from spincycle.v1.job_log_service_pb2_grpc import (
    JobLogServiceServicer,
    JobLogServiceStub,
    add_JobLogServiceServicer_to_server,
)

AUTH = AuthConfig(
    certificates=CertificatesConfig({"alice@example": CertifiedCaller("alice", ("ops",))}),
    proxy=ProxyConfig(("proxy.example",)),
)
ENVIRONMENT = {
    "SPINCYCLE_GATEWAY_AUTH__CERTIFICATES__CALLERS": json.dumps(
        {"alice@example": {"name": "alice", "roles": ["ops"]}}
    ),
    "SPINCYCLE_GATEWAY_AUTH__PROXY__CERTIFICATES": json.dumps(["proxy.example"]),
}

ALICE: list[GeneralName] = [RFC822Name("alice@example")]
PROXY: list[GeneralName] = [DNSName("proxy.example")]
OTHER: list[GeneralName] = [DNSName("other.example")]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "files")


class Callers(JobLogServiceServicer):
    """Returns the caller in place of an entry."""

    async def GetEntry(self, request: Any, context: Any) -> pb.GetEntryResponse:
        caller = current_caller()
        response = pb.GetEntryResponse()
        response.entry.error = f"{caller.name}:{','.join(caller.roles)}:{caller.authenticator}"
        return response


@pytest.fixture(params=["tls.client_ca", "auth.certificates.listen"])
async def address(authority: Authority, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """A gRPC listener that asks for client certificates, in each way to configure one."""
    certificate, key = authority.certify("job-log", names=["127.0.0.1"])
    is_separate = request.param == "auth.certificates.listen"
    server = RpcServer(
        tls=TlsConfig(certificate, key, client_ca=None if is_separate else authority.file),
        authentication=open_authentication(AUTH, "127.0.0.1:0"),
    )
    add = partial(add_JobLogServiceServicer_to_server, Callers())
    service = RpcService("spincycle.v1.JobLogService", add)
    server.listen(PUBLIC, "127.0.0.1:0").serve(service)
    if is_separate:
        config = CertificatesConfig(listen="127.0.0.1:0", ca=authority.file)
        server.listen_for_certificates(config, [service])
    await server.start()
    yield server.addresses["certified" if is_separate else "public"]
    await server.stop(0)


async def who(address: str, authority: Authority, names: list[GeneralName], user: str = "") -> str:
    """The caller that the service sees, or the problem."""
    certificate, key = authority.certify_for("client", names)
    credentials = grpc.ssl_channel_credentials(
        authority.file.read_bytes(), key.read_bytes(), certificate.read_bytes()
    )
    metadata = (("x-forwarded-user", user),) if user else ()
    async with open_channel(address, credentials=credentials) as channel:
        try:
            response = await JobLogServiceStub(channel).GetEntry(
                pb.GetEntryRequest(), metadata=metadata, timeout=20
            )
        except grpc.aio.AioRpcError as failure:
            return from_rpc_error(failure, "job log", "").message
    return response.entry.error


async def test_a_grpc_call_has_the_caller_of_its_certificate(
    address: str, authority: Authority
) -> None:
    assert await who(address, authority, ALICE) == "alice:ops:certificate"
    assert await who(address, authority, ALICE, user="root") == "alice:ops:certificate"
    assert "no credential" in await who(address, authority, OTHER)


async def test_a_grpc_call_of_a_proxy_has_the_caller_that_it_names(
    address: str, authority: Authority
) -> None:
    assert await who(address, authority, PROXY, user="bob") == "bob::proxy"
    assert "names no caller" in await who(address, authority, PROXY)
    assert "no credential" in await who(address, authority, OTHER, user="bob")


@pytest.mark.parametrize("lacking", ["ca", "certificate"])
def test_a_listener_for_certificates_needs_tls_and_an_authority(
    authority: Authority, lacking: str
) -> None:
    certificate, key = authority.certify("job-log")
    tls = TlsConfig() if lacking == "certificate" else TlsConfig(certificate, key)
    config = CertificatesConfig(
        listen="127.0.0.1:0", ca=None if lacking == "ca" else authority.file
    )

    with pytest.raises(ConfigError, match=r"auth\.certificates\.listen: set"):
        RpcServer(tls=tls).listen_for_certificates(config, [])


@asynccontextmanager
async def gateway(authority: Authority, **environment: str) -> AsyncIterator[str]:
    """The URL of the API of a gateway process that accepts client certificates."""
    certificate, key = authority.certify("gateway", names=["127.0.0.1"])
    manager = backends.request_manager()
    manager.respond(Get=rm.GetResponse(request=samples.a_request()))
    await manager.start()
    async with process(
        SPINCYCLE_GATEWAY_TLS__CERTIFICATE=str(certificate),
        SPINCYCLE_GATEWAY_TLS__KEY=str(key),
        SPINCYCLE_GATEWAY_TLS__CLIENT_CA=str(authority.file),
        SPINCYCLE_GATEWAY_REQUEST_MANAGER=manager.address,
        **environment,
    ) as running:
        yield f"https://{(await next_line(running))['address']}"
    await manager.stop()


async def status(url: str, authority: Authority, names: list[GeneralName], **headers: str) -> int:
    context = ssl.create_default_context(cafile=authority.file)
    if names:
        context.load_cert_chain(*authority.certify_for("client", names))
    async with httpx.AsyncClient(base_url=url, verify=context, timeout=20) as http:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        response = await http.get(f"/api/v1/requests/{samples.ID}", headers=given)
        assert (await http.get("/healthz")).status_code == 200
    return response.status_code


async def test_the_api_accepts_client_certificates_and_proxies(authority: Authority) -> None:
    async with gateway(authority, **ENVIRONMENT) as url:
        assert await status(url, authority, ALICE) == 200
        assert await status(url, authority, OTHER) == 401
        assert await status(url, authority, []) == 401
        assert await status(url, authority, PROXY, x_forwarded_user="bob") == 200
        assert await status(url, authority, PROXY) == 401
        assert await status(url, authority, OTHER, x_forwarded_user="bob") == 401
        assert await status(url, authority, [], x_forwarded_user="bob") == 401


async def test_the_api_refuses_certificates_of_other_authorities(
    authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path / "stranger")
    async with gateway(authority, **ENVIRONMENT) as url:
        context = ssl.create_default_context(cafile=authority.file)
        context.load_cert_chain(*stranger.certify_for("client", ALICE))
        async with httpx.AsyncClient(base_url=url, verify=context, timeout=20) as http:
            with pytest.raises(httpx.TransportError):
                await http.get(f"/api/v1/requests/{samples.ID}")


PROGRAM = """
import sys, urllib.error, urllib.request
open_ = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
for path in sys.argv[2:]:
    try:
        with open_(sys.argv[1] + path, timeout=20) as response:
            print(response.status)
    except urllib.error.HTTPError as error:
        print(error.code, error.read().decode().strip())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another account")
async def test_another_account_of_this_machine_is_refused_by_the_api(tmp_path: Path) -> None:
    paths = ["/healthz", f"/api/v1/requests/{samples.ID}", "/api/v1/events"]
    async with process() as running:
        url = f"http://{(await next_line(running))['address']}"
        other = await run_program(
            [*as_ordinary_account(tmp_path), sys.executable, "-c", PROGRAM, url, *paths]
        )

    health, *refused = other.stdout.splitlines()
    assert not health.startswith("401"), other.stderr
    assert len(refused) == 2
    for line in refused:
        assert line.startswith("401")
        assert "neither root nor that of the service" in line
