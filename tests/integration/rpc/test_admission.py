"""Who may call an internal listener, on real sockets with real certificates."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.x509 import DNSName, UniformResourceIdentifier
from tests.identities import UNIDENTIFIED, Authority

from spincycle.identity.caller_table import CallerTable
from spincycle.internal.v1 import journal_service_pb2 as journal_pb2
from spincycle.internal.v1 import journal_service_pb2_grpc
from spincycle.rpc.channel import open_channel
from spincycle.rpc.dialer import Dialer
from spincycle.rpc.identification import RefusedCall, caller_id
from spincycle.rpc.limits import INTERNAL
from spincycle.rpc.server import RpcServer, RpcService
from spincycle.rpc.status import from_rpc_error
from spincycle.runtime.config import ConfigError, IdentityConfig, InternalConfig, Secret

JOURNAL = "spincycle.internal.v1.JournalService"
MANAGER = "spiffe://spincycle/spincycle/request-manager/1"


class Journal(journal_service_pb2_grpc.JournalServiceServicer):
    """Answers Fence and Append with the identity of the caller."""

    async def Fence(
        self, request: journal_pb2.FenceRequest, context: Any
    ) -> journal_pb2.FenceResponse:
        return journal_pb2.FenceResponse(higher=[journal_pb2.EpochFence(request_id=caller_id())])

    async def Append(
        self, request_iterator: AsyncIterator[journal_pb2.AppendRequest], context: Any
    ) -> AsyncIterator[journal_pb2.AppendResponse]:
        async for request in request_iterator:
            yield journal_pb2.AppendResponse(batch=request.batch)


@asynccontextmanager
async def listening(
    internal: InternalConfig, refusals: list[RefusedCall] | None = None
) -> AsyncIterator[str]:
    refused = [] if refusals is None else refusals
    server = RpcServer(internal=internal, callers=CallerTable(), on_refusal=refused.append)
    add = journal_service_pb2_grpc.add_JournalServiceServicer_to_server
    listener = server.listen(INTERNAL, internal.listen or "127.0.0.1:0")
    listener.serve(RpcService(JOURNAL, partial(add, Journal())))
    await server.start()
    yield listener.address
    await server.stop(0)


def dial(address: str, identity: IdentityConfig) -> grpc.aio.Channel:
    """Open a channel to the job log, also with a certificate that services would not use."""
    if not (identity.ca and identity.key and identity.certificate):
        return Dialer(identity).to("job-log")(address)
    files = identity.ca, identity.key, identity.certificate
    credentials = grpc.ssl_channel_credentials(*(file.read_bytes() for file in files))
    return open_channel(address, credentials=credentials, server_name="job-log.spincycle")


async def fence(address: str, identity: IdentityConfig) -> str:
    """The identity that the job log sees, or why it refuses the call."""
    async with dial(address, identity) as channel:
        stub = journal_service_pb2_grpc.JournalServiceStub(channel)
        try:
            response = await stub.Fence(journal_pb2.FenceRequest(), timeout=10)
        except grpc.aio.AioRpcError as failure:
            return reason(failure)
    return response.higher[0].request_id


async def append(address: str, identity: IdentityConfig) -> str:
    """ "appended", or why the job log refuses the stream."""
    async with Dialer(identity).to("job-log")(address) as channel:
        stub = journal_service_pb2_grpc.JournalServiceStub(channel)
        call = stub.Append(iter([journal_pb2.AppendRequest(batch=1)]), timeout=10)
        try:
            async for _ in call:
                return "appended"
        except grpc.aio.AioRpcError as failure:
            return reason(failure)
    return "ended"


def reason(failure: grpc.aio.AioRpcError) -> str:
    return from_rpc_error(failure, "job log", "").reason


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ours")


def job_log(authority: Authority) -> InternalConfig:
    return authority.internal("127.0.0.1:0", "job-log")


async def test_a_service_is_identified_by_the_spiffe_id_of_its_certificate(
    authority: Authority,
) -> None:
    async with listening(job_log(authority)) as address:
        assert await fence(address, authority.identity("request-manager")) == MANAGER


async def test_a_service_may_call_only_what_the_table_allows_it(authority: Authority) -> None:
    refusals: list[RefusedCall] = []
    async with listening(job_log(authority), refusals) as address:
        for service in ("job-runner", "job-log", "gateway"):
            assert await fence(address, authority.identity(service)) == "CALLER_NOT_ALLOWED"

    assert [refused.caller.split("/")[4] for refused in refusals] == [
        "job-runner",
        "job-log",
        "gateway",
    ]


async def test_a_refused_stream_ends_with_the_reason_for_every_caller(
    authority: Authority,
) -> None:
    gateway = authority.identity("gateway")
    async with listening(job_log(authority)) as address:
        assert {await append(address, gateway) for _ in range(100)} == {"CALLER_NOT_ALLOWED"}
        assert await append(address, authority.identity("job-runner")) == "appended"


URI = "spiffe://spincycle/spincycle/request-manager/1"
NAMES: dict[str, list[DNSName | UniformResourceIdentifier]] = {
    "two URIs": [UniformResourceIdentifier(URI), UniformResourceIdentifier(URI + "2")],
    "a common name or a DNS name only": [DNSName("request-manager.spincycle")],
    "a DNS name like an id": [DNSName(URI)],
    "another trust domain": [
        UniformResourceIdentifier("spiffe://elsewhere/spincycle/request-manager/1")
    ],
    "another URI": [UniformResourceIdentifier("https://spincycle/request-manager/1")],
    "no service": [UniformResourceIdentifier("spiffe://spincycle/spincycle/person/1")],
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
async def test_a_certificate_without_one_identity_of_the_trust_domain_is_refused(
    authority: Authority, names: list[DNSName | UniformResourceIdentifier]
) -> None:
    certificate, key = authority.certify_for("odd", names)
    odd = IdentityConfig(certificate=certificate, key=key, ca=authority.file)
    async with listening(job_log(authority)) as address:
        assert await fence(address, odd) == "NOT_IDENTIFIED"


async def test_an_expired_certificate_and_one_of_another_authority_do_not_connect(
    authority: Authority, tmp_path: Path
) -> None:
    certificate, key = authority.certify_for(
        "expired",
        [UniformResourceIdentifier(URI)],
        timedelta(days=1),
        datetime.now(UTC) - timedelta(days=2),
    )
    expired = IdentityConfig(certificate=certificate, key=key, ca=authority.file)
    certificate, key = Authority(tmp_path / "theirs").certify("request-manager")
    foreign = IdentityConfig(certificate=certificate, key=key, ca=authority.file)
    async with listening(job_log(authority)) as address:
        assert await fence(address, expired) == "SERVICE_UNAVAILABLE"
        assert await fence(address, foreign) == "SERVICE_UNAVAILABLE"
        assert await fence(address, IdentityConfig()) == "SERVICE_UNAVAILABLE"


async def test_a_caller_does_not_talk_to_another_service_than_it_dials(
    authority: Authority,
) -> None:
    async with listening(authority.internal("127.0.0.1:0", "job-runner")) as address:
        assert await fence(address, authority.identity("request-manager")) == "SERVICE_UNAVAILABLE"


async def test_a_service_is_identified_by_its_token_over_a_unix_socket(tmp_path: Path) -> None:
    listener = InternalConfig(
        listen=f"unix:{tmp_path}/job-log",
        tokens={
            sha256(b"one").hexdigest(): MANAGER,
            sha256(b"two").hexdigest(): MANAGER[:-1] + "2",
        },
    )
    async with listening(listener) as address:
        assert await fence(address, IdentityConfig(token=Secret("one"))) == MANAGER
        assert await fence(address, IdentityConfig(token=Secret("two"))) == MANAGER[:-1] + "2"
        assert await fence(address, IdentityConfig(token=Secret("three"))) == "NOT_IDENTIFIED"
        assert await fence(address, IdentityConfig()) == "NOT_IDENTIFIED"


async def test_a_listener_that_cannot_identify_its_callers_does_not_start(tmp_path: Path) -> None:
    for address in ("127.0.0.1:0", f"unix:{tmp_path}/socket"):
        with pytest.raises(ConfigError, match=r"or set internal\.allow_unidentified: true"):
            RpcServer().listen(INTERNAL, address)
    async with listening(UNIDENTIFIED) as address:
        assert await fence(address, IdentityConfig()) == ""


async def test_a_token_of_no_service_is_reported_at_the_start(tmp_path: Path) -> None:
    config = InternalConfig(tokens={"00": "spiffe://spincycle/spincycle/person/1"})

    with pytest.raises(ConfigError, match=r'internal\.tokens: "person" is not a service'):
        RpcServer(internal=config).listen(INTERNAL, f"unix:{tmp_path}/socket")
