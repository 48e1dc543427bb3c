"""People and programs with forged, stolen and conflicting credentials."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from tests.not_run import not_run
from tests.ordinary_account import as_ordinary_account
from tests.security import stranger
from tests.security.attempt import TIMEOUT, reason_of
from tests.security.installation import Installation
from tests.security.tokens import token_of

from spincycle.access.caller import SERVICE, Caller
from spincycle.identity.service_identity import (
    GATEWAY,
    JOB_LOG,
    JOB_RUNNER,
    REQUEST_MANAGER,
)
from spincycle.internal.v1 import caller_pb2
from spincycle.rpc.caller_metadata import ASSERTION, Metadata, assertion_of, encode_caller
from spincycle.v1 import access_service_pb2, spec_service_pb2
from spincycle.v1.access_service_pb2_grpc import AccessServiceStub
from spincycle.v1.spec_service_pb2_grpc import SpecServiceStub

ADA = Caller("ada", ("admin",), "token-file")
ADMIN_TOKEN: Metadata = (("authorization", f"Bearer {token_of('ada')}"),)
VIEWER_TOKEN: Metadata = (("authorization", f"Bearer {token_of('vera')}"),)

PUBLIC = {
    REQUEST_MANAGER: (
        "RequestManagerService/Create",
        "RequestManagerService/Stop",
        "SpecService/ReloadSpecs",
        "SpecService/Lint",
        "AccessService/WhoAmI",
    ),
    JOB_LOG: ("JobLogService/GetEntry", "JobLogService/Tail"),
}
"""Public methods of internal listeners."""

INTERNAL = {
    REQUEST_MANAGER: (
        "RunnerCoordinationService/Register",
        "RunnerCoordinationService/Report",
        "ReadAccessService/AuthorizeRead",
    ),
    JOB_LOG: ("JournalService/Append", "JournalService/Fence", "JournalService/OfferOutput"),
    JOB_RUNNER: ("JobRunnerService/RunChains", "JobRunnerService/StopChains"),
}
"""Internal methods by the service that has them."""


async def who(channel: grpc.aio.Channel, metadata: Metadata) -> tuple[str, list[str]]:
    """Return name and roles of a caller, as the request manager sees it."""
    response = await AccessServiceStub(channel).WhoAmI(
        access_service_pb2.WhoAmIRequest(), metadata=metadata, timeout=TIMEOUT
    )
    return response.name, list(response.roles)


async def refusal(channel: grpc.aio.Channel, metadata: Metadata) -> str:
    """Return the reason for which a call of a gateway is refused; "" if it is not."""
    call = AccessServiceStub(channel).WhoAmI(
        access_service_pb2.WhoAmIRequest(), metadata=metadata, timeout=TIMEOUT
    )
    return await reason_of(call)


@pytest.mark.parametrize("caller", [JOB_RUNNER, JOB_LOG])
@pytest.mark.parametrize("credential", ["token", "assertion"])
async def test_a_service_that_is_no_gateway_cannot_call_for_an_admin(
    installation: Installation, caller: str, credential: str
) -> None:
    metadata = ADMIN_TOKEN if credential == "token" else assertion_of(ADA)
    before = await installation.rows()
    refused = {}
    for listener, methods in PUBLIC.items():
        async with installation.channel(listener, installation.identity(caller)) as channel:
            for method in methods:
                call: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(
                    f"/spincycle.v1.{method}"
                )
                refused[method] = await reason_of(call(b"", metadata=metadata, timeout=TIMEOUT))

    assert refused == dict.fromkeys(refused, "CALLER_NOT_ALLOWED")
    assert await installation.changes_since(before) == []


async def test_a_request_manager_reads_journals_as_itself_whatever_caller_it_names(
    installation: Installation, request_id: str
) -> None:
    method = "/spincycle.v1.JobLogService/ListEntries"
    identity = installation.identity(REQUEST_MANAGER)
    async with installation.channel(JOB_LOG, identity) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
        message = b"\x0a" + bytes([len(request_id)]) + request_id.encode()
        named = assertion_of(Caller("nobody", (), "token-file"))

        assert await reason_of(call(message, metadata=named, timeout=TIMEOUT)) == ""


async def test_the_token_of_an_admin_is_of_no_use_on_internal_methods(
    installation: Installation,
) -> None:
    before = await installation.rows()
    refused = {}
    for listener, methods in INTERNAL.items():
        for method in methods:
            path = f"/spincycle.internal.v1.{method}"
            async with installation.channel(listener, installation.identity(GATEWAY)) as channel:
                call: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(path)
                attempt = call(iter([b""]), metadata=ADMIN_TOKEN, timeout=TIMEOUT)
                refused[method, "gateway"] = await reason_of(attempt)
            if listener in installation.public:
                async with installation.public_channel(listener) as channel:
                    unary: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
                        path
                    )
                    attempt_ = unary(b"", metadata=ADMIN_TOKEN, timeout=TIMEOUT)
                    refused[method, "public"] = await reason_of(attempt_)

    expected = {"gateway": "CALLER_NOT_ALLOWED", "public": "UNKNOWN_METHOD"}
    assert refused == {(method, by): expected[by] for method, by in refused}
    assert await installation.changes_since(before) == []


async def test_an_assertion_counts_for_nothing_on_a_public_listener(
    installation: Installation,
) -> None:
    async with installation.public_channel(REQUEST_MANAGER) as channel:
        seen = await who(channel, (*VIEWER_TOKEN, *assertion_of(ADA)))
        reload = SpecServiceStub(channel).ReloadSpecs(
            spec_service_pb2.ReloadSpecsRequest(),
            metadata=(*VIEWER_TOKEN, *assertion_of(ADA)),
            timeout=TIMEOUT,
        )

        assert seen == ("vera", ["viewer"])
        assert await reason_of(reload) == "ACCESS_DENIED"


def asserted(**changed: float) -> Metadata:
    """Return an assertion of an admin with other times, relative to now."""
    message = encode_caller(ADA)
    for name, seconds in changed.items():
        setattr(message, name, time.time() + seconds)
    return ((ASSERTION, message.SerializeToString()),)


BAD_ASSERTIONS: dict[str, Callable[[], Metadata]] = {
    "none": lambda: (),
    "an empty one": lambda: ((ASSERTION, b""),),
    "a damaged one": lambda: ((ASSERTION, assertion_of(ADA)[0][1][:-3]),),
    "text": lambda: ((ASSERTION, b"ada"),),
    "two": lambda: assertion_of(ADA) * 2,
    "two of two callers": lambda: (*assertion_of(ADA), *assertion_of(Caller("vera"))),
    "an old one": lambda: asserted(valid_until=-61),
    "one of the future": lambda: asserted(valid_until=3600),
    "one without time": lambda: (
        (ASSERTION, caller_pb2.Caller(name="ada", roles=["admin"]).SerializeToString()),
    ),
    "one whose credential has expired": lambda: asserted(expires_at=-1),
    "one of a service": lambda: assertion_of(Caller("ada", ("admin",), SERVICE)),
}


@pytest.mark.parametrize("kind", BAD_ASSERTIONS)
async def test_a_gateway_cannot_call_for_a_caller_that_it_does_not_assert_well(
    installation: Installation, kind: str
) -> None:
    identity = installation.identity(GATEWAY)
    async with installation.channel(REQUEST_MANAGER, identity) as channel:
        assert await refusal(channel, BAD_ASSERTIONS[kind]()) == "NOT_AUTHENTICATED"
        assert await who(channel, assertion_of(ADA)) == ("ada", ["admin"])


async def test_a_gateway_that_asserts_a_caller_and_shows_a_token_calls_for_neither(
    installation: Installation,
) -> None:
    identity = installation.identity(GATEWAY)
    async with installation.channel(REQUEST_MANAGER, identity) as channel:
        refused = await refusal(channel, (*assertion_of(ADA), *VIEWER_TOKEN))

    assert refused == "NOT_AUTHENTICATED"


async def test_headers_of_a_proxy_change_nothing_for_who_is_none(
    installation: Installation,
) -> None:
    forged = stranger.CREDENTIALS["headers of a proxy"]
    async with installation.public_channel(REQUEST_MANAGER) as channel:
        assert await who(channel, (*VIEWER_TOKEN, *forged)) == ("vera", ["viewer"])
    address = installation.public[GATEWAY]
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    lines = ["GET /api/v1/me HTTP/1.1", "Host: localhost", "Connection: close"]
    lines += [f"{key}: {value!s}" for key, value in (*VIEWER_TOKEN, *forged)]
    lines += [f"{ASSERTION}: {assertion_of(ADA)[0][1]!r}"]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    async with asyncio.timeout(TIMEOUT):
        answer = await reader.read()
    writer.close()

    assert json.loads(answer.partition(b"\r\n\r\n")[2])["name"] == "vera"


async def test_two_tokens_are_refused_even_if_both_are_valid(installation: Installation) -> None:
    both = (*VIEWER_TOKEN, *ADMIN_TOKEN)
    async with installation.public_channel(REQUEST_MANAGER) as channel:
        assert await refusal(channel, both) == "NOT_AUTHENTICATED"
    async with installation.channel(REQUEST_MANAGER, installation.identity(GATEWAY)) as channel:
        assert await refusal(channel, both) == "NOT_AUTHENTICATED"
    for path in stranger.PATHS:
        assert await stranger.over_http(installation.public[GATEWAY], path, both) == "401"


async def test_another_local_account_gets_nothing_in_any_way(
    installation: Installation, tmp_path: Path
) -> None:
    account = as_ordinary_account(tmp_path)
    if not account:
        not_run("setpriv", "only root can run a command as another account")
    process = await asyncio.create_subprocess_exec(
        *account,
        sys.executable,
        stranger.__file__,
        json.dumps(installation.public),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "HOME": str(tmp_path)},
        cwd=tmp_path,
    )
    output, _ = await process.communicate()

    assert process.returncode == 0
    answers = json.loads(output)
    huge = answers.pop("a huge token")
    assert answers == {name: ["401", "NOT_AUTHENTICATED"] for name in answers}
    # gRPC itself refuses so much metadata, and uvicorn's limit of headers is lower.
    assert not {"", "200"} & set(huge)
