"""Started as the manifests say, each process serves its probes and its metrics.

Probes come as the kubelet sends them: to the pod's address, which their Host header names.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2
from prometheus_client.parser import text_string_to_metric_families
from tests.health_client import HealthClient
from tests.manifests.processes import Processes
from tests.manifests.rendered import POD_IP, Manifests, rendered
from tests.waiting import until

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


@pytest.fixture
def manifests() -> Manifests:
    """Those of the overlay with the most resources; all configure the processes alike."""
    return rendered("prod-with-options")


@pytest.fixture
def processes(manifests: Manifests, tmp_path: Path) -> Iterator[Processes]:
    """Services as their manifests say, but on free ports, with nothing to call."""
    with Processes(manifests, tmp_path) as started:
        yield started


@pytest.mark.parametrize("name", ["request-manager", "job-runner", "job-log"])
async def test_a_grpc_service_without_its_database_lives_and_is_not_ready(
    manifests: Manifests, processes: Processes, name: str
) -> None:
    processes.start(name)
    addresses = processes.addresses(name)
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
    manifests: Manifests, processes: Processes
) -> None:
    processes.start("gateway")
    addresses = processes.addresses("gateway")
    container = manifests.container("gateway")
    ((scheme, probed),) = {
        (container[probe]["httpGet"]["scheme"], container[probe]["httpGet"]["port"])
        for probe in PROBES
    }

    kubelet = {"Host": f"{POD_IP}:{manifests.ports('gateway')[probed]}"}
    url = f"{scheme.lower()}://{addresses[probed]}"
    # The kubelet does not verify certificates.
    async with httpx.AsyncClient(base_url=url, headers=kubelet, verify=False) as client:

        async def status(probe: str) -> int:
            try:
                return (await client.get(container[probe]["httpGet"]["path"])).status_code
            except httpx.ConnectError:
                return 0

        await until(lambda: _is(status("startupProbe"), 200))
        assert await status("livenessProbe") == 200
        assert await status("readinessProbe") == 503


async def test_programs_in_the_cluster_reach_the_gateway_by_the_names_of_its_service_only(
    manifests: Manifests, processes: Processes
) -> None:
    namespace = manifests.of_kind("Service")["gateway"]["metadata"]["namespace"]
    names = ["gateway", f"gateway.{namespace}", f"gateway.{namespace}.svc"]
    names.append(f"{names[-1]}.cluster.local")
    processes.start("gateway")
    address = processes.addresses("gateway")["http"]
    trusted = ssl.create_default_context(cafile=str(processes.authority.file))
    async with httpx.AsyncClient(base_url=f"https://{address}", verify=trusted) as client:

        async def status(host: str, path: str = "/openapi.json", verified: str = "") -> int:
            extensions = {"sni_hostname": verified or host.partition(":")[0]}
            try:
                response = await client.get(path, headers={"Host": host}, extensions=extensions)
                return response.status_code
            except httpx.ConnectError:
                return 0

        await until(lambda: _is(status("gateway", "/healthz"), 200))
        for name in names:
            assert await status(f"{name}:32308") == 200, name
        assert await status("gateway.example.com:32308", verified="gateway") == 403


SCALED_BY = "spincycle_queue_wait_seconds"

METRICS = {
    "request-manager": {"spincycle_requests_created", SCALED_BY},
    "job-runner": {"spincycle_running_jobs", "spincycle_journal_backlog_seconds"},
    "job-log": {"spincycle_batches", "spincycle_event_loop_lag_seconds"},
    "gateway": {"spincycle_http_calls", "spincycle_event_loop_lag_seconds"},
}
"""Some metrics of each process; docs/how-to/operations.md has all of them."""


@pytest.mark.parametrize("name", METRICS)
async def test_a_process_serves_its_metrics(processes: Processes, name: str) -> None:
    processes.start(name)
    url = f"http://{processes.addresses(name)['metrics']}/metrics"
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
