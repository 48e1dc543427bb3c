"""Runners append only entries of requests that are assigned to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from structlog.testing import capture_logs
from tests.identities import Authority
from tests.integration.job_log.conftest import entry
from tests.waiting import until

from spincycle.dev.ports import free_port
from spincycle.errors import SpinCycleError
from spincycle.identity import key_file
from spincycle.identity.append_grants import AppendGrant, GrantKeys
from spincycle.identity.service_identity import (
    GATEWAY,
    JOB_LOG,
    JOB_RUNNER,
    REQUEST_MANAGER,
    ServiceIdentity,
)
from spincycle.internal.v1 import journal_service_pb2 as journal_pb2
from spincycle.internal.v1.journal_service_pb2_grpc import JournalServiceStub
from spincycle.job_log.config import JobLogConfig
from spincycle.job_log.process import serve
from spincycle.job_runner.journal_stream import JournalStream
from spincycle.model.journal_entry import JournalEntry
from spincycle.rpc.dialer import Dialer
from spincycle.rpc.status import from_rpc_error
from spincycle.runtime.config import (
    ConfigError,
    DatabaseConfig,
    InternalConfig,
    MetricsConfig,
    Secret,
)
from spincycle.runtime.process import Shutdown
from spincycle.v1 import job_log_service_pb2 as pb
from spincycle.v1 import job_output_pb2
from spincycle.v1.job_log_service_pb2_grpc import JobLogServiceStub
from spincycle.wire.append_grants import encode_grant
from spincycle.wire.journal import encode_entry

RUNNER = str(ServiceIdentity("spincycle", JOB_RUNNER, "1"))
OLD, NEW = b"o" * 32, b"n" * 32
KEYS = GrantKeys({"old": OLD})

Stored = list[tuple[str, int]]


def write_keys(path: Path, keys: dict[str, bytes]) -> None:
    part = path.with_suffix(".part")
    part.write_text("".join(f"{id_} {key.hex()}\n" for id_, key in keys.items()))
    part.chmod(0o600)
    part.replace(path)


@dataclass
class Secured:
    """A job log that identifies its callers, and clients of it."""

    authority: Authority
    config: JobLogConfig
    keys: Path
    stack: AsyncExitStack

    def dial(self, service: str, instance: str = "1") -> Callable[[str], grpc.aio.Channel]:
        """Return the function by which a service opens channels to the job log."""
        return Dialer(self.authority.identity(service, instance)).to(JOB_LOG)

    async def stream(self, service: str = JOB_RUNNER, instance: str = "1") -> GrantedStream:
        """Open an Append stream of a service."""
        channel = self.dial(service, instance)(self.config.internal.listen)
        await self.stack.enter_async_context(channel)
        return GrantedStream(JournalServiceStub(channel))

    async def stored(self, request_id: str) -> Stored:
        """Return (job, try) of the stored entries of a request."""
        channel = self.dial(REQUEST_MANAGER)(self.config.internal.listen)
        async with channel:
            call = JobLogServiceStub(channel).Tail(
                pb.TailRequest(request_id=request_id), wait_for_ready=True
            )
            return [
                (event.entry.job_id, event.entry.try_number)
                async for response in call
                for event in response.events
            ]


class GrantedStream:
    """The client of an Append stream."""

    def __init__(self, stub: JournalServiceStub) -> None:
        self._call = stub.Append(wait_for_ready=True)
        self._responses = aiter(self._call)
        self._batches = 0

    async def append(self, *entries: JournalEntry, grants: tuple[AppendGrant, ...] = ()) -> None:
        """Append a batch and wait for its commit."""
        self._batches += 1
        with suppress(asyncio.InvalidStateError):  # The stream has ended; see its status.
            await self._call.write(
                journal_pb2.AppendRequest(
                    batch=self._batches,
                    entries=map(encode_entry, entries),
                    grants=map(encode_grant, grants),
                )
            )
        response = await anext(self._responses)
        assert response.batch == self._batches
        assert not response.refused

    async def refused(
        self, *entries: JournalEntry, grants: tuple[AppendGrant, ...] = ()
    ) -> SpinCycleError:
        """Append a batch that the job log refuses; return the error."""
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await self.append(*entries, grants=grants)
        assert failure.value.code() is grpc.StatusCode.PERMISSION_DENIED
        return from_rpc_error(failure.value, "job log", "")


@asynccontextmanager
async def secured(
    database: str, directory: Path, *, legacy_runner_calls: bool = False, metrics: str = ""
) -> AsyncIterator[Secured]:
    """A job log with certificates and grant keys."""
    authority = Authority(directory / "certificates")
    keys = directory / "grant-keys"
    write_keys(keys, {"old": OLD})
    config = JobLogConfig(
        listen=f"127.0.0.1:{free_port()}",
        internal=authority.internal(f"127.0.0.1:{free_port()}", JOB_LOG),
        append_grant_keys=keys,
        legacy_runner_calls=legacy_runner_calls,
        database=DatabaseConfig(dsn=Secret(database), max_connections=4),
        metrics=MetricsConfig(listen=metrics),
        grace=2.0,
    )
    shutdown = Shutdown()
    serving = asyncio.create_task(serve(config, shutdown))
    try:
        async with AsyncExitStack() as stack:
            yield Secured(authority, config, keys, stack)
    finally:
        shutdown.request()
        await serving


@pytest.fixture
async def job_log(database: str, tmp_path: Path) -> AsyncIterator[Secured]:
    async with secured(database, tmp_path) as job_log:
        yield job_log


async def test_entries_with_a_grant_shown_once_on_the_stream_are_stored(job_log: Secured) -> None:
    stream = await job_log.stream()
    grant = KEYS.grant("mine", 1, RUNNER)

    await stream.append(entry(1, "mine"), grants=(grant,))
    await stream.append(entry(2, "mine"), entry(3, "mine"))

    assert await job_log.stored("mine") == [("j001", 1), ("j002", 1), ("j003", 1)]


@pytest.mark.parametrize(
    ("refused", "grants"),
    [
        (entry(1, "theirs"), ()),
        (entry(1, "theirs", epoch=2), (KEYS.grant("theirs", 1, RUNNER),)),
        (entry(1, "theirs", epoch=0), ()),
        (entry(1, "theirs", position=0), ()),
        (entry(1, "theirs"), (KEYS.grant("theirs", 1, RUNNER[:-1] + "2"),)),
        (entry(1, "theirs"), (GrantKeys({"old": NEW}).grant("theirs", 1, RUNNER),)),
        (entry(1, "theirs"), (GrantKeys({"new": OLD}).grant("theirs", 1, RUNNER),)),
    ],
    ids=[
        "no grant", "another epoch", "epoch 0", "position 0", "another runner", "another key",
        "an unknown key id",
    ],
)  # fmt: skip
async def test_an_entry_without_a_valid_grant_ends_the_stream_and_nothing_of_its_batch_is_stored(
    job_log: Secured, refused: JournalEntry, grants: tuple[AppendGrant, ...]
) -> None:
    stream = await job_log.stream()
    await stream.append(entry(1, "mine"), grants=(KEYS.grant("mine", 1, RUNNER),))

    error = await stream.refused(entry(2, "mine"), refused, entry(3, "mine"), grants=grants)

    assert (error.reason, error.request_id_or_empty) == ("NOT_YOURS", "theirs")
    assert RUNNER in error.message
    assert await job_log.stored("mine") == [("j001", 1)]
    assert await job_log.stored("theirs") == []


async def test_batches_before_a_refused_one_are_acknowledged(job_log: Secured) -> None:
    channel = job_log.dial(JOB_RUNNER)(job_log.config.internal.listen)
    await job_log.stack.enter_async_context(channel)
    call = JournalServiceStub(channel).Append(wait_for_ready=True)
    grant = encode_grant(KEYS.grant("mine", 1, RUNNER))
    for batch, (request_id, grants) in enumerate(
        [("mine", [grant]), ("mine", []), ("theirs", [])], start=1
    ):
        await call.write(
            journal_pb2.AppendRequest(
                batch=batch, entries=[encode_entry(entry(batch, request_id))], grants=grants
            )
        )

    acknowledged = 0
    with pytest.raises(grpc.aio.AioRpcError) as failure:  # noqa: PT012 # the stream ends with it
        async for response in call:
            acknowledged = response.batch

    assert acknowledged == 2
    assert from_rpc_error(failure.value, "job log", "").request_id_or_empty == "theirs"


async def test_a_grant_shown_on_one_stream_does_not_count_on_another(job_log: Secured) -> None:
    first, second = await job_log.stream(), await job_log.stream()
    await first.append(entry(1, "mine"), grants=(KEYS.grant("mine", 1, RUNNER),))

    assert (await second.refused(entry(2, "mine"))).reason == "NOT_YOURS"


async def test_a_runner_cannot_use_the_grant_of_another_one(job_log: Secured) -> None:
    other = await job_log.stream(JOB_RUNNER, "2")

    error = await other.refused(entry(1, "mine"), grants=(KEYS.grant("mine", 1, RUNNER),))

    assert error.reason == "NOT_YOURS"


async def test_request_managers_append_without_grants_and_gateways_do_not_append(
    job_log: Secured,
) -> None:
    manager, gateway = await job_log.stream(REQUEST_MANAGER), await job_log.stream(GATEWAY)

    await manager.append(entry(1, "any"))
    error = await gateway.refused(entry(2, "any"))

    assert error.reason == "CALLER_NOT_ALLOWED"
    assert await job_log.stored("any") == [("j001", 1)]


async def test_gateways_append_without_grants_where_legacy_calls_are_enabled(
    database: str, tmp_path: Path
) -> None:
    async with secured(database, tmp_path, legacy_runner_calls=True) as job_log:
        gateway, runner = await job_log.stream(GATEWAY), await job_log.stream()

        await gateway.append(entry(1, "any"))
        assert (await runner.refused(entry(2, "any"))).reason == "NOT_YOURS"


async def test_keys_are_rotated_without_ending_a_stream(
    job_log: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_file, "CHECK_INTERVAL", 0.01)
    stream = await job_log.stream()
    await stream.append(entry(1, "before"), grants=(KEYS.grant("before", 1, RUNNER),))

    with capture_logs() as logs:
        write_keys(job_log.keys, {"new": NEW, "old": OLD})
        await until(lambda: any(log["event"] == "grant keys reloaded" for log in logs))
        after = GrantKeys({"new": NEW}).grant("after", 1, RUNNER)
        await stream.append(entry(2, "before"), entry(1, "after"), grants=(after,))
        logs.clear()
        write_keys(job_log.keys, {"new": NEW})
        await until(lambda: any(log["event"] == "grant keys reloaded" for log in logs))
        await stream.append(entry(2, "after"))
        error = await stream.refused(entry(3, "before"))

    assert error.request_id_or_empty == "before"
    assert 'there is no grant key "old"' in error.message


@dataclass(eq=False)
class Chain:
    """The commit listener of a chain."""

    append_grant: AppendGrant | None
    positions: list[int] = field(default_factory=list)
    errors: list[SpinCycleError] = field(default_factory=list)

    def committed(self, position: int) -> None:
        self.positions.append(position)

    def refused(self, error: SpinCycleError) -> None:
        self.errors.append(error)


@asynccontextmanager
async def journal_of_a_runner(job_log: Secured) -> AsyncIterator[JournalStream]:
    journal = JournalStream(job_log.config.internal.listen, job_log.dial(JOB_RUNNER))
    running = asyncio.create_task(journal.run())
    try:
        yield journal
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await journal.close()


async def test_a_refused_grant_abandons_its_chain_only(job_log: Secured) -> None:
    forged = GrantKeys({"old": NEW})
    chains = {
        **{f"good-{number}": Chain(KEYS.grant(f"good-{number}", 1, RUNNER)) for number in range(3)},
        **{f"bad-{number}": Chain(forged.grant(f"bad-{number}", 1, RUNNER)) for number in range(3)},
        "none": Chain(None),
    }
    async with journal_of_a_runner(job_log) as journal:
        for number in range(1, 4):
            for request_id, chain in chains.items():
                journal.append(entry(number, request_id), chain)
        await until(
            lambda: all(chain.errors or chain.positions[-1:] == [3] for chain in chains.values())
        )
        assert journal.oldest_unacknowledged == 0

    for request_id, chain in chains.items():
        if request_id.startswith("good"):
            assert not chain.errors
            assert len(await job_log.stored(request_id)) == 3
        else:
            assert [error.reason for error in chain.errors] == ["NOT_YOURS"]
            assert await job_log.stored(request_id) == []


async def test_a_runner_keeps_its_entries_while_it_is_refused_for_no_request(
    job_log: Secured,
) -> None:
    chain = Chain(KEYS.grant("mine", 1, str(ServiceIdentity("spincycle", GATEWAY, "1"))))
    journal = JournalStream(job_log.config.internal.listen, job_log.dial(GATEWAY))
    journal.append(entry(1, "mine"), chain)
    with capture_logs() as logs:
        running = asyncio.create_task(journal.run())
        await until(lambda: sum(log["event"] == "journal stream broke" for log in logs) > 2)
        assert journal.oldest_unacknowledged > 0
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await journal.close()

    assert (chain.positions, chain.errors) == ([], [])


async def test_chains_show_their_grants_again_after_a_reconnect(job_log: Secured) -> None:
    chain = Chain(KEYS.grant("mine", 1, RUNNER))
    bad = Chain(None)
    async with journal_of_a_runner(job_log) as journal:
        journal.append(entry(1, "mine"), chain)
        await until(lambda: chain.positions == [1])
        journal.append(entry(1, "bad"), bad)
        await until(lambda: bad.errors)
        journal.append(entry(2, "mine"), chain)
        await until(lambda: chain.positions == [1, 2])


async def offer(
    job_log: Secured, request_id: str, grants: tuple[AppendGrant, ...]
) -> grpc.aio.StreamStreamCall[journal_pb2.OfferOutputRequest, journal_pb2.OfferOutputResponse]:
    """Offer output of a request, as a runner."""
    channel = job_log.dial(JOB_RUNNER)(job_log.config.internal.listen)
    await job_log.stack.enter_async_context(channel)
    call = JournalServiceStub(channel).OfferOutput(wait_for_ready=True)
    piece = job_output_pb2.JobOutput(
        request_id=request_id,
        job_id="j001",
        stream=job_output_pb2.OUTPUT_STREAM_STDOUT,
        data=request_id.encode(),
    )
    await call.write(
        journal_pb2.OfferOutputRequest(pieces=[piece], grants=map(encode_grant, grants))
    )
    return call


async def test_a_runner_passes_on_output_only_of_requests_that_are_assigned_to_it(
    job_log: Secured,
) -> None:
    grant = KEYS.grant("mine", 1, RUNNER)
    manager = await job_log.stream(REQUEST_MANAGER)
    await manager.append(entry(1, "other"))  # Once the schema is there.
    channel = job_log.dial(REQUEST_MANAGER)(job_log.config.internal.listen)
    await job_log.stack.enter_async_context(channel)
    stub = JobLogServiceStub(channel)
    tails = {
        request_id: stub.Tail(
            pb.TailRequest(request_id=request_id, follow=True, include_live_output=True),
            wait_for_ready=True,
        )
        for request_id in ("mine", "theirs")
    }
    watched = await offer(job_log, "mine", (grant,))
    wanted: set[str] = set()
    while wanted != {"mine", "theirs"}:
        response = await watched.read()
        assert isinstance(response, journal_pb2.OfferOutputResponse)
        wanted = set(response.request_ids)

    for grants in ((), (grant,), (KEYS.grant("theirs", 1, RUNNER + "0"),)):
        forged = await offer(job_log, "theirs", grants)
        with pytest.raises(grpc.aio.AioRpcError) as failure:  # noqa: PT012 # at the end
            while await forged.read() is not grpc.aio.EOF:
                pass
        error = from_rpc_error(failure.value, "job log", "")
        assert (error.reason, error.request_id_or_empty) == ("NOT_YOURS", "theirs")
    await offer(job_log, "mine", (grant,))
    own = await tails["mine"].read()
    await manager.append(entry(1, "theirs"))
    other = await tails["theirs"].read()

    assert isinstance(own, pb.TailResponse)
    assert own.events[0].output.data == b"mine"
    assert isinstance(other, pb.TailResponse)
    assert other.events[0].HasField("entry"), "the first that its client gets"


async def test_refused_batches_are_counted(database: str, tmp_path: Path) -> None:
    metrics = f"127.0.0.1:{free_port()}"
    async with secured(database, tmp_path, metrics=metrics) as job_log:
        await (await job_log.stream()).refused(entry(1, "theirs"))

        host, _, port = metrics.partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
        text = (await reader.read()).decode()
        writer.close()

    counted = 'method="spincycle.internal.v1.JournalService/Append",reason="NOT_YOURS"'
    assert f"spincycle_refused_calls_total{{{counted}}} 1.0" in text


@pytest.mark.parametrize("means", ["certificates", "tokens"])
async def test_a_job_log_that_identifies_its_callers_does_not_start_without_grant_keys(
    means: str, tmp_path: Path
) -> None:
    if means == "certificates":
        internal = Authority(tmp_path).internal("127.0.0.1:0", JOB_LOG)
    else:
        internal = InternalConfig(listen=f"unix:{tmp_path}/socket", tokens={"0" * 64: RUNNER})

    with pytest.raises(ConfigError, match=r"append_grant_keys: not set.*grant-keys new"):
        await serve(JobLogConfig(internal=internal), Shutdown())
