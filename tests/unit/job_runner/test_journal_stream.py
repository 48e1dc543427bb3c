from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from structlog.testing import capture_logs
from tests.unit.job_runner.entries import RecordingListener, entry
from tests.unit.job_runner.stage import turns

from spincycle.errors import RemoteError, StaleEpoch
from spincycle.internal.v1.journal_service_pb2 import AppendRequest, AppendResponse, RefusedEntry
from spincycle.job_runner.journal_stream import JournalStream
from spincycle.v1.error_pb2 import Error


class Call:
    """The job log's side of the stream; acknowledges on request."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self._responses: asyncio.Queue[AppendResponse] = asyncio.Queue()

    def acknowledge(self, **refused: int) -> None:
        """Acknowledge all sent batches; refuse an entry of each of these requests."""
        response = AppendResponse(batch=len(self.batches))
        for request_id, epoch in refused.items():
            refusal = RefusedEntry(
                request_id=request_id, job_id="job", error=Error(reason="STALE_EPOCH")
            )
            refusal.try_number = 1
            refusal.current_epoch = epoch
            response.refused.append(refusal)
        self._responses.put_nowait(response)

    async def write(self, request: AppendRequest) -> None:
        self.batches.append([entry.request_id for entry in request.entries])

    async def __aiter__(self) -> AsyncIterator[AppendResponse]:
        while True:
            yield await self._responses.get()


@pytest.fixture
async def journal() -> AsyncIterator[JournalStream]:
    journal = JournalStream("127.0.0.1:1")
    yield journal
    await journal.close()


@pytest.fixture
async def call(journal: JournalStream) -> AsyncIterator[Call]:
    call = Call()
    sending = asyncio.create_task(journal._send(cast("Any", call)))
    yield call
    sending.cancel()


@pytest.fixture
async def receiving(journal: JournalStream, call: Call) -> AsyncIterator[asyncio.Task[None]]:
    receiving = asyncio.create_task(journal._receive(cast("Any", call)))
    yield receiving
    receiving.cancel()


@pytest.mark.usefixtures("receiving")
async def test_a_listener_is_notified_once_of_its_last_committed_position(
    journal: JournalStream, call: Call
) -> None:
    one, other = RecordingListener(), RecordingListener()
    for number in (1, 2, 3):
        journal.append(entry(number, "one"), one)
    journal.append(entry(1, "other"), other)
    await turns()

    call.acknowledge()
    await turns()

    assert (one.calls, other.calls) == ([3], [1])


@pytest.mark.usefixtures("receiving")
async def test_a_refusal_is_reported_only_to_the_listener_of_the_entry(
    journal: JournalStream, call: Call
) -> None:
    one, other = RecordingListener(), RecordingListener()
    journal.append(entry(1, "one"), one)
    journal.append(entry(1, "other"), other)
    await turns()

    call.acknowledge(one=2)
    await turns()

    assert [type(calls) for calls in one.calls] == [StaleEpoch]
    assert other.calls == [1]


async def test_an_entry_whose_listener_raised_is_resent(
    journal: JournalStream, call: Call, receiving: asyncio.Task[None]
) -> None:
    listener = RecordingListener()
    listener.failures = [RuntimeError("this cannot happen")]
    journal.append(entry(1), listener)
    await turns()

    call.acknowledge()
    with pytest.raises(RuntimeError):
        await receiving
    journal._requeue()
    await turns()

    assert call.batches == [["request"], ["request"]]


@pytest.mark.usefixtures("receiving")
async def test_entries_that_follow_an_acknowledgement_share_a_batch(
    journal: JournalStream, call: Call
) -> None:
    quick, slow = RecordingListener(), RecordingListener()
    journal.append(entry(1, "quick"), quick)
    journal.append(entry(1, "slow"), slow)
    await turns()

    call.acknowledge()
    while not slow.calls:
        await turns(1)
    journal.append(entry(2, "quick"), quick)
    await turns(2)
    journal.append(entry(2, "slow"), slow)
    await turns()

    assert call.batches == [["quick", "slow"], ["quick", "slow"]]


@pytest.mark.parametrize("named", ["one", ""])
async def test_a_refused_grant_drops_the_entries_of_the_named_request_only(
    journal: JournalStream, named: str
) -> None:
    one, other = RecordingListener(), RecordingListener()
    for number in (1, 2):
        journal.append(entry(number, "one"), one)
        journal.append(entry(number, "other"), other)
    refusal = RemoteError("not yours", named, "NOT_YOURS", "PERMISSION_DENIED")

    with capture_logs() as logs:
        at_once = journal._refuse(refusal)

    assert at_once is bool(named), "otherwise the runner waits before it tries again"
    assert one.calls == ([refusal] if named else [])
    assert other.calls == []
    expected = ["other", "other"] if named else ["one", "other", "one", "other"]
    assert [pending.entry.request_id for pending in journal._pending] == expected
    assert [log["log_level"] for log in logs] == ["error"]
