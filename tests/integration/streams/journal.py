"""Journals of requests, as the job log streams them."""

from __future__ import annotations

from tests.chaos.cluster import Cluster

from spincycle.rpc.channel import open_channel
from spincycle.v1 import job_log_service_pb2, job_log_service_pb2_grpc


async def journal(cluster: Cluster, request_id: str) -> list[tuple[str, int]]:
    """(job, try) of each entry by position."""
    async with open_channel(cluster.address("JL")) as channel:
        request = job_log_service_pb2.TailRequest(request_id=request_id)
        stub = job_log_service_pb2_grpc.JobLogServiceStub(channel)
        responses = [response async for response in stub.Tail(request, wait_for_ready=True)]
    entries = [event.entry for response in responses for event in response.events]
    return [(entry.job_id, entry.try_number) for entry in entries]
