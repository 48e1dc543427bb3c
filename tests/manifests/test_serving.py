"""What the probes ask is what the processes answer."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families
from tests.manifests.rendered import PREFIXES, SCRIPTS, Manifests, rendered
from tests.mounted import mount
from tests.waiting import until

from spincycle.dev.ports import free_port

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def manifests() -> Manifests:
    """Of the overlay that has most; what the processes are told is the same in all of them."""
    return rendered("prod-with-options")


@pytest.fixture
async def start(manifests: Manifests, tmp_path: Path) -> AsyncIterator[object]:
    """Starts a service as its manifest says, but on a loopback port, with nothing to call."""
    processes: list[subprocess.Popen[bytes]] = []
    figures: dict[str, str] = {}

    def begin(name: str) -> str:
        address = f"127.0.0.1:{free_port()}"
        said = manifests.environment(name) | {
            f"{PREFIXES[name]}LISTEN": address,
            f"{PREFIXES[name]}METRICS__LISTEN": f"127.0.0.1:{free_port()}",
        }
        figures[name] = f"http://{said[f'{PREFIXES[name]}METRICS__LISTEN']}/metrics"
        if name == "request-manager":
            mount(tmp_path / "specs", manifests.of_kind("ConfigMap")["specs"]["data"])
            said["SPINCYCLE_RM_SPECS_DIR"] = str(tmp_path / "specs")
        with (tmp_path / f"{name}.log").open("wb") as log:
            processes.append(
                subprocess.Popen(
                    [SCRIPTS / manifests.container(name)["command"][0]],
                    env={"PATH": os.environ["PATH"], **said},
                    stderr=log,
                )
            )
        return address

    begin.figures = figures  # type: ignore[attr-defined]
    yield begin
    for process in processes:
        process.terminate()
        process.wait()


@pytest.mark.parametrize("name", ["request-manager", "job-runner", "job-log"])
async def test_a_grpc_service_without_its_database_lives_and_is_not_ready(
    manifests: Manifests, start, name: str
) -> None:
    address = start(name)
    container = manifests.container(name)

    async with grpc.aio.insecure_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel)

        async def says(probe: str) -> int:
            asked = health_pb2.HealthCheckRequest(service=container[probe]["grpc"].get("service"))
            answer = await health.Check(asked, timeout=20, wait_for_ready=True)
            return int(answer.status)

        await until(lambda: _is(says("startupProbe"), SERVING))
        assert await says("livenessProbe") == SERVING
        assert await says("readinessProbe") == NOT_SERVING


async def _is(answer, wanted: int) -> bool:
    return await answer == wanted


async def test_the_gateway_without_services_lives_and_is_not_ready(
    manifests: Manifests, start
) -> None:
    address = start("gateway")
    container = manifests.container("gateway")

    async with httpx.AsyncClient(base_url=f"http://{address}") as client:

        async def status(probe: str) -> int:
            try:
                return (await client.get(container[probe]["httpGet"]["path"])).status_code
            except httpx.ConnectError:
                return 0

        await until(lambda: _is(status("startupProbe"), 200))
        assert await status("livenessProbe") == 200
        assert await status("readinessProbe") == 503


SCALED_BY = "spincycle_queue_wait_seconds"

FIGURES = {
    "request-manager": {"spincycle_requests_created", SCALED_BY},
    "job-runner": {"spincycle_running_jobs", "spincycle_journal_backlog_seconds"},
    "job-log": {"spincycle_batches", "spincycle_event_loop_lag_seconds"},
    "gateway": {"spincycle_http_calls", "spincycle_event_loop_lag_seconds"},
}
"""Some figures of each process; docs/operations.md has all of them."""


@pytest.mark.parametrize("name", FIGURES)
async def test_a_process_tells_its_figures(start, name: str) -> None:
    start(name)
    async with httpx.AsyncClient() as client:

        async def told() -> set[str]:
            try:
                text = (await client.get(start.figures[name])).text
            except httpx.ConnectError:
                return set()
            return {family.name for family in text_string_to_metric_families(text)}

        await until(told)
        assert await told() >= FIGURES[name]


def test_runners_are_scaled_by_a_figure_that_is_told(manifests: Manifests) -> None:
    metrics = manifests.of_kind("HorizontalPodAutoscaler")["job-runner"]["spec"]["metrics"]
    external = {one["external"]["metric"]["name"] for one in metrics if one["type"] == "External"}

    assert external <= FIGURES["request-manager"]
