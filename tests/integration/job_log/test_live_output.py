from __future__ import annotations

import asyncio
from typing import Any

from tests.integration.job_log.conftest import (
    REQUEST,
    RunningJobLog,
    StartJobLog,
    TailReader,
    entry,
)
from tests.stream_messages import read_message

from spincycle.internal.v1 import journal_service_pb2 as journal_pb2
from spincycle.v1 import job_log_service_pb2 as pb
from spincycle.v1 import job_output_pb2


class RunnerOffer:
    """The client of an OfferOutput stream, like a runner."""

    def __init__(self, job_log: RunningJobLog) -> None:
        self.call = job_log.journal.OfferOutput()

    async def until_wanted(self, *, again: bool = False) -> None:
        """Return when the output of the request is wanted, or must be resent."""
        while True:
            answer = await read_message(self.call)
            if REQUEST in (answer.replay_request_ids if again else answer.request_ids):
                return

    async def until_not_wanted(self) -> None:
        while (await read_message(self.call)).request_ids:
            pass

    async def print(self, text: str, offset: int = 0, job_id: str = "j001") -> None:
        piece = job_output_pb2.JobOutput(
            request_id=REQUEST,
            job_id=job_id,
            stream=job_output_pb2.OUTPUT_STREAM_STDOUT,
            offset=offset,
            data=text.encode(),
        )
        piece.try_number = 1
        await self.call.write(journal_pb2.OfferOutputRequest(pieces=[piece]))


def tail(job_log: RunningJobLog, **more: Any) -> TailReader:
    asked = pb.TailRequest(request_id=REQUEST, follow=True, include_live_output=True, **more)
    return job_log.tail(asked)


async def printed(call: TailReader, count: int) -> str:
    """Receive `size` bytes of output, with a mark for each gap."""
    text, place = "", 0
    while len(text) < count:
        event = await call.read()
        assert isinstance(event, pb.TailEvent)
        assert event.HasField("output"), event
        text += "~" if event.output.offset > place else ""
        text += event.output.data.decode()
        place = event.output.offset + len(event.output.data)
    return text


async def test_output_of_a_running_try_precedes_its_entry(job_log: RunningJobLog) -> None:
    offer = RunnerOffer(job_log)
    stream = job_log.stream()
    await stream.append(entry(5))
    call = tail(job_log)
    assert (await call.read()).entry.position == 5

    await offer.until_wanted()
    await offer.print("one ")
    await offer.print("two", offset=4)
    assert await printed(call, 7) == "one two"
    await stream.append(entry(1, position=6))
    assert (await call.read()).entry.job_id == "j001"
    await offer.print(" late", offset=7)
    await offer.print("other", job_id="j002")

    assert (await call.read()).output.job_id == "j002"


async def test_runners_send_no_output_without_subscribers(job_log: RunningJobLog) -> None:
    offer = RunnerOffer(job_log)
    plain = job_log.tail(pb.TailRequest(request_id=REQUEST, follow=True))
    call = tail(job_log)
    await offer.until_wanted()
    call.cancel()

    await offer.until_not_wanted()
    plain.cancel()


async def test_a_later_subscriber_gets_the_retained_output_and_the_first_gets_no_duplicates(
    job_log: RunningJobLog,
) -> None:
    offer = RunnerOffer(job_log)
    first = tail(job_log)
    await offer.until_wanted()
    await offer.print("abcd")
    assert await printed(first, 4) == "abcd"

    second = tail(job_log)
    await offer.until_wanted(again=True)
    await offer.print("abcdef")

    assert await printed(second, 6) == "abcdef"
    assert await printed(first, 2) == "~ef"


async def test_a_subscriber_at_another_copy_gets_the_output_too(
    start: StartJobLog,
) -> None:
    local, remote = await start(), await start()
    offer = RunnerOffer(remote)
    call = tail(local, job_id="j001")

    await offer.until_wanted()
    await offer.print("x" * 20_000)
    await offer.print("of another job", job_id="j002")

    assert await printed(call, 20_000) == "x" * 20_000


async def test_a_subscriber_that_does_not_read_costs_bounded_memory_and_sees_the_gap(
    job_log: RunningJobLog,
) -> None:
    offer = RunnerOffer(job_log)
    call = tail(job_log)
    await offer.until_wanted()
    size, count = 500_000, 30
    for number in range(count):
        await offer.print("x" * size, offset=number * size)
    await offer.print("end", offset=count * size)
    await asyncio.sleep(0)

    text, place, gaps = "", 0, 0
    while not text.endswith("end"):
        output = (await call.read()).output
        gaps += output.offset > place
        place = output.offset + len(output.data)
        text = output.data[-3:].decode()
    assert gaps > 0
