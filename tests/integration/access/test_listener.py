"""Callers of a public listener on a real socket: tokens, accounts of this machine, streams."""

from __future__ import annotations

import asyncio
import os
import pwd
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.identities import UNIDENTIFIED
from tests.issuer.process import RunningIssuer, running_issuer
from tests.ordinary_account import as_ordinary_account
from tests.program_output import run_program

from spincycle.access import token_file
from spincycle.access.authentication import Authentication
from spincycle.access.authenticators import open_authentication
from spincycle.access.caller import Caller, current_caller
from spincycle.access.config import AuthConfig, OidcConfig
from spincycle.access.token_file import add_token
from spincycle.rpc.caller_metadata import assertion_of
from spincycle.rpc.channel import open_channel
from spincycle.rpc.identification import RefusedCall
from spincycle.rpc.limits import INTERNAL, PUBLIC
from spincycle.rpc.server import RpcServer, RpcService
from spincycle.rpc.status import from_rpc_error
from spincycle.v1 import job_log_service_pb2 as pb
from spincycle.v1.job_log_service_pb2_grpc import (
    JobLogServiceServicer,
    JobLogServiceStub,
    add_JobLogServiceServicer_to_server,
)

REPOSITORY = Path(__file__).parents[3]
SERVED = "spincycle.v1.JobLogService"


class Callers(JobLogServiceServicer):
    """Returns the caller in place of an entry, and streams that wait."""

    async def GetEntry(self, request: Any, context: Any) -> pb.GetEntryResponse:
        caller = current_caller()
        response = pb.GetEntryResponse()
        response.entry.error = f"{caller.name}:{','.join(caller.roles)}:{caller.authenticator}"
        return response

    async def Tail(self, request: Any, context: Any) -> AsyncIterator[pb.TailResponse]:
        yield pb.TailResponse()
        await asyncio.Event().wait()


@asynccontextmanager
async def listening(authentication: Authentication) -> AsyncIterator[tuple[str, str]]:
    """The addresses of a public listener and of an internal one that anybody may call."""
    refusals: list[RefusedCall] = []
    server = RpcServer(
        internal=UNIDENTIFIED, authentication=authentication, on_refusal=refusals.append
    )
    service = RpcService(SERVED, partial(add_JobLogServiceServicer_to_server, Callers()))
    public = server.listen(PUBLIC, "127.0.0.1:0").serve(service)
    internal = server.listen(INTERNAL, "127.0.0.1:0").serve(service)
    await server.start()
    watching = asyncio.create_task(authentication.watch())
    try:
        yield public.address, internal.address
    finally:
        watching.cancel()
        await server.stop(0)


Metadata = tuple[tuple[str, str | bytes], ...]


def bearer(*tokens: str) -> Metadata:
    return tuple(("authorization", f"Bearer {token}") for token in tokens)


async def who(address: str, metadata: Metadata = ()) -> str:
    """The caller that the service sees, or the problem."""
    async with open_channel(address) as channel:
        try:
            response = await JobLogServiceStub(channel).GetEntry(
                pb.GetEntryRequest(), metadata=metadata, timeout=20
            )
        except grpc.aio.AioRpcError as failure:
            return from_rpc_error(failure, "job log", "").message
    return response.entry.error


async def tail(address: str, metadata: Metadata, begun: asyncio.Event | None = None) -> str:
    """Why a stream ended."""
    async with open_channel(address) as channel:
        try:
            async for _ in JobLogServiceStub(channel).Tail(
                pb.TailRequest(), metadata=metadata, timeout=20
            ):
                if begun is not None:
                    begun.set()
        except grpc.aio.AioRpcError as failure:
            return from_rpc_error(failure, "job log", "").message
    return "ended"


@pytest.fixture(scope="module")
def issuer() -> Iterator[RunningIssuer]:
    with running_issuer() as running:
        yield running


@pytest.fixture
def file(tmp_path: Path) -> Path:
    add_token(tmp_path / "tokens", "carol", ["dev"], "carol's token")
    return tmp_path / "tokens"


@pytest.fixture
def configured(issuer: RunningIssuer, file: Path) -> Authentication:
    oidc = OidcConfig(issuer.url, audience=("spincycle",), leeway=0)
    return open_authentication(AuthConfig(token_file=file, oidc=oidc), "127.0.0.1:0")


async def test_each_credential_names_its_caller(
    issuer: RunningIssuer, configured: Authentication
) -> None:
    async with listening(configured) as (public, internal):
        assert await who(public, bearer("carol's token")) == "carol:dev:token-file"
        assert await who(public, bearer(issuer.token("bob", ["ops"]))) == "bob:ops:oidc"
        assert await who(internal, bearer(issuer.token("bob", ["ops"]))) == "bob:ops:oidc"


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [
        ((), "no credential"),
        (bearer("unknown"), "not known here"),
        (bearer("carol's token", "carol's token"), "2 Authorization headers"),
        (bearer("carol's token", "unknown"), "2 Authorization headers"),
        ((("authorization", "Basic Y2Fyb2w6eA=="),), 'must be "Bearer" and a token'),
        ((("authorization", "Bearer"),), 'must be "Bearer" and a token'),
        (bearer("a.b.c"), "not encoded in base64url"),
    ],
)
async def test_a_call_without_a_valid_credential_is_refused(
    configured: Authentication, metadata: Metadata, problem: str
) -> None:
    async with listening(configured) as (public, _):
        assert problem in await who(public, metadata)
        assert problem in await tail(public, metadata)


async def test_an_assertion_counts_for_nothing_on_the_public_listener(
    configured: Authentication,
) -> None:
    asserted = assertion_of(Caller("root", ("admin",), "local-user"))
    async with listening(configured) as (public, internal):
        assert "no credential" in await who(public, asserted)
        assert await who(internal, asserted) == "root:admin:local-user"


async def test_a_gateway_cannot_vouch_for_an_expired_credential(
    configured: Authentication,
) -> None:
    expired = assertion_of(Caller("alice", expires_at=time.time() - 1))
    async with listening(configured) as (_, internal):
        assert "has expired" in await who(internal, expired)


async def test_a_stream_ends_when_the_token_expires(
    issuer: RunningIssuer, configured: Authentication
) -> None:
    token = issuer.token(exp=time.time() + 2)
    begun = asyncio.Event()
    async with listening(configured) as (public, internal):
        problem, passed_on = await asyncio.gather(
            tail(public, bearer(token), begun), tail(internal, bearer(token))
        )

    assert begun.is_set()
    assert "the credential has expired" in problem
    assert "the credential has expired" in passed_on


async def test_a_stream_of_an_asserted_caller_ends_with_its_credential(
    configured: Authentication,
) -> None:
    asserted = assertion_of(Caller("alice", expires_at=time.time() + 2))
    async with listening(configured) as (_, internal):
        assert "the credential has expired" in await tail(internal, asserted)


async def test_a_stream_ends_when_its_token_is_removed_from_the_file(
    configured: Authentication, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_file, "CHECK_INTERVAL", 0.05)
    begun = asyncio.Event()
    async with listening(configured) as (public, _):
        following = asyncio.create_task(tail(public, bearer("carol's token"), begun))
        await begun.wait()
        await asyncio.to_thread(file.write_text, "")

        assert "the credential was revoked" in await following
        assert "not known here" in await who(public, bearer("carol's token"))


async def test_outcomes_are_counted_by_authenticator(
    issuer: RunningIssuer, configured: Authentication
) -> None:
    async with listening(configured) as (public, _):
        await who(public, bearer("carol's token"))
        await who(public, bearer(issuer.token(aud="wiki")))
        await who(public)

    assert configured.outcomes == {
        ("token-file", "accepted"): 1,
        ("oidc", "refused"): 1,
        ("", "refused"): 1,
    }


PROGRAM = """
import sys, grpc
from spincycle.v1 import job_log_service_pb2 as pb
from spincycle.v1.job_log_service_pb2_grpc import JobLogServiceStub
with grpc.insecure_channel(sys.argv[1]) as channel:
    stub = JobLogServiceStub(channel)
    for call in (stub.GetEntry, lambda *a, **k: next(stub.Tail(*a, **k))):
        try:
            call(pb.GetEntryRequest() if call == stub.GetEntry else pb.TailRequest(), timeout=20)
            print("accepted")
        except grpc.RpcError as failure:
            print(failure.code().name, failure.details())
"""


async def test_the_account_of_the_service_and_root_need_no_credential() -> None:
    async with listening(open_authentication(AuthConfig(), "127.0.0.1:0")) as (public, _):
        name = pwd.getpwuid(os.geteuid()).pw_name
        assert await who(public) == f"{name}:admin:local-user"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another account")
async def test_another_account_of_this_machine_is_refused(tmp_path: Path) -> None:
    async with listening(open_authentication(AuthConfig(), "127.0.0.1:0")) as (public, _):
        other = await run_program(
            [*as_ordinary_account(tmp_path), sys.executable, "-c", PROGRAM, public],
            cwd=REPOSITORY,
        )

    lines = other.stdout.splitlines()
    assert len(lines) == 2, other.stderr
    for line in lines:
        assert line.startswith("UNAUTHENTICATED")
        assert "neither root nor that of the service" in line
