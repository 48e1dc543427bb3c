from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.chaos.cluster import Cluster, Shape
from tests.chaos.home import running
from tests.e2e.conftest import REPOSITORY, Command
from tests.kubernetes_api.server import FakeApiServer
from tests.waiting import until

from spincycle.rpc.channel import open_channel
from spincycle.v1 import job_log_service_pb2, job_log_service_pb2_grpc, state_pb2
from spincycle.v1 import request_manager_service_pb2 as rpc
from spincycle.v1.request_manager_service_pb2_grpc import RequestManagerServiceStub

SPECS = REPOSITORY / "examples" / "kubernetes"

SINGLE = """
sequences:
  single:
    request: true
    args:
      static:
        - name: image
          default: "busybox"
    nodes:
      only:
        category: job
        type: kubernetes/job
        args:
          - expected: image
"""


def _one_of_each(specs: Path) -> Shape:
    settings = {"RM": {"SPECS_DIR": str(specs)}}
    return Shape(1, 1, 1, gateway=False, settings=settings)


@pytest.fixture
async def api(home: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeApiServer]:
    server = FakeApiServer()
    await server.start()
    monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(home / "kubeconfig")))
    yield server
    await server.stop()


@pytest.fixture
async def cluster(home: Path, api: FakeApiServer) -> AsyncIterator[Cluster]:
    """One process of each service, with the example's specs, and a Kubernetes of sorts."""
    async with running(home, _one_of_each(SPECS)) as cluster:
        yield cluster


@pytest.fixture
async def manager(cluster: Cluster) -> AsyncIterator[RequestManagerServiceStub]:
    async with open_channel(cluster.request_manager) as channel:
        yield RequestManagerServiceStub(channel)


async def started(manager: RequestManagerServiceStub, **args: str) -> str:
    request = rpc.CreateRequest(type="nightly-report")
    request.args.update(args)
    return (await manager.Create(request)).request.id


async def ended(manager: RequestManagerServiceStub, request_id: str) -> int:
    states: list[int] = []

    async def has_ended() -> bool:
        request = (await manager.Get(rpc.GetRequest(request_id=request_id))).request
        states.append(request.state)
        return request.state in (state_pb2.STATE_COMPLETE, state_pb2.STATE_FAIL)

    await until(has_ended)
    return states[-1]


async def output(cluster: Cluster, request_id: str) -> dict[str, str]:
    """What each job printed, by its name."""
    async with open_channel(cluster.address("JL")) as channel:
        journal = job_log_service_pb2_grpc.JobLogServiceStub(channel)
        asked = job_log_service_pb2.ListEntriesRequest(request_id=request_id, include_output=True)
        answer = await journal.ListEntries(asked)
    return {entry.name: entry.stdout for entry in answer.entries}


async def test_a_runner_killed_while_a_container_runs_leaves_one_container_and_no_gap(
    cluster: Cluster, api: FakeApiServer, manager: RequestManagerServiceStub
) -> None:
    request_id = await started(manager, regions="eu")
    await api.cluster.until(lambda: len(api.cluster.created) == 1)
    api.cluster.run()
    api.cluster.write("before the death\n")
    await until(lambda: any(call.endswith("/log") for call in api.calls))

    await cluster.job_runners[0].kill()
    api.cluster.write("while nobody looked\n")
    cluster.job_runners[0].start()
    await cluster.job_runners[0].until_ready()
    [name] = api.cluster.created
    await api.cluster.until(
        lambda: api.cluster.job(name)["metadata"]["annotations"]["spincycle/try"] != "1"
    )
    api.cluster.write("after it\n")
    api.cluster.end(0, '{"rows_eu": 7}')
    await api.cluster.until(lambda: len(api.cluster.created) == 2)
    api.cluster.run()
    environment = api.cluster.pod()["spec"]["containers"][0]["env"]
    api.cluster.end()

    assert await ended(manager, request_id) == state_pb2.STATE_COMPLETE
    assert len(set(api.cluster.created)) == 2, "one for each job of the request"
    assert api.cluster.deletions == []
    printed = await output(cluster, request_id)
    assert printed["collect"] == "before the death\nwhile nobody looked\nafter it\n"
    assert {"name": "SPINCYCLE_DATA", "value": '{"rows_eu": 7}'} in environment


async def test_a_container_that_ended_while_its_runner_was_dead_is_not_run_again(
    cluster: Cluster, api: FakeApiServer, manager: RequestManagerServiceStub
) -> None:
    request_id = await started(manager, regions="eu")
    await api.cluster.until(lambda: len(api.cluster.created) == 1)
    await cluster.job_runners[0].kill()
    api.cluster.run()
    api.cluster.write("all of it\n")
    api.cluster.end()

    cluster.job_runners[0].start()
    await api.cluster.until(lambda: len(api.cluster.created) == 2)
    api.cluster.run()
    api.cluster.end()

    assert await ended(manager, request_id) == state_pb2.STATE_COMPLETE
    assert len(set(api.cluster.created)) == 2, "one for each job of the request"
    assert (await output(cluster, request_id))["collect"] == "all of it\n"


async def test_the_example_for_kubernetes_is_clean(home: Path) -> None:
    lint = await Command.start("lint", "examples/kubernetes", "--strict", home=home)

    assert await lint.ended() == 0, lint.output


async def test_a_runner_without_the_extra_starts_and_says_what_is_missing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module that says so when it is imported stands in for one that is not installed."""
    missing = home / "missing"
    missing.mkdir()
    (missing / "kubernetes_asyncio.py").write_text("raise ModuleNotFoundError(name=__name__)")
    monkeypatch.setenv("PYTHONPATH", str(missing))
    specs = home / "specs"
    specs.mkdir()
    (specs / "single.yaml").write_text(SINGLE)
    async with (
        running(home, _one_of_each(specs)) as cluster,
        open_channel(cluster.request_manager) as channel,
    ):
        manager = RequestManagerServiceStub(channel)
        request_id = (await manager.Create(rpc.CreateRequest(type="single"))).request.id
        assert await ended(manager, request_id) == state_pb2.STATE_FAIL
        request = (await manager.Get(rpc.GetRequest(request_id=request_id))).request

    assert "the Python module kubernetes_asyncio is missing" in request.state_message
    assert "pip install 'spincycle[kubernetes]'" in request.state_message


async def test_a_runner_that_is_asked_to_end_leaves_its_container_to_the_next_one(
    cluster: Cluster, api: FakeApiServer, manager: RequestManagerServiceStub
) -> None:
    request_id = await started(manager, regions="eu")
    await api.cluster.until(lambda: len(api.cluster.created) == 1)
    api.cluster.run()
    api.cluster.write("before the end\n")
    await until(lambda: any(call.endswith("/log") for call in api.calls))

    assert await cluster.job_runners[0].end(signal.SIGTERM) == 0
    api.cluster.write("while nobody looked\n")
    cluster.job_runners[0].start()
    await cluster.job_runners[0].until_ready()
    api.cluster.end()
    await api.cluster.until(lambda: len(api.cluster.created) == 2)
    api.cluster.run()
    api.cluster.end()

    assert await ended(manager, request_id) == state_pb2.STATE_COMPLETE
    assert len(set(api.cluster.created)) == 2, "one for each job of the request"
    assert api.cluster.deletions == []
    printed = await output(cluster, request_id)
    assert printed["collect"] == "before the end\nwhile nobody looked\n"
