"""What a job prints, over real processes: live, in its entry, and nowhere else."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.chaos.cluster import Cluster, Shape
from tests.chaos.home import running

from spincycle.rpc.channel import open_channel
from spincycle.v1 import job_log_pb2, job_output_pb2
from spincycle.v1 import job_log_service_pb2 as log_rpc
from spincycle.v1 import request_manager_service_pb2 as rpc
from spincycle.v1.job_log_service_pb2_grpc import JobLogServiceStub
from spincycle.v1.request_manager_service_pb2_grpc import RequestManagerServiceStub

pytestmark = pytest.mark.timeout(180)

STDOUT = "by print\nby a kept stream\nby a thread\nby a child\n"
STDERR = ["by bytes", "UserWarning: by warn", "INFO tests.chaos.jobs: by logging"]
LAST = "by structlog"


@pytest.fixture
async def cluster(home: Path) -> AsyncIterator[Cluster]:
    """One of each service but the gateway."""
    shape = Shape(request_managers=1, job_runners=1, job_logs=1, gateway=False)
    async with running(home, shape) as cluster:
        yield cluster


class Printed:
    """Output of one try, as it arrives live."""

    def __init__(self) -> None:
        self.streams: dict[int, bytes] = defaultdict(bytes)

    def add(self, piece: job_output_pb2.JobOutput) -> None:
        assert piece.offset == len(self.streams[piece.stream])
        self.streams[piece.stream] += piece.data

    @property
    def has_all(self) -> bool:
        return LAST.encode() in self.streams[job_output_pb2.OUTPUT_STREAM_STDERR]


async def until_ended(
    log: JobLogServiceStub, manager: RequestManagerServiceStub, request_id: str
) -> tuple[Printed, job_log_pb2.JobLog]:
    """Tail a request, and stop it once its job has printed; return its output and its entry."""
    printed, stopped = Printed(), False
    request = log_rpc.TailRequest(
        request_id=request_id, follow=True, include_live_output=True, include_output=True
    )
    async for response in log.Tail(request, wait_for_ready=True):
        for event in response.events:
            if event.HasField("output"):
                printed.add(event.output)
            elif event.entry.type == "print-each-way":
                return printed, event.entry
        if printed.has_all and not stopped:
            stopped = True
            await manager.Stop(rpc.StopRequest(request_id=request_id))
    raise AssertionError("the stream ended without the entry")


async def test_what_a_job_prints_is_live_and_in_its_entry_and_not_in_the_runners_output(
    cluster: Cluster,
) -> None:
    async with (
        open_channel(cluster.request_manager) as requests,
        open_channel(cluster.address("JL")) as journal,
    ):
        manager, log = RequestManagerServiceStub(requests), JobLogServiceStub(journal)
        create = rpc.CreateRequest(type="printing-each-way")
        request_id = (await manager.Create(create, wait_for_ready=True)).request.id
        async with asyncio.timeout(60):
            printed, entry = await until_ended(log, manager, request_id)
        identity = log_rpc.GetEntryRequest(request_id=request_id, job_id=entry.job_id)
        identity.try_number = entry.try_number
        read = (await log.GetEntry(identity)).entry

    live = {stream: data.decode() for stream, data in printed.streams.items()}
    assert live[job_output_pb2.OUTPUT_STREAM_STDOUT] in (STDOUT, STDOUT + "at last\n")
    assert entry.stdout == STDOUT + "at last\n"
    assert entry.stderr == live[job_output_pb2.OUTPUT_STREAM_STDERR]
    assert (read.stdout, read.stderr) == (entry.stdout, entry.stderr)
    places = [entry.stderr.find(text) for text in [*STDERR, LAST]]
    assert places == sorted(places)
    assert places[0] == 0

    runner_output = "".join(member.log.read_text() for member in cluster.job_runners)
    assert "at last" not in runner_output
    [by_runner] = [line for line in runner_output.splitlines() if "by " in line]
    assert "by a logged warning" in by_runner
    assert request_id in by_runner
    assert entry.job_id in by_runner
