"""The way of live output to the job log, while somebody tails it there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import grpc

from spincycle.internal.v1 import journal_service_pb2 as journal_pb2
from spincycle.internal.v1.journal_service_pb2_grpc import JournalServiceStub
from spincycle.job.live_output import STDERR, STDOUT
from spincycle.rpc.channel import Dial, open_channel
from spincycle.runtime.backoff import Backoff
from spincycle.v1 import job_output_pb2

if TYPE_CHECKING:
    from spincycle.job import Job

INTERVAL = 0.2
"""Seconds between two pieces of a job's output."""

RETRY_INTERVAL = 1.0
"""Maximum seconds before a broken stream is reopened."""

Call = grpc.aio.StreamStreamCall[journal_pb2.OfferOutputRequest, journal_pb2.OfferOutputResponse]
Place = tuple[str, str, int, int]


class OutputStream:
    """Offers what jobs print; sends it only while it is wanted.

    `printing` answers the jobs of a request that run and have printed something. What they
    print faster than it is sent is lost on this way, and only here.
    """

    def __init__(
        self,
        address: str,
        printing: Callable[[str], Iterator[Job]],
        dial: Dial = open_channel,
    ) -> None:
        self._channel = dial(address)
        self._stub = JournalServiceStub(self._channel)
        self._printing = printing
        self._wanted: frozenset[str] = frozenset()
        self._sent: dict[Place, int] = {}
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Keep a stream open, until cancelled."""
        backoff = Backoff(RETRY_INTERVAL, RETRY_INTERVAL)
        while True:
            self._wanted, self._sent = frozenset(), {}
            call: Call = self._stub.OfferOutput(wait_for_ready=True)
            sending = asyncio.create_task(self._send(call))
            try:
                async for response in call:
                    self._hear(response)
            except grpc.aio.AioRpcError:
                pass  # The journal's own stream tells of it.
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
                call.cancel()
            await backoff.wait()

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()

    def _hear(self, response: journal_pb2.OfferOutputResponse) -> None:
        self._wanted = frozenset(response.request_ids)
        anew = set(response.again_request_ids)
        self._sent = {
            place: offset
            for place, offset in self._sent.items()
            if place[0] in self._wanted and place[0] not in anew
        }
        self._changed.set()

    async def _send(self, call: Call) -> None:
        # The peer answers once it knows that there is a stream.
        await call.write(journal_pb2.OfferOutputRequest())
        while True:
            await self._changed.wait()
            while self._wanted:
                pieces = [piece for request_id in self._wanted for piece in self._new(request_id)]
                if pieces:
                    await call.write(journal_pb2.OfferOutputRequest(pieces=pieces))
                await asyncio.sleep(INTERVAL)
            self._changed.clear()

    def _new(self, request_id: str) -> Iterator[job_output_pb2.JobOutput]:
        for job in self._printing(request_id):
            output = job.output
            if output is None:
                continue
            for stream in (STDOUT, STDERR):
                place = (request_id, job.id.id, job.attempt.number, stream)
                offset, data = output.after(stream, self._sent.get(place, 0))
                if data:
                    self._sent[place] = offset + len(data)
                    piece = job_output_pb2.JobOutput(
                        request_id=request_id,
                        job_id=job.id.id,
                        name=job.id.name,
                        stream=job_output_pb2.OutputStream.ValueType(stream),
                        offset=offset,
                        data=data,
                    )
                    setattr(piece, "try", job.attempt.number)
                    yield piece
