"""TLS on real sockets: accepted clients, served certificates, and TLS between services."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from msgspec.structs import replace
from tests.health_client import HealthClient
from tests.identities import Authority
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
from spincycle.rpc.channel import open_channel
from spincycle.rpc.dialer import Dialer
from spincycle.rpc.limits import PUBLIC
from spincycle.rpc.server import RpcServer
from spincycle.rpc.tls import internal_credentials, public_credentials
from spincycle.runtime.config import (
    ConfigError,
    DatabaseConfig,
    IdentityConfig,
    InternalConfig,
    Secret,
    TlsConfig,
)
from spincycle.runtime.process import Shutdown
from spincycle.v1 import request_manager_service_pb2 as rpc
from spincycle.v1 import request_manager_service_pb2_grpc, state_pb2

HOST = "127.0.0.1"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ours")


@pytest.fixture
def other(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "theirs")


@asynccontextmanager
async def served(tls: TlsConfig) -> AsyncIterator[str]:
    server = RpcServer(tls=tls)
    listener = server.listen(PUBLIC, f"{HOST}:0")
    await server.start()
    yield listener.address
    await server.stop(0)


async def answers(address: str, ca: Path | None, mine: tuple[Path, Path] | None = None) -> bool:
    """Return whether a client that trusts `ca`, perhaps with a certificate, gets a response."""
    async with trusting(address, ca, mine) as channel:
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
    certificate, key = authority.certify("job-log", names=[HOST])
    async with served(TlsConfig(certificate=certificate, key=key)) as address:
        assert await answers(address, authority.file)
        assert not await answers(address, other.file)
        assert not await answers(address, None)


async def test_a_server_with_tls_may_listen_beyond_loopback(authority: Authority) -> None:
    certificate, key = authority.certify("job-log")
    server = RpcServer(tls=TlsConfig(certificate=certificate, key=key))

    assert server.listen(PUBLIC, "0.0.0.0:0").address.startswith("0.0.0.0:")


async def test_a_server_with_client_ca_accepts_only_its_certificates(
    authority: Authority, other: Authority
) -> None:
    certificate, key = authority.certify("job-log", names=[HOST])
    tls = TlsConfig(certificate=certificate, key=key, client_ca=authority.file)
    async with served(tls) as address:
        assert await answers(address, authority.file, authority.certify("gateway"))
        assert not await answers(address, authority.file)
        assert not await answers(address, authority.file, other.certify("gateway"))


async def test_a_renewed_certificate_takes_effect_without_a_restart(authority: Authority) -> None:
    certificate, key = authority.certify("job-log", names=[HOST])
    tls = TlsConfig(certificate=certificate, key=key)
    async with served(tls) as address:
        before = await shown(address)
        authority.certify("job-log", names=[HOST])

        assert await shown(address) != before
        assert await answers(address, authority.file)

        key.unlink()
        assert await answers(address, authority.file)


async def shown(address: str) -> str:
    host, _, port = address.rpartition(":")
    return await asyncio.to_thread(ssl.get_server_certificate, (host, int(port)))


@pytest.mark.parametrize("given", ["certificate", "key", "client_ca"])
def test_incomplete_tls_settings_are_rejected(authority: Authority, given: str) -> None:
    certificate, key = authority.certify("job-log")
    files = {"certificate": certificate, "key": key, "client_ca": authority.file}

    settings: dict[str, Any] = {given: files[given]}
    with pytest.raises(ConfigError, match=r"tls\."):
        public_credentials(TlsConfig(**settings))


@pytest.mark.parametrize("given", ["certificate", "key", "ca"])
def test_incomplete_identity_files_are_rejected(authority: Authority, given: str) -> None:
    files: dict[str, Any] = {given: getattr(authority.identity("job-log"), given)}

    with pytest.raises(ConfigError, match=r"must be set together; missing: internal\."):
        internal_credentials(InternalConfig(**files))
    with pytest.raises(ConfigError, match=r"must be set together; missing: internal\."):
        Dialer(IdentityConfig(**files))


def test_a_missing_file_is_reported(authority: Authority, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere.pem"
    with pytest.raises(ConfigError, match=r"nowhere\.pem"):
        public_credentials(TlsConfig(certificate=nowhere, key=nowhere))
    with pytest.raises(ConfigError, match=r"nowhere\.pem"):
        Dialer(replace(authority.identity("job-log"), ca=nowhere))


def test_a_certificate_with_the_key_of_another_one_is_reported(authority: Authority) -> None:
    _, key = authority.certify("gateway")

    with pytest.raises(ConfigError, match="are not a certificate and its private key"):
        Dialer(replace(authority.identity("job-log"), key=key))


async def test_all_services_use_mutual_tls(
    authority: Authority, database: str, tmp_path: Path
) -> None:
    certificate, key = authority.certify("request-manager", "public", [HOST])
    tls = TlsConfig(certificate=certificate, key=key)
    specs = tmp_path / "specs"
    specs.mkdir()
    (specs / "nap.yaml").write_text(SPECS)
    manager, public_log, manager_inside, log, runner = (f"{HOST}:{free_port()}" for _ in range(5))
    stored = DatabaseConfig(dsn=Secret(database))
    keys = tmp_path / "grant-keys"
    keys.write_text(f"1 {'0' * 64}\n")
    keys.chmod(0o600)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(
            running(
                serve_job_log,
                JobLogConfig(
                    listen=public_log,
                    internal=authority.internal(log, "job-log"),
                    append_grant_keys=keys,
                    tls=tls,
                    database=stored,
                    grace=0,
                ),
            )
        )
        await stack.enter_async_context(
            running(
                serve_request_manager,
                RequestManagerConfig(
                    listen=manager,
                    internal=authority.internal(manager_inside, "request-manager"),
                    append_grant_keys=keys,
                    tls=tls,
                    database=stored,
                    specs_dir=specs,
                    job_log=log,
                    grace=0,
                ),
            )
        )
        await stack.enter_async_context(
            running(
                serve_job_runner,
                JobRunnerConfig(
                    internal=authority.internal(runner, "job-runner"),
                    request_manager=manager_inside,
                    job_log=log,
                ),
            )
        )
        channel = await stack.enter_async_context(trusting(manager, authority.file))
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


def trusting(
    address: str, ca: Path | None, mine: tuple[Path, Path] | None = None
) -> grpc.aio.Channel:
    certificate, key = (one.read_bytes() for one in mine) if mine else (None, None)
    credentials = grpc.ssl_channel_credentials(ca.read_bytes(), key, certificate) if ca else None
    return open_channel(address, credentials=credentials)


@asynccontextmanager
async def running(serve: Any, config: Any) -> AsyncIterator[None]:
    shutdown = Shutdown()
    serving = asyncio.create_task(serve(config, shutdown))
    yield
    shutdown.request()
    await serving
