"""TLS on real sockets: accepted clients, served certificates, and TLS between services."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2
from tests.health_client import HealthClient
from tests.integration.request_manager.conftest import SPECS
from tests.postgres_fixtures import *  # noqa: F403
from tests.waiting import until

from spincycle.dev.ports import free_port
from spincycle.job_log.config import JobLogConfig
from spincycle.job_log.process import serve as serve_job_log
from spincycle.job_runner.config import JobRunnerConfig
from spincycle.job_runner.process import serve as serve_job_runner
from spincycle.request_manager.config import RequestManagerConfig
from spincycle.request_manager.process import serve as serve_request_manager
from spincycle.rpc.limits import PUBLIC
from spincycle.rpc.server import RpcServer
from spincycle.rpc.tls import dialer, server_credentials
from spincycle.runtime.config import ConfigError, DatabaseConfig, InternalConfig, Secret, TlsConfig
from spincycle.runtime.process import Shutdown
from spincycle.v1 import request_manager_service_pb2 as rpc
from spincycle.v1 import request_manager_service_pb2_grpc, state_pb2

HOST = "127.0.0.1"


@dataclass
class Authority:
    """A certificate authority with its files and the certificates that it has issued."""

    directory: Path
    ca: trustme.CA

    @property
    def file(self) -> Path:
        file = self.directory / "ca.pem"
        self.ca.cert_pem.write_to_path(file)
        return file

    def certify(self, name: str = "process") -> tuple[Path, Path]:
        """Issue a (certificate, key) for this host."""
        issued = self.ca.issue_cert(HOST)
        certificate, key = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        certificate.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(key)
        return certificate, key


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, trustme.CA())


@pytest.fixture
def other(tmp_path: Path) -> Authority:
    directory = tmp_path / "other"
    directory.mkdir()
    return Authority(directory, trustme.CA())


@asynccontextmanager
async def served(tls: TlsConfig) -> AsyncIterator[str]:
    server = RpcServer(tls=tls)
    listener = server.listen(PUBLIC, f"{HOST}:0")
    await server.start()
    yield listener.address
    await server.stop(0)


async def answers(address: str, tls: TlsConfig) -> bool:
    """Return whether a client with this configuration gets a response."""
    async with dialer(tls)(address) as channel:
        try:
            asked = health_pb2.HealthCheckRequest()
            await HealthClient(channel).check(asked, timeout=10)
        except grpc.aio.AioRpcError as failure:
            if failure.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            return False
    return True


async def test_a_server_with_tls_serves_only_clients_that_trust_it(
    authority: Authority, other: Authority
) -> None:
    certificate, key = authority.certify()
    async with served(TlsConfig(certificate=certificate, key=key)) as address:
        assert await answers(address, TlsConfig(ca=authority.file))
        assert not await answers(address, TlsConfig(ca=other.file))
        assert not await answers(address, TlsConfig())


async def test_a_server_with_tls_may_listen_beyond_loopback(authority: Authority) -> None:
    certificate, key = authority.certify()
    server = RpcServer(tls=TlsConfig(certificate=certificate, key=key))

    assert server.listen(PUBLIC, "0.0.0.0:0").address.startswith("0.0.0.0:")


async def test_a_server_with_client_ca_accepts_only_its_certificates(
    authority: Authority, other: Authority
) -> None:
    certificate, key = authority.certify()
    tls = TlsConfig(certificate=certificate, key=key, client_ca=authority.file)
    mine, my_key = authority.certify("caller")
    theirs, their_key = other.certify("caller")
    async with served(tls) as address:
        trusted = authority.file
        assert await answers(address, TlsConfig(ca=trusted, certificate=mine, key=my_key))
        assert not await answers(address, TlsConfig(ca=trusted))
        assert not await answers(address, TlsConfig(ca=trusted, certificate=theirs, key=their_key))


async def test_a_renewed_certificate_takes_effect_without_a_restart(authority: Authority) -> None:
    certificate, key = authority.certify()
    tls = TlsConfig(certificate=certificate, key=key)
    async with served(tls) as address:
        before = await shown(address)
        authority.certify()

        assert await shown(address) != before
        assert await answers(address, TlsConfig(ca=authority.file))

        key.unlink()
        assert await answers(address, TlsConfig(ca=authority.file))


async def shown(address: str) -> str:
    host, _, port = address.rpartition(":")
    return await asyncio.to_thread(ssl.get_server_certificate, (host, int(port)))


@pytest.mark.parametrize("given", ["certificate", "key", "client_ca"])
def test_incomplete_tls_settings_are_rejected(authority: Authority, given: str) -> None:
    certificate, key = authority.certify()
    files = {"certificate": certificate, "key": key, "client_ca": authority.file}

    settings: dict[str, Any] = {given: files[given]}
    with pytest.raises(ConfigError, match=r"tls\."):
        server_credentials(TlsConfig(**settings))


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere.pem"
    for use, tls in (
        (server_credentials, TlsConfig(certificate=nowhere, key=nowhere)),
        (dialer, TlsConfig(ca=nowhere)),
    ):
        with pytest.raises(ConfigError, match=r"nowhere\.pem"):
            use(tls)


async def test_all_services_use_mutual_tls(
    authority: Authority, database: str, tmp_path: Path
) -> None:
    certificate, key = authority.certify()
    tls = TlsConfig(certificate=certificate, key=key, client_ca=authority.file, ca=authority.file)
    specs = tmp_path / "specs"
    specs.mkdir()
    (specs / "nap.yaml").write_text(SPECS)
    manager, public_log, *inside = (f"{HOST}:{free_port()}" for _ in range(5))
    manager_inside, log, runner = (InternalConfig(listen=address) for address in inside)
    stored = DatabaseConfig(dsn=Secret(database))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(
            running(
                serve_job_log,
                JobLogConfig(listen=public_log, internal=log, tls=tls, database=stored, grace=0),
            )
        )
        await stack.enter_async_context(
            running(
                serve_request_manager,
                RequestManagerConfig(
                    listen=manager,
                    internal=manager_inside,
                    tls=tls,
                    database=stored,
                    specs_dir=specs,
                    job_log=log.listen,
                    grace=0,
                ),
            )
        )
        await stack.enter_async_context(
            running(
                serve_job_runner,
                JobRunnerConfig(
                    internal=runner,
                    tls=tls,
                    request_manager=manager_inside.listen,
                    job_log=log.listen,
                ),
            )
        )
        channel = await stack.enter_async_context(dialer(tls)(manager))
        stub = request_manager_service_pb2_grpc.RequestManagerServiceStub(channel)
        create = rpc.CreateRequest(type="nap", idempotency_key="once")
        create.args.update({"ms": "1"})

        async def created() -> str:
            with suppress(grpc.aio.AioRpcError):
                return (await stub.Create(create, wait_for_ready=True)).request.id
            return ""

        await until(created)
        request_id = await created()

        async def complete() -> bool:
            found = await stub.Get(rpc.GetRequest(request_id=request_id))
            return found.request.state == state_pb2.STATE_COMPLETE

        await until(complete)


@asynccontextmanager
async def running(serve: Any, config: Any) -> AsyncIterator[None]:
    shutdown = Shutdown()
    serving = asyncio.create_task(serve(config, shutdown))
    yield
    shutdown.request()
    await serving
