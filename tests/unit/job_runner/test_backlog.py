from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from tests.unit.chain.chains import chain
from tests.unit.job_runner.entries import RecordingListener, entry

from spincycle.errors import JournalBehind
from spincycle.internal.v1.journal_service_pb2 import AppendResponse
from spincycle.job_runner.fair_slots import FairSlots
from spincycle.job_runner.journal_stream import MAX_BACKLOG_BYTES, JournalStream
from spincycle.job_runner.ports import ChainDependencies
from spincycle.job_runner.runner import JobRunner

MEBIBYTE = "x" * 2**20


async def test_jobs_wait_while_the_journal_is_full() -> None:
    journal = JournalStream("127.0.0.1:1")
    slots = FairSlots(None, lambda: not journal.full)
    journal.on_capacity(slots.dispatch)
    started: list[str] = []
    number = 0
    while not journal.full:
        number += 1
        journal.append(entry(number, stdout=MEBIBYTE), RecordingListener())

    slots.acquire("request", "a", lambda: started.append("a"))
    slots.acquire("request", "b", lambda: started.append("b"))
    assert started == []

    async def acknowledges() -> AsyncIterator[AppendResponse]:
        yield AppendResponse(batch=1)

    journal._stream.sent[1] = journal._next_batch()
    with pytest.raises(ConnectionError):
        await journal._receive(cast("Any", acknowledges()))

    assert started == ["a", "b"]
    await journal.close()


async def test_a_runner_admits_no_chain_while_the_journal_is_full() -> None:
    journal = JournalStream("127.0.0.1:1")
    others = dict.fromkeys(
        ("reporter", "events", "jobs", "job_slots", "environment", "draw"), cast("Any", None)
    )
    dependencies = ChainDependencies(journal, new_clock=lambda: time.time_ns, **others)
    runner = JobRunner(dependencies)
    number = 0
    while not journal.full:
        number += 1
        journal.append(entry(number, stdout=MEBIBYTE), RecordingListener())

    with pytest.raises(JournalBehind):
        runner.run(chain("a"), epoch=1)

    assert number == MAX_BACKLOG_BYTES // 2**20
    assert runner.chains == 0
    await journal.close()
