"""A run of a cluster under load while its database goes back to an earlier moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import grpc
from tests.chaos.cluster import Cluster
from tests.chaos.explained import explaining
from tests.chaos.load import Load
from tests.chaos.setback import Setback
from tests.chaos.storm import Storm
from tests.waiting import until

from spincycle.v1 import request_manager_service_pb2 as rpc
from spincycle.v1 import state_pb2

FOR_EVER = 3_600_000
"""Milliseconds of a job that ends only if it is stopped."""


async def nothing() -> None:
    """No fault besides."""


class Source(Protocol):
    """What a database goes back to."""

    async def fall_behind(self) -> None:
        """Let nothing that is committed from now on get there."""

    async def take_over(self) -> Setback:
        """Serve from there; return what was lost."""


class SetbackStorm:
    """A database that goes back to an earlier moment under load."""

    def __init__(self, cluster: Cluster, load: Load, source: Source) -> None:
        self.cluster = cluster
        self.load = load
        self.source = source
        self.storm = Storm(cluster, load)
        self.setback = Setback(0.0, [])
        self.lost: list[str] = []
        self.texts: list[str] = []
        self.unexplained: list[str] = []

    async def happen(
        self,
        in_between: Callable[[], Awaitable[None]] = nothing,
        afterwards: Callable[[], Awaitable[None]] = nothing,
    ) -> None:
        """Go back under load, and wait until all that the database knows has ended.

        Of two requests that run for ever the younger one is lost, if any is; both are stopped
        unless they are lost.
        """

        async def faults() -> None:
            await asyncio.sleep(2)
            older = await self._run_for_ever()
            await asyncio.sleep(1)
            await self.source.fall_behind()
            younger = await self._run_for_ever()
            await in_between()
            await asyncio.sleep(3)
            self.setback = await self.source.take_over()
            connection = await self.cluster.connect()
            self.lost = await self.setback.forget_lost(connection, self.load)
            await connection.close()
            assert older not in self.lost
            assert (younger in self.lost) == bool(self.lost)
            await afterwards()
            for request_id in {older, younger} - set(self.lost):
                await self.stop(request_id)
            await asyncio.sleep(3)

        async with explaining(self.load) as explained:
            await self.storm.blow(faults, rate=8, ms=200)
        self.texts = [f"{count} x {text}" for text, count in explained.texts.items()]
        self.unexplained = explained.empty

    async def stop(self, request_id: str) -> None:
        """Stop a request, unless it has just ended."""
        stop = rpc.StopRequest(request_id=request_id)
        if await has_not_ended(self.load.stub.Stop(stop, timeout=30, wait_for_ready=True)):
            self.storm.stopped.add(request_id)

    async def problems(self, *, requests: bool = True, entries: bool = True) -> list[str]:
        """Everything that is stuck, was repeated, was not explained, or is left on a runner.

        `requests` and `entries` tell whether some must have been lost.
        """
        verdict = await self.storm.verdict(self.setback)
        lost_entries = self.setback.lost_entries(verdict.testimony)
        print(
            f"{verdict.figures()}; lost: {len(self.lost)} requests, {len(lost_entries)} entries",
            dict(self.load.answers),
            *self.texts,
            sep="\n",
        )
        await until(self._runners_are_empty)
        unexplained = [f"{request_id} was not explained" for request_id in self.unexplained]
        lost = bool(self.lost), bool(lost_entries)
        as_meant = [] if lost == (requests, entries) else [f"the fault is not as meant: {lost}"]
        return [*verdict.wrong, *unexplained, *as_meant]

    async def _run_for_ever(self) -> str:
        request_id = await self.load.create("sleeping", FOR_EVER)

        async def runs() -> bool:
            response = await self.load.stub.Get(rpc.GetRequest(request_id=request_id))
            return response.request.state == state_pb2.STATE_RUNNING

        await until(runs)
        return request_id

    async def _runners_are_empty(self) -> bool:
        response = await self.load.stub.ListRunningJobs(rpc.ListRunningJobsRequest(), timeout=10)
        connection = await self.cluster.connect()
        query = (
            "SELECT sum(chains + jobs) FROM request_manager.runners WHERE deregistered_at IS NULL"
        )
        held = await connection.fetchval(query)
        await connection.close()
        return not response.status.jobs and held == 0


async def has_not_ended(call: Awaitable[object]) -> bool:
    """Whether a stop, suspension or resumption was accepted; it is not once a request has ended."""
    try:
        await call
    except grpc.aio.AioRpcError as failure:
        if failure.code() is not grpc.StatusCode.FAILED_PRECONDITION:
            raise
        return False
    return True
