"""Services that call what is not for them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import grpc
import pytest
from google.protobuf.descriptor import FileDescriptor
from tests.security.attempt import raw_reason, reason_of
from tests.security.installation import LISTENING, Installation

from spincycle.identity.service_identity import (
    GATEWAY,
    JOB_LOG,
    JOB_RUNNER,
    REQUEST_MANAGER,
    SERVICES,
)
from spincycle.internal.v1 import (
    job_runner_service_pb2,
    journal_service_pb2,
    read_access_service_pb2,
    runner_coordination_service_pb2,
)
from spincycle.v1 import (
    access_service_pb2,
    job_log_service_pb2,
    request_manager_service_pb2,
    server_service_pb2,
    spec_service_pb2,
)

SERVED: Mapping[str, tuple[FileDescriptor, ...]] = {
    REQUEST_MANAGER: (
        runner_coordination_service_pb2.DESCRIPTOR,
        read_access_service_pb2.DESCRIPTOR,
        access_service_pb2.DESCRIPTOR,
        request_manager_service_pb2.DESCRIPTOR,
        spec_service_pb2.DESCRIPTOR,
        server_service_pb2.DESCRIPTOR,
    ),
    JOB_LOG: (
        journal_service_pb2.DESCRIPTOR,
        job_log_service_pb2.DESCRIPTOR,
    ),
    JOB_RUNNER: (job_runner_service_pb2.DESCRIPTOR,),
}
"""Services of each internal listener."""

ALLOWED: Mapping[str, frozenset[str]] = {
    "RunnerCoordinationService/Register": frozenset({JOB_RUNNER}),
    "RunnerCoordinationService/Heartbeat": frozenset({JOB_RUNNER}),
    "RunnerCoordinationService/Report": frozenset({JOB_RUNNER}),
    "RunnerCoordinationService/UploadSuspended": frozenset({JOB_RUNNER}),
    "JournalService/Append": frozenset({JOB_RUNNER, REQUEST_MANAGER}),
    "JournalService/OfferOutput": frozenset({JOB_RUNNER}),
    "JournalService/Fence": frozenset({REQUEST_MANAGER}),
    "JobRunnerService": frozenset({REQUEST_MANAGER}),
    "ReadAccessService": frozenset({JOB_LOG}),
    "AccessService": frozenset({GATEWAY}),
    "JobLogService": frozenset({GATEWAY, REQUEST_MANAGER}),
    "RequestManagerService": frozenset({GATEWAY}),
    "SpecService": frozenset({GATEWAY}),
    "ServerService": frozenset({GATEWAY}),
}
"""Services that may call a method, or all methods of a service; nobody may call Finish. The table
of the product is not read here, so that a row too many is noticed."""


def methods(listener: str) -> list[str]:
    """Each method of a listener as /package.Service/Method."""
    return [
        f"/{service.full_name}/{method.name}"
        for file in SERVED[listener]
        for service in file.services_by_name.values()
        for method in service.methods
    ]


def may_call(caller: str, method: str) -> bool:
    name = method.rpartition(".")[2]
    return caller in (ALLOWED.get(name) or ALLOWED.get(name.partition("/")[0], frozenset()))


@pytest.mark.parametrize(("listener", "caller"), [*itertools.product(LISTENING, SERVICES)])
async def test_a_service_may_call_no_method_that_the_table_does_not_list_it_for(
    installation: Installation, listener: str, caller: str
) -> None:
    before = await installation.rows()
    forbidden = [method for method in methods(listener) if not may_call(caller, method)]

    async with installation.channel(listener, installation.identity(caller)) as channel:
        refused = {method: await raw_reason(channel, method) for method in forbidden}

    assert refused == dict.fromkeys(forbidden, "CALLER_NOT_ALLOWED")
    assert await installation.changes_since(before) == []


LEGACY = {
    REQUEST_MANAGER: ("RunnerCoordinationService/Report", "RunnerCoordinationService/Finish"),
    JOB_LOG: ("JournalService/Append",),
    JOB_RUNNER: (
        "JobRunnerService/RunChains",
        "JobRunnerService/ResumeChains",
        "JobRunnerService/StopChains",
        "JobRunnerService/ListRunning",
    ),
}


@pytest.mark.parametrize("listener", LISTENING)
async def test_a_gateway_may_not_make_the_calls_of_a_runner(
    installation: Installation, listener: str
) -> None:
    async with installation.channel(listener, installation.identity(GATEWAY)) as channel:
        refused = [
            await raw_reason(channel, f"/spincycle.internal.v1.{method}")
            for method in LEGACY[listener]
        ]

    assert set(refused) == {"CALLER_NOT_ALLOWED"}


@pytest.mark.parametrize("listener", LISTENING)
async def test_an_internal_listener_has_no_method_that_is_not_listed_here(
    installation: Installation, listener: str
) -> None:
    """Each method of the packages that another listener serves is unknown."""
    elsewhere = {method for other in LISTENING for method in methods(other)} - {*methods(listener)}
    async with installation.channel(listener, installation.identity(REQUEST_MANAGER)) as channel:
        refused = set()
        for method in elsewhere:
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
            refused.add(await reason_of(call(b"")))

    assert refused == {"UNKNOWN_METHOD"}
