from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from tests.unit.job_runner.entries import Author, entry
from tests.unit.job_runner.stage import turns

from spincycle.errors import StaleEpoch
from spincycle.internal.v1.journal_service_pb2 import AppendRequest, AppendResponse, RefusedEntry
from spincycle.job_runner.journal_stream import JournalStream
from spincycle.v1.error_pb2 import Error


class Call:
    """The job log's end of the stream, which answers when it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self._answers: asyncio.Queue[AppendResponse] = asyncio.Queue()

    def answer(self, **refused: int) -> None:
        """Acknowledge all that was sent; refuse an entry of each of these requests."""
        response = AppendResponse(batch=len(self.batches))
        for request_id, epoch in refused.items():
            refusal = RefusedEntry(
                request_id=request_id, job_id="job", error=Error(reason="STALE_EPOCH")
            )
            refusal.try_number = 1
            refusal.current_epoch = epoch
            response.refused.append(refusal)
        self._answers.put_nowait(response)

    async def write(self, request: AppendRequest) -> None:
        self.batches.append([entry.request_id for entry in request.entries])

    async def __aiter__(self) -> AsyncIterator[AppendResponse]:
        while True:
            yield await self._answers.get()


@pytest.fixture
async def journal() -> AsyncIterator[JournalStream]:
    journal = JournalStream("127.0.0.1:1")
    yield journal
    await journal.close()


@pytest.fixture
async def call(journal: JournalStream) -> AsyncIterator[Call]:
    call = Call()
    sending = asyncio.create_task(journal._send(cast(Any, call)))
    yield call
    sending.cancel()


@pytest.fixture
async def receiving(journal: JournalStream, call: Call) -> AsyncIterator[asyncio.Task[None]]:
    receiving = asyncio.create_task(journal._receive(cast(Any, call)))
    yield receiving
    receiving.cancel()


@pytest.mark.usefixtures("receiving")
async def test_an_author_is_told_once_how_far_its_entries_are_committed(
    journal: JournalStream, call: Call
) -> None:
    one, other = Author(), Author()
    for number in (1, 2, 3):
        journal.append(entry(number, "one"), one)
    journal.append(entry(1, "other"), other)
    await turns()

    call.answer()
    await turns()

    assert (one.told, other.told) == ([3], [1])


@pytest.mark.usefixtures("receiving")
async def test_a_refusal_is_told_to_the_author_of_the_entry_alone(
    journal: JournalStream, call: Call
) -> None:
    one, other = Author(), Author()
    journal.append(entry(1, "one"), one)
    journal.append(entry(1, "other"), other)
    await turns()

    call.answer(one=2)
    await turns()

    assert [type(told) for told in one.told] == [StaleEpoch]
    assert other.told == [1]


async def test_an_entry_whose_author_could_not_be_told_is_sent_again(
    journal: JournalStream, call: Call, receiving: asyncio.Task[None]
) -> None:
    author = Author()
    author.trouble = [RuntimeError("this cannot happen")]
    journal.append(entry(1), author)
    await turns()

    call.answer()
    with pytest.raises(RuntimeError):
        await receiving
    journal._take_back()
    await turns()

    assert call.batches == [["request"], ["request"]]


@pytest.mark.usefixtures("receiving")
async def test_what_an_acknowledgement_sets_in_motion_travels_together(
    journal: JournalStream, call: Call
) -> None:
    quick, slow = Author(), Author()
    journal.append(entry(1, "quick"), quick)
    journal.append(entry(1, "slow"), slow)
    await turns()

    call.answer()
    while not slow.told:
        await turns(1)
    journal.append(entry(2, "quick"), quick)
    await turns(2)
    journal.append(entry(2, "slow"), slow)
    await turns()

    assert call.batches == [["quick", "slow"], ["quick", "slow"]]
