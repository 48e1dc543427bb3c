"""Tests of the job type `greet`, and of the request `greeting`."""

import asyncio
from pathlib import Path

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct
from spincycle.dev.services import FREE_PORTS, Content
from spincycle.dev.stack import Stack, StackConfig
from spincycle.job import Job, JobError, JobId, Return, State, Value
from spincycle.v1 import request_manager_service_pb2 as messages
from spincycle.v1 import request_pb2
from spincycle.v1.request_manager_service_pb2_grpc import RequestManagerServiceStub

from my_jobs import jobs

PROJECT = Path(__file__).parents[1]


def greet(**args: Value) -> object:
    """Create a job as the request manager does, and run it once as the job runner does."""
    created = make_job()
    created.create(args)
    job = make_job()
    job.deserialize(created.serialize())
    return job.run({})


def make_job() -> Job:
    return jobs.make(JobId(type="greet", name="greet", id="0001", request_id="test"))


def test_a_job_greets_one_person() -> None:
    assert greet(name="ann", words="hello") == Return(State.COMPLETE, stdout="hello, ann")


def test_a_long_name_is_refused() -> None:
    with pytest.raises(JobError, match="longer than 20 characters"):
        greet(name="a" * 21, words="hello")


def test_a_request_greets_everybody() -> None:
    final = asyncio.run(run_request("greeting", {"names": "ann,bob"}))

    assert State(final.state) is State.COMPLETE, final.state_message
    assert final.finished_jobs == final.total_jobs


async def run_request(request_type: str, args: dict[str, str]) -> request_pb2.Request:
    """Start all services, run a request to its end, stop the services."""
    content = Content(PROJECT / "specs", jobs=("my_jobs:jobs",), python_path=(PROJECT,))
    config = StackConfig(content, ports=FREE_PORTS)
    create = messages.CreateRequest(type=request_type, args=Struct())
    create.args.update(args)
    async with (
        Stack(config, show=lambda service, line: print(f"{service}: {line}")) as stack,
        grpc.aio.insecure_channel(stack.request_manager) as channel,
    ):
        manager = RequestManagerServiceStub(channel)
        request_id = (await manager.Create(create)).request.id
        # The stream ends with the request.
        async for _ in manager.Watch(messages.WatchRequest(request_ids=[request_id])):
            pass
        return (await manager.Get(messages.GetRequest(request_id=request_id))).request
