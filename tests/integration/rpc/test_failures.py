"""Errors of calls are returned as entries of the catalogue, with details."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from tests.integration.rpc.conftest import JOURNAL, SERVICE, Served
from tests.integration.rpc.failure import details, failure

from spincycle import errors
from spincycle.rpc import calls
from spincycle.rpc.limits import MAX_MESSAGE_BYTES
from spincycle.rpc.status import from_rpc_error
from spincycle.v1 import job_log_service_pb2 as pb


@pytest.mark.parametrize(
    "method", ["/spincycle.v1.JobLogService/Nothing", "/other.Service/Call", "/x"]
)
async def test_an_unknown_method_is_reported(served: Served, method: str) -> None:
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = served.channel.unary_unary(method)

    failed = await failure(call(b""))

    assert failed.code() is grpc.StatusCode.UNIMPLEMENTED
    assert details(failed)["ErrorInfo"].reason == "UNKNOWN_METHOD"
    assert details(failed)["Error"].http_status == 501
    assert method in str(failed.details())


@pytest.mark.parametrize("kind", ["unary_stream", "stream_unary", "stream_stream"])
async def test_an_unknown_streaming_method_is_reported(served: Served, kind: str) -> None:
    method = getattr(served.channel, kind)("/spincycle.v1.JobLogService/Nothing")
    call = method(b"" if kind == "unary_stream" else iter([b""]))

    failed = await failure(call)

    assert details(failed)["ErrorInfo"].reason == "UNKNOWN_METHOD"


async def test_an_unimplemented_method_is_reported(served: Served) -> None:
    failed = await failure(served.stub.ListEntries(pb.ListEntriesRequest()))

    assert failed.code() is grpc.StatusCode.UNIMPLEMENTED
    assert details(failed)["ErrorInfo"].reason == "UNKNOWN_METHOD"


@pytest.mark.parametrize(
    ("kind", "method"),
    [("unary_unary", "GetEntry"), ("unary_stream", "Tail"), ("stream_stream", "Append")],
)
async def test_bytes_that_are_not_a_message_are_a_client_error(
    served: Served, kind: str, method: str
) -> None:
    service = JOURNAL if method == "Append" else SERVICE
    call = getattr(served.channel, kind)(f"/{service}/{method}")
    nonsense = b"\xff\xff\xff"

    failed = await failure(call(iter([nonsense]) if kind == "stream_stream" else nonsense))

    assert failed.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert details(failed)["ErrorInfo"].reason == "UNREADABLE_MESSAGE"
    assert method in str(failed.details())


async def test_a_response_that_is_too_large_is_reported_with_its_size(served: Served) -> None:
    answer = pb.GetEntryResponse()
    answer.entry.stdout = "x" * (MAX_MESSAGE_BYTES + 1)

    async def get() -> pb.GetEntryResponse:
        return answer

    served.job_log.get = get
    served.job_log.tail = [pb.TailResponse(events=[pb.TailEvent(entry=answer.entry)])]

    for call in (
        served.stub.GetEntry(pb.GetEntryRequest()),
        served.stub.Tail(pb.TailRequest()),
    ):
        failed = await failure(call)
        assert failed.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert details(failed)["ErrorInfo"].reason == "MESSAGE_TOO_LARGE"
        assert int(details(failed)["ErrorInfo"].metadata["size"]) > MAX_MESSAGE_BYTES


async def test_a_request_that_is_too_large_is_rejected_unread_and_reported_by_clients(
    served: Served,
) -> None:
    method = "/spincycle.v1.JobLogService/GetEntry"
    async with grpc.aio.insecure_channel(
        served.address, [("grpc.max_send_message_length", -1)]
    ) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
        failed = await failure(call(bytes(MAX_MESSAGE_BYTES + 1)))

    error = from_rpc_error(failed, "job log", served.address)
    assert isinstance(error, errors.MessageTooLarge)
    assert (error.size, error.limit) == (MAX_MESSAGE_BYTES + 1, MAX_MESSAGE_BYTES)


async def test_a_retryable_error_has_a_retry_delay(served: Served) -> None:
    served.job_log.failure = errors.RunnerFull(3)

    found = details(await failure(served.stub.GetEntry(pb.GetEntryRequest())))

    assert list(found) == ["ErrorInfo", "RetryInfo", "Error"]
    assert found["RetryInfo"].retry_delay.seconds == 1


async def test_a_permanent_error_has_no_retry_delay(served: Served) -> None:
    served.job_log.failure = errors.InvalidInput("it is wrong", "request_id")

    found = details(await failure(served.stub.GetEntry(pb.GetEntryRequest())))

    assert list(found) == ["ErrorInfo", "BadRequest", "Error"]
    assert found["BadRequest"].field_violations[0].field == "request_id"


async def test_an_error_with_a_long_text_is_delivered(served: Served) -> None:
    long = "é" * 20_000
    wrong = tuple(
        errors.FieldViolation(f"args.{long}", f"argument {long} is wrong") for _ in range(20)
    )
    served.job_log.failure = errors.InvalidArgs(f"no {long}!", long, wrong)

    failed = await failure(served.stub.GetEntry(pb.GetEntryRequest()))

    found = from_rpc_error(failed, "job log", served.address)
    assert (failed.code(), found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGS")
    assert found.message.startswith("no é")
    assert found.message.endswith("é!")
    assert found.violations[0].field.startswith("args.é")


async def test_a_stream_fails_with_the_same_details(served: Served) -> None:
    served.job_log.tail = [pb.TailResponse()]
    served.job_log.failure = errors.ShuttingDown("the job log")

    found = details(await failure(served.stub.Tail(pb.TailRequest())))

    assert found["ErrorInfo"].reason == "SHUTTING_DOWN"
    assert "RetryInfo" in found


async def test_an_unexpected_exception_is_reported_as_an_incident_only(served: Served) -> None:
    served.job_log.failure = ZeroDivisionError("secret things")

    failed = await failure(served.stub.GetEntry(pb.GetEntryRequest()))

    assert details(failed)["ErrorInfo"].reason == "INTERNAL"
    assert "secret" not in str(failed.details())


async def test_a_call_without_a_deadline_ends_after_the_default_one(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def get() -> pb.GetEntryResponse:
        await grpc.aio.insecure_channel("127.0.0.1:1").channel_ready()
        raise AssertionError("nobody is there")

    served.job_log.get = get
    monkeypatch.setattr(calls, "UNARY_DEADLINE", 0.05)

    failed = await failure(served.stub.GetEntry(pb.GetEntryRequest()))

    assert failed.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert details(failed)["ErrorInfo"].reason == "DEADLINE_EXCEEDED"


HEALTH = "/grpc.health.v1.Health/"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"


@pytest.mark.parametrize("method", [f"{HEALTH}Check", f"{HEALTH}Watch", REFLECTION])
@pytest.mark.parametrize(
    ("raw", "code", "reason"),
    [
        (b"\xff\xff", grpc.StatusCode.INVALID_ARGUMENT, "UNREADABLE_MESSAGE"),
        (b"\x1a\x81\x20" + 4097 * b"x", grpc.StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE"),
    ],
    ids=["unreadable", "too-large"],
)
async def test_health_and_reflection_reject_invalid_requests(
    served: Served, method: str, raw: bytes, code: grpc.StatusCode, reason: str
) -> None:
    call: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = served.channel.stream_stream(method)

    failed = await failure(call(iter([raw]), timeout=30))

    assert failed.code() is code
    assert details(failed)["ErrorInfo"].reason == reason


async def test_a_call_out_of_memory_fails_and_the_next_one_succeeds(served: Served) -> None:
    async def answer() -> pb.GetEntryResponse:
        return pb.GetEntryResponse()

    served.job_log.get = answer
    served.job_log.failure = MemoryError()
    failed = await failure(served.stub.GetEntry(pb.GetEntryRequest()))
    served.job_log.failure = None
    await served.stub.GetEntry(pb.GetEntryRequest())

    assert failed.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert details(failed)["ErrorInfo"].reason == "OUT_OF_MEMORY"


@pytest.mark.parametrize("method", ["GetEntry", "Tail"])
async def test_a_cancellation_inside_a_handler_is_reported_as_an_internal_error(
    served: Served, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The handler awaited a task or a future that was cancelled, but the call was not."""
    served.job_log.failure = asyncio.CancelledError()
    served.job_log.tail = []
    if method == "GetEntry":
        failed = await failure(served.stub.GetEntry(pb.GetEntryRequest(), timeout=10))
    else:
        failed = await failure(served.stub.Tail(pb.TailRequest(), timeout=10))

    assert failed.code() is grpc.StatusCode.INTERNAL
    assert details(failed)["ErrorInfo"].metadata["incident"] in capsys.readouterr().out
