"""Stream of live job output to the job log, for requests that clients tail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import grpc

from spincycle.internal.v1 import append_grant_pb2
from spincycle.internal.v1 import journal_service_pb2 as journal_pb2
from spincycle.internal.v1.journal_service_pb2_grpc import JournalServiceStub
from spincycle.job.try_output import STDERR, STDOUT
from spincycle.rpc.channel import Dial, open_channel
from spincycle.runtime.backoff import Backoff
from spincycle.v1 import job_output_pb2
from spincycle.wire.append_grants import encode_grant

if TYPE_CHECKING:
    from spincycle.identity.append_grants import AppendGrant
    from spincycle.job import Job
    from spincycle.job.try_output import TryOutput

INTERVAL = 0.2
"""Seconds between two batches of output."""

RETRY_INTERVAL = 1.0
"""Maximum seconds before a broken stream is reopened."""

Call = grpc.aio.StreamStreamCall[journal_pb2.OfferOutputRequest, journal_pb2.OfferOutputResponse]
StreamKey = tuple[str, str, int, int]


class OutputStream:
    """Sends the output of running jobs to the job log while clients tail the request.

    `jobs_with_output` returns the running jobs of a request that have printed, with the output of
    their tries, and `append_grant` the grant of a request. Output that is printed faster than it is
    sent is missing from the live stream; the journal has its head and tail.
    """

    def __init__(
        self,
        address: str,
        jobs_with_output: Callable[[str], Iterator[tuple[Job, TryOutput]]],
        append_grant: Callable[[str], AppendGrant | None],
        dial: Dial = open_channel,
    ) -> None:
        self._channel = dial(address)
        self._stub = JournalServiceStub(self._channel)
        self._jobs_with_output = jobs_with_output
        self._append_grant = append_grant
        self._tailed: frozenset[str] = frozenset()
        self._sent: dict[StreamKey, int] = {}
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Keep a stream open, until cancelled."""
        backoff = Backoff(RETRY_INTERVAL, RETRY_INTERVAL)
        while True:
            self._tailed, self._sent = frozenset(), {}
            call: Call = self._stub.OfferOutput(wait_for_ready=True)
            sending = asyncio.create_task(self._send(call))
            try:
                async for response in call:
                    self._update(response)
            except grpc.aio.AioRpcError:
                pass  # JournalStream logs the failure.
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
                call.cancel()
            await backoff.wait()

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()

    def _update(self, response: journal_pb2.OfferOutputResponse) -> None:
        self._tailed = frozenset(response.request_ids)
        replayed = set(response.replay_request_ids)
        self._sent = {
            key: offset
            for key, offset in self._sent.items()
            if key[0] in self._tailed and key[0] not in replayed
        }
        self._changed.set()

    async def _send(self, call: Call) -> None:
        # The job log responds only after the first message.
        await call.write(journal_pb2.OfferOutputRequest())
        while True:
            await self._changed.wait()
            while self._tailed:
                pieces = [
                    piece for request_id in self._tailed for piece in self._unsent(request_id)
                ]
                if pieces:
                    await call.write(
                        journal_pb2.OfferOutputRequest(pieces=pieces, grants=self._grants(pieces))
                    )
                await asyncio.sleep(INTERVAL)
            self._changed.clear()

    def _grants(
        self, pieces: Iterable[job_output_pb2.JobOutput]
    ) -> Iterator[append_grant_pb2.AppendGrant]:
        for request_id in {piece.request_id for piece in pieces}:
            grant = self._append_grant(request_id)
            if grant is not None:
                yield encode_grant(grant)

    def _unsent(self, request_id: str) -> Iterator[job_output_pb2.JobOutput]:
        for job, output in self._jobs_with_output(request_id):
            for stream in (STDOUT, STDERR):
                key = (request_id, job.id.id, job.attempt.number, stream)
                offset, data = output.after(stream, self._sent.get(key, 0))
                if data:
                    self._sent[key] = offset + len(data)
                    piece = job_output_pb2.JobOutput(
                        request_id=request_id,
                        job_id=job.id.id,
                        name=job.id.name,
                        path=job.id.path,
                        stream=job_output_pb2.OutputStream.ValueType(stream),
                        offset=offset,
                        data=data,
                    )
                    piece.try_number = job.attempt.number
                    yield piece
