"""Started as the manifests say, each process serves its probes and its metrics.

Probes come as the kubelet sends them: to the pod's address, which their Host header names.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2
from prometheus_client.parser import text_string_to_metric_families
from tests.health_client import HealthClient
from tests.manifests.rendered import POD_IP, PREFIXES, SCRIPTS, Manifests, port_of, rendered
from tests.mounted import mount
from tests.waiting import until

from spincycle.dev.ports import free_port

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


@pytest.fixture
def manifests() -> Manifests:
    """Those of the overlay with the most resources; all configure the processes alike."""
    return rendered("prod-with-options")


Start = Callable[[str], dict[str, str]]
"""Starts a service and returns its addresses by container port name, as seen on this machine."""


@pytest.fixture
async def start(manifests: Manifests, tmp_path: Path) -> AsyncIterator[Start]:
    """Start services as their manifests say, but on free ports, with nothing to call."""
    processes: list[subprocess.Popen[bytes]] = []

    def begin(name: str) -> dict[str, str]:
        environment = manifests.environment(name)
        names = {number: port for port, number in manifests.ports(name).items()}
        addresses: dict[str, str] = {}
        for key, value in manifests.environment(name).items():
            if key.startswith(PREFIXES[name]) and key.endswith("LISTEN"):
                port = free_port()
                environment[key] = f"{value.rpartition(':')[0]}:{port}"
                addresses[names[port_of(value)]] = f"127.0.0.1:{port}"
        if name == "request-manager":
            mount(tmp_path / "specs", manifests.of_kind("ConfigMap")["specs"]["data"])
            environment["SPINCYCLE_RM_SPECS_DIR"] = str(tmp_path / "specs")
        with (tmp_path / f"{name}.log").open("wb") as log:
            processes.append(
                subprocess.Popen(
                    [SCRIPTS / manifests.container(name)["command"][0]],
                    env={"PATH": os.environ["PATH"], **environment},
                    stderr=log,
                )
            )
        return addresses

    yield begin
    for process in processes:
        process.terminate()
        process.wait()


@pytest.mark.parametrize("name", ["request-manager", "job-runner", "job-log"])
async def test_a_grpc_service_without_its_database_lives_and_is_not_ready(
    manifests: Manifests, start: Start, name: str
) -> None:
    addresses = start(name)
    container = manifests.container(name)
    names = {number: port for port, number in manifests.ports(name).items()}
    (probed,) = {names[container[probe]["grpc"]["port"]] for probe in PROBES}

    authority = f"{POD_IP}:{manifests.ports(name)[probed]}"
    async with grpc.aio.insecure_channel(
        addresses[probed], [("grpc.default_authority", authority)]
    ) as channel:
        health = HealthClient(channel)

        async def says(probe: str) -> int:
            asked = health_pb2.HealthCheckRequest(service=container[probe]["grpc"].get("service"))
            answer = await health.check(asked, timeout=20, wait_for_ready=True)
            return int(answer.status)

        await until(lambda: _is(says("startupProbe"), SERVING))
        assert await says("livenessProbe") == SERVING
        assert await says("readinessProbe") == NOT_SERVING


async def _is(answer: Awaitable[int], wanted: int) -> bool:
    return await answer == wanted


async def test_the_gateway_without_services_lives_and_is_not_ready(
    manifests: Manifests, start: Start
) -> None:
    addresses = start("gateway")
    container = manifests.container("gateway")
    (probed,) = {container[probe]["httpGet"]["port"] for probe in PROBES}

    kubelet = {"Host": f"{POD_IP}:{manifests.ports('gateway')[probed]}"}
    async with httpx.AsyncClient(base_url=f"http://{addresses[probed]}", headers=kubelet) as client:

        async def status(probe: str) -> int:
            try:
                return (await client.get(container[probe]["httpGet"]["path"])).status_code
            except httpx.ConnectError:
                return 0

        await until(lambda: _is(status("startupProbe"), 200))
        assert await status("livenessProbe") == 200
        assert await status("readinessProbe") == 503


async def test_programs_in_the_cluster_reach_the_gateway_by_the_names_of_its_service_only(
    manifests: Manifests, start: Start
) -> None:
    namespace = manifests.of_kind("Service")["gateway"]["metadata"]["namespace"]
    names = ["gateway", f"gateway.{namespace}", f"gateway.{namespace}.svc"]
    names.append(f"{names[-1]}.cluster.local")
    async with httpx.AsyncClient(base_url=f"http://{start('gateway')['http']}") as client:

        async def status(host: str, path: str = "/openapi.json") -> int:
            try:
                return (await client.get(path, headers={"Host": host})).status_code
            except httpx.ConnectError:
                return 0

        await until(lambda: _is(status("gateway", "/healthz"), 200))
        for name in names:
            assert await status(f"{name}:32308") == 200, name
        assert await status("gateway.example.com:32308") == 403


@pytest.mark.parametrize("name", PREFIXES)
def test_a_process_refuses_its_manifest_without_plain_text_or_tls(
    manifests: Manifests, tmp_path: Path, name: str
) -> None:
    key = "INTERNAL__ALLOW_UNIDENTIFIED" if name == "job-runner" else "TLS__ALLOW_PLAINTEXT"
    environment = {"PATH": os.environ["PATH"], **manifests.environment(name)}
    assert environment.pop(PREFIXES[name] + key) == "true"
    if name == "request-manager":
        mount(tmp_path / "specs", manifests.of_kind("ConfigMap")["specs"]["data"])
        environment["SPINCYCLE_RM_SPECS_DIR"] = str(tmp_path / "specs")
    ended = subprocess.run(
        [SCRIPTS / manifests.container(name)["command"][0]],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ended.returncode == 2
    section, _, setting = key.lower().partition("__")
    assert f"set {section}.{setting}: true" in ended.stderr.replace("\n", " ")


SCALED_BY = "spincycle_queue_wait_seconds"

METRICS = {
    "request-manager": {"spincycle_requests_created", SCALED_BY},
    "job-runner": {"spincycle_running_jobs", "spincycle_journal_backlog_seconds"},
    "job-log": {"spincycle_batches", "spincycle_event_loop_lag_seconds"},
    "gateway": {"spincycle_http_calls", "spincycle_event_loop_lag_seconds"},
}
"""Some metrics of each process; docs/how-to/operations.md has all of them."""


@pytest.mark.parametrize("name", METRICS)
async def test_a_process_serves_its_metrics(start: Start, name: str) -> None:
    url = f"http://{start(name)['metrics']}/metrics"
    async with httpx.AsyncClient() as client:

        async def served() -> set[str]:
            try:
                text = (await client.get(url)).text
            except httpx.ConnectError:
                return set()
            return {family.name for family in text_string_to_metric_families(text)}

        await until(served)
        assert await served() >= METRICS[name]


def test_runners_are_scaled_by_a_metric_that_request_managers_serve(manifests: Manifests) -> None:
    metrics = manifests.of_kind("HorizontalPodAutoscaler")["job-runner"]["spec"]["metrics"]
    external = {one["external"]["metric"]["name"] for one in metrics if one["type"] == "External"}

    assert external <= METRICS["request-manager"]
