"""The processes of `prod`, started as its manifests say, identify each other and run a request."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import httpx
import pytest
from grpc_reflection.v1alpha import reflection_pb2
from tests.manifests.processes import Processes
from tests.manifests.rendered import INTERNAL_SERVICES, MODELS, PREFIXES, Manifests, rendered
from tests.postgres_fixtures import database, postgres
from tests.waiting import until

from spincycle.rpc.channel import open_channel
from spincycle.rpc.dialer import Dialer
from spincycle.v1.state_pb2 import State

__all__ = ["database", "postgres"]

STANDARD = ("grpc.health.", "grpc.reflection.", "grpc.channelz.")
"""Beginnings of the names of services that every listener may have."""


@pytest.fixture
def manifests() -> Manifests:
    return rendered("prod")


@pytest.fixture
async def processes(
    manifests: Manifests, database: str, tmp_path: Path
) -> AsyncIterator[Processes]:
    """All services and the migrations, with a database of their own."""
    with Processes(manifests, tmp_path, database) as started:
        (migration,) = manifests.of_kind("Job")
        for name in (migration, *MODELS):
            started.start(name)
        yield started


async def listed(channel: grpc.aio.Channel) -> set[str]:
    """The services that reflection names, without the standard ones."""
    method = channel.stream_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    requests = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    async for response in method(requests, wait_for_ready=True, timeout=60):
        names = {service.name for service in response.list_services_response.service}
        return {name for name in names if not name.startswith(STANDARD)}
    return set()


async def test_a_request_runs_through_and_each_port_has_the_listener_that_it_is_named_after(
    manifests: Manifests, processes: Processes
) -> None:
    async with gateway(manifests, processes) as client:

        async def is_ready() -> bool:
            try:
                return (await client.get("/readyz")).status_code == 200
            except httpx.ConnectError:
                return False

        await until(is_ready)
        request = {"type": "test", "args": {"sleepTime": "1"}}
        unknown = {"Authorization": "Bearer another"}
        refused = await client.post("/api/v1/requests", json=request, headers=unknown)
        assert refused.status_code == 401, refused.text
        created = await client.post("/api/v1/requests", json=request)
        assert created.status_code == 201, created.text

        async def is_complete() -> bool:
            answer = await client.get(f"/api/v1/requests/{created.json()['id']}")
            return bool(answer.json()["state"] == State.STATE_COMPLETE)

        await until(is_complete)

    dialer = Dialer(processes.authority.identity("request-manager"))
    for name, services in INTERNAL_SERVICES.items():
        async with dialer.to(name)(processes.addresses(name)["internal"]) as channel:
            assert await listed(channel) == services, name
    credentials = grpc.ssl_channel_credentials(processes.authority.file.read_bytes())
    for name in ("request-manager", "job-log"):
        address = processes.addresses(name)["grpc"]
        # A caller without a certificate, which knows the name of the Service.
        async with open_channel(address, credentials=credentials, server_name=name) as channel:
            internal = {one for one in INTERNAL_SERVICES[name] if ".internal." in one}
            assert await listed(channel) == INTERNAL_SERVICES[name] - internal, name


@asynccontextmanager
async def gateway(manifests: Manifests, processes: Processes) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the gateway that verifies the name of its Service."""
    port = manifests.ports("gateway")["http"]

    async def by_name(request: httpx.Request) -> None:
        request.headers["Host"] = f"gateway:{port}"
        request.extensions["sni_hostname"] = "gateway"

    async with httpx.AsyncClient(
        base_url=f"https://{processes.addresses('gateway')['http']}",
        verify=ssl.create_default_context(cafile=str(processes.authority.file)),
        event_hooks={"request": [by_name]},
        headers={"Authorization": f"Bearer {processes.token}"},
    ) as client:
        yield client


WITHOUT_SETTINGS = {
    "request-manager": ("APPEND_GRANT_KEYS", "append_grant_keys: not set"),
    "job-runner": ("INTERNAL__", "set internal.certificate, internal.key and internal.ca"),
    "job-log": ("TLS__", "set tls.certificate and tls.key"),
    "gateway": ("TLS__", "set tls.certificate and tls.key"),
}
"""Settings of a service that name files of a Secret, and what it says without them."""

WITHOUT_FILES = {
    "request-manager": "/etc/spincycle/append-grants",
    "job-log": "/etc/spincycle/identity",
    "gateway": "/etc/spincycle/public",
}
"""A directory of a service that a Secret is mounted at."""


@pytest.mark.parametrize("name", WITHOUT_SETTINGS)
def test_a_process_without_settings_of_a_secret_does_not_start_and_says_what_to_set(
    manifests: Manifests, tmp_path: Path, name: str
) -> None:
    prefix, message = WITHOUT_SETTINGS[name]
    processes = Processes(manifests, tmp_path)
    environment = {
        key: value
        for key, value in processes.environment(name).items()
        if not key.startswith(PREFIXES[name] + prefix) or key.endswith("LISTEN")
    }

    ended = processes.run(name, environment)

    assert ended.returncode == 2, ended.stderr
    assert message in " ".join(ended.stderr.split())


@pytest.mark.parametrize("name", WITHOUT_FILES)
def test_a_process_without_the_files_of_a_secret_does_not_start_and_names_one(
    manifests: Manifests, tmp_path: Path, name: str
) -> None:
    processes = Processes(manifests, tmp_path)
    directory = str(tmp_path / manifests.secrets(name)[WITHOUT_FILES[name]])
    environment = {
        key: value.replace(directory, WITHOUT_FILES[name])
        for key, value in processes.environment(name).items()
    }

    ended = processes.run(name, environment)

    assert ended.returncode == 2, ended.stderr
    assert WITHOUT_FILES[name] in ended.stderr
