"""People and programs read the journals of requests that a request manager lets them view."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc
import pytest
from tests.integration.job_log.conftest import (
    REQUEST,
    RunningJobLog,
    entry,
    running_job_log,
)
from tests.integration.job_log.deciding_manager import DecidingManager, deciding_manager
from tests.waiting import until

from spincycle.access.caller import Caller, set_current_caller
from spincycle.access.config import AuthConfig
from spincycle.dev.ports import free_port
from spincycle.errors import DatabaseUnavailable, RequestNotFound, ServiceUnavailable
from spincycle.job_log.config import JobLogConfig
from spincycle.job_log.process import serve
from spincycle.job_log.read_access import CALLS, RequestManagerAccess
from spincycle.rpc.caller_metadata import Metadata, assertion_of
from spincycle.rpc.status import from_rpc_error
from spincycle.runtime.config import ConfigError, DatabaseConfig, InternalConfig
from spincycle.runtime.process import Shutdown
from spincycle.v1 import job_log_service_pb2 as pb

OTHER_REQUEST = "c0n4t8k9o5vg0a1b2c3e"


def passed_on(name: str) -> Metadata:
    """Metadata by which a gateway passes on a caller."""
    return assertion_of(Caller(name, ("dev",), "token-file"))


async def read(
    job_log: RunningJobLog, method: str, metadata: Metadata, request_id: str = REQUEST
) -> int:
    """Return the number of entries that a method returns."""
    if method == "GetEntry":
        get = pb.GetEntryRequest(request_id=request_id, job_id="j001")
        return int((await job_log.stub.GetEntry(get, metadata=metadata)).HasField("entry"))
    if method == "ListEntries":
        listed = pb.ListEntriesRequest(request_id=request_id)
        return len((await job_log.stub.ListEntries(listed, metadata=metadata)).entries)
    found = 0
    tail = pb.TailRequest(request_id=request_id, follow=False)
    async for response in job_log.stub.Tail(tail, metadata=metadata):
        found += len(response.events)
    return found


async def refusal(job_log: RunningJobLog, method: str, metadata: Metadata) -> str:
    """Return the reason for which a read is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await read(job_log, method, metadata)
    return from_rpc_error(refused.value, "job log", "").reason


METHODS = ["GetEntry", "ListEntries", "Tail"]


@pytest.fixture
async def manager() -> AsyncIterator[DecidingManager]:
    async with deciding_manager() as manager:
        manager.viewable["alice"] = {REQUEST}
        yield manager


@asynccontextmanager
async def one_entry(database: str, **settings: Any) -> AsyncIterator[RunningJobLog]:
    """A job log with one entry of a request."""
    async with running_job_log(database, **settings) as job_log:
        await until(job_log.healthy)
        await job_log.stream().append(entry(1))
        yield job_log


@pytest.mark.parametrize("method", METHODS)
async def test_a_journal_is_for_callers_who_may_view_its_request(
    database: str, manager: DecidingManager, method: str
) -> None:
    async with one_entry(database, request_manager=manager.address) as job_log:
        assert await read(job_log, method, passed_on("alice")) == 1
        assert await refusal(job_log, method, passed_on("bob")) == "REQUEST_NOT_FOUND"

    assert [(call.caller.name, [*call.caller.roles]) for call in manager.calls] == [
        ("alice", ["dev"]),
        ("bob", ["dev"]),
    ]


@pytest.mark.parametrize("method", METHODS)
async def test_without_a_request_manager_only_services_read_journals(
    database: str, method: str
) -> None:
    async with one_entry(database, request_manager=f"127.0.0.1:{free_port()}") as job_log:
        assert await refusal(job_log, method, passed_on("alice")) == "SERVICE_UNAVAILABLE"
        assert await read(job_log, method, ()) == 1


async def test_a_job_log_that_started_first_decides_once_there_is_a_request_manager(
    database: str,
) -> None:
    address = f"127.0.0.1:{free_port()}"
    async with one_entry(database, request_manager=address) as job_log:
        assert await refusal(job_log, "ListEntries", passed_on("alice")) == "SERVICE_UNAVAILABLE"

        async with deciding_manager(address) as manager:
            manager.viewable["alice"] = {REQUEST}
            assert await read(job_log, "ListEntries", passed_on("alice")) == 1


async def test_an_error_of_the_request_manager_is_not_that_of_the_caller(
    database: str, manager: DecidingManager
) -> None:
    manager.failure = DatabaseUnavailable()
    async with one_entry(database, request_manager=manager.address) as job_log:
        assert await refusal(job_log, "ListEntries", passed_on("alice")) == "SERVICE_UNAVAILABLE"


async def test_where_nobody_is_authenticated_everybody_reads_all_journals(database: str) -> None:
    settings = {"auth": AuthConfig(none=True), "request_manager": ""}
    async with one_entry(database, **settings) as job_log:
        assert await read(job_log, "ListEntries", passed_on("bob")) == 1


async def test_a_job_log_that_must_ask_does_not_start_without_an_address() -> None:
    config = JobLogConfig(
        listen="127.0.0.1:0",
        internal=InternalConfig(listen="127.0.0.1:0", allow_unidentified=True),
        database=DatabaseConfig(),
        request_manager="",
    )

    with pytest.raises(ConfigError, match="request_manager: the request managers decide"):
        await serve(config, Shutdown())


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def access(manager: DecidingManager, clock: Clock) -> AsyncIterator[RequestManagerAccess]:
    access = RequestManagerAccess(manager.address, now=clock)
    set_current_caller(Caller("alice", ("dev",), "token-file", "ipv4:127.0.0.1:7", 500.0))
    yield access
    await access.close()


async def test_reads_that_come_at_the_same_time_share_a_call(
    manager: DecidingManager, access: RequestManagerAccess
) -> None:
    manager.answering.clear()
    reads = [asyncio.create_task(access.check(REQUEST)) for _ in range(200)]
    await until(lambda: len(manager.calls) == 1)
    manager.answering.set()
    await asyncio.gather(*reads)

    assert len(manager.calls) <= CALLS


async def test_one_call_decides_on_the_requests_of_one_caller_only(
    manager: DecidingManager, access: RequestManagerAccess
) -> None:
    manager.answering.clear()

    def check(name: str, request_id: str) -> asyncio.Task[None]:
        set_current_caller(Caller(name, ("dev",), "token-file"))
        return asyncio.create_task(access.check(request_id))

    reads = [check(name, id_) for id_ in (REQUEST, OTHER_REQUEST) for name in ("alice", "bob")]
    manager.answering.set()
    results = await asyncio.gather(*reads, return_exceptions=True)

    assert [type(result) for result in results] == [type(None)] + [RequestNotFound] * 3
    assert {call.caller.name for call in manager.calls} == {"alice", "bob"}


async def test_what_is_allowed_holds_for_five_seconds(
    manager: DecidingManager, access: RequestManagerAccess, clock: Clock
) -> None:
    await access.check(REQUEST)
    manager.viewable.clear()

    clock.now += 4.9
    await access.check(REQUEST)
    clock.now += 0.1
    with pytest.raises(RequestNotFound):
        await access.check(REQUEST)
    assert len(manager.calls) == 2


async def test_it_holds_from_when_the_request_manager_was_asked(
    manager: DecidingManager, access: RequestManagerAccess, clock: Clock
) -> None:
    manager.answering.clear()
    reading = asyncio.create_task(access.check(REQUEST))
    await until(lambda: manager.calls)
    clock.now += 5
    manager.answering.set()
    await reading

    await access.check(REQUEST)
    assert len(manager.calls) == 2


async def test_what_is_not_allowed_is_asked_again(
    manager: DecidingManager, access: RequestManagerAccess
) -> None:
    with pytest.raises(RequestNotFound):
        await access.check(OTHER_REQUEST)
    manager.viewable["alice"].add(OTHER_REQUEST)

    await access.check(OTHER_REQUEST)


async def test_a_caller_with_other_roles_is_another_caller(
    manager: DecidingManager, access: RequestManagerAccess
) -> None:
    await access.check(REQUEST)
    manager.viewable.clear()
    set_current_caller(Caller("alice", (), "token-file"))

    with pytest.raises(RequestNotFound):
        await access.check(REQUEST)


async def test_two_connections_of_a_caller_share_a_decision(
    manager: DecidingManager, access: RequestManagerAccess
) -> None:
    await access.check(REQUEST)
    set_current_caller(Caller("alice", ("dev",), "token-file", "ipv4:127.0.0.1:8", 600.0))
    await access.check(REQUEST)

    assert len(manager.calls) == 1


class Portions:
    """A stream whose portions a test sends."""

    def __init__(self) -> None:
        self.waiting: asyncio.Queue[int] = asyncio.Queue()
        self.closed = False

    async def __call__(self) -> AsyncGenerator[int, None]:
        try:
            while portion := await self.waiting.get():
                yield portion
        finally:
            self.closed = True


async def test_a_stream_yields_what_comes_and_ends_with_its_source(
    manager: DecidingManager, access: RequestManagerAccess
) -> None:
    portions = Portions()
    for portion in (1, 2, 0):
        portions.waiting.put_nowait(portion)

    assert [portion async for portion in access.hold(REQUEST, portions())] == [1, 2]


@pytest.mark.parametrize(
    ("failure", "error"),
    [(None, RequestNotFound), (DatabaseUnavailable(), ServiceUnavailable)],
    ids=["the caller lost its roles", "no request manager decides"],
)
async def test_an_idle_stream_ends_with_its_grant(
    manager: DecidingManager, failure: Exception | None, error: type[Exception]
) -> None:
    set_current_caller(Caller("alice", ("dev",), "token-file"))
    access = RequestManagerAccess(manager.address, validity=0.05)
    portions = Portions()
    portions.waiting.put_nowait(1)
    stream = portions()
    async with aclosing(stream), aclosing(access.hold(REQUEST, stream)) as held:
        assert await anext(held) == 1
        await until(lambda: len(manager.calls) >= 3)
        manager.failure = failure
        manager.viewable.clear()
        with pytest.raises(error):
            await anext(held)

    assert portions.closed
    await access.close()


def checks() -> list[str]:
    """The tasks that check whether a caller may still read."""
    coroutines = [str(task.get_coro()) for task in asyncio.all_tasks()]
    return [name for name in coroutines if "_until_refused" in name]


async def test_closing_a_stream_ends_its_checks(manager: DecidingManager) -> None:
    set_current_caller(Caller("alice", ("dev",), "token-file"))
    access = RequestManagerAccess(manager.address, validity=0.01)
    portions = Portions()
    portions.waiting.put_nowait(1)
    stream = portions()
    async with aclosing(stream), aclosing(access.hold(REQUEST, stream)) as held:
        await anext(held)
        reading = asyncio.ensure_future(anext(held))
        await until(lambda: len(manager.calls) >= 2)
        assert checks()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)

    assert portions.closed
    assert not checks()
    await access.close()
