"""A backup that was taken while everything ran gives everything of its moment back."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.chaos.cluster import REPOSITORY, Cluster, Shape
from tests.chaos.home import running, temporary_home
from tests.waiting import until

from spincycle.dev.postgres_binaries import choose_account, find_binaries
from spincycle.rpc.channel import open_channel
from spincycle.v1 import job_log_service_pb2, state_pb2
from spincycle.v1 import request_manager_service_pb2 as rpc
from spincycle.v1.job_log_service_pb2_grpc import JobLogServiceStub
from spincycle.v1.request_manager_service_pb2_grpc import RequestManagerServiceStub


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """One of each service, with the specs of the manifests."""
    shape = Shape(
        request_managers=1,
        job_runners=1,
        job_logs=1,
        gateway=False,
        settings={"RM": {"SPECS_DIR": str(REPOSITORY / "k8s/base/specs")}},
    )
    with temporary_home() as home:
        async with running(home, shape) as cluster:
            yield cluster


class Asked:
    """What is asked of the services of a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def create(self, milliseconds: int) -> str:
        """A request that waits for so long."""
        async with open_channel(self._cluster.request_manager) as channel:
            create_request = rpc.CreateRequest(type="test")
            create_request.args.update({"sleepTime": str(milliseconds)})
            answer = await RequestManagerServiceStub(channel).Create(
                create_request, wait_for_ready=True
            )
            return answer.request.id

    async def suspend(self, request_id: str) -> None:
        """Suspend a request."""
        async with open_channel(self._cluster.request_manager) as channel:
            await RequestManagerServiceStub(channel).Suspend(
                rpc.SuspendRequest(request_id=request_id)
            )

    async def resume(self, request_id: str) -> None:
        """Let it go on."""
        async with open_channel(self._cluster.request_manager) as channel:
            await RequestManagerServiceStub(channel).Resume(
                rpc.ResumeRequest(request_id=request_id), wait_for_ready=True
            )

    async def until(self, request_id: str, state: int) -> None:
        """Return when the request is in a state."""
        async with open_channel(self._cluster.request_manager) as channel:
            manager = RequestManagerServiceStub(channel)

            async def reached() -> bool:
                asked = rpc.GetRequest(request_id=request_id)
                answer = await manager.Get(asked, wait_for_ready=True)
                return bool(answer.request.state == state)

            await until(reached)

    async def requests(self) -> set[str]:
        """Ids of all requests."""
        async with open_channel(self._cluster.request_manager) as channel:
            answer = await RequestManagerServiceStub(channel).List(
                rpc.ListRequest(), wait_for_ready=True
            )
            return {request.id for request in answer.requests}

    async def journal(self, request_id: str) -> list[bytes]:
        """Entries of a request."""
        async with open_channel(self._cluster.address("JL")) as channel:
            asked = job_log_service_pb2.ListEntriesRequest(request_id=request_id)
            answer = await JobLogServiceStub(channel).ListEntries(asked, wait_for_ready=True)
            return [entry.SerializeToString(deterministic=True) for entry in answer.entries]


async def run(home: Path, program: str, *words: str | Path) -> None:
    """Run one of PostgreSQL's programs."""
    command = [find_binaries(choose_account(), home).directory / program, *words]
    ended = await asyncio.to_thread(
        subprocess.run, command, check=False, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr


async def test_what_was_backed_up_is_there_again_and_goes_on(
    cluster: Cluster, tmp_path: Path
) -> None:
    ask = Asked(cluster)
    ended = await ask.create(1)
    await ask.until(ended, state_pb2.STATE_COMPLETE)
    held = await ask.create(60_000)
    await ask.until(held, state_pb2.STATE_RUNNING)
    await ask.suspend(held)
    await ask.until(held, state_pb2.STATE_SUSPENDED)
    journal = await ask.journal(ended)
    assert journal

    dump, dsn = tmp_path / "spincycle.dump", cluster.database.dsn()
    await run(cluster.home, "pg_dump", "--format=custom", f"--file={dump}", dsn)
    later = await ask.create(1)
    await ask.until(later, state_pb2.STATE_COMPLETE)

    for member in cluster.members:
        assert await member.end() == 0
    await run(cluster.home, "pg_restore", "--clean", "--if-exists", f"--dbname={dsn}", dump)
    for member in cluster.members:
        member.start()
    await asyncio.gather(*(member.until_ready() for member in cluster.members))

    assert await ask.requests() == {ended, held}
    assert await ask.journal(ended) == journal
    await ask.until(held, state_pb2.STATE_SUSPENDED)
    await ask.resume(held)
    await ask.until(held, state_pb2.STATE_RUNNING)
    again = await ask.create(1)
    await ask.until(again, state_pb2.STATE_COMPLETE)
