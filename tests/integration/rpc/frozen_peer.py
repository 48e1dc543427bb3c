"""A process to be frozen: a server with idle streams, or a client that watches one."""

from __future__ import annotations

import asyncio
import sys

from tests.integration.rpc.watched_service import watched

from spincycle.rpc.channel import open_channel
from spincycle.v1 import job_log_service_pb2 as pb
from spincycle.v1.job_log_service_pb2_grpc import JobLogServiceStub


async def serve() -> None:
    async with watched() as (_, address):
        sys.stdout.write(f"{address}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


async def watch(address: str) -> None:
    async with open_channel(address) as channel:
        tail = JobLogServiceStub(channel).Tail(pb.TailRequest())
        await tail.read()
        sys.stdout.write("watching\n")
        sys.stdout.flush()
        await tail.read()


asyncio.run(serve() if sys.argv[1] == "serve" else watch(sys.argv[2]))
