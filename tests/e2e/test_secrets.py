"""A secret argument that jobs pass out in every way is nowhere, and sealed in the database."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from pathlib import Path
from typing import Protocol

import asyncpg
import grpc
import httpx
import pytest
import pytest_asyncio
from tests.e2e.conftest import REPOSITORY, SCRIPTS
from tests.waiting import until

from spincycle.dev.services import FREE_PORTS, Content
from spincycle.dev.stack import Stack, StackConfig
from spincycle.dev.stack_processes import find_processes
from spincycle.model.request_arg import REDACTED
from spincycle.model.secret_forms import forms_of
from spincycle.rpc.channel import open_channel
from spincycle.v1 import job_log_service_pb2 as jl
from spincycle.v1 import request_manager_service_pb2 as rm
from spincycle.v1 import state_pb2
from spincycle.v1.job_log_service_pb2_grpc import JobLogServiceStub
from spincycle.v1.request_manager_service_pb2_grpc import RequestManagerServiceStub

pytestmark = pytest.mark.slow

SECRET = "s3cr3t/+&=p4ss w0rd"

SPECS = """
sequences:
  login:
    request: true
    args:
      required: [{name: password, secret: true}, {name: host}, {name: release}]
    nodes:
      keep:
        category: job
        type: keep
        args: [{expected: password}, {expected: host}]
        sets: [{arg: url}]
      leak:
        category: job
        type: leak
        args: [{expected: url}, {expected: release}]
        deps: [keep]
"""


class Message(Protocol):
    def SerializeToString(self) -> bytes: ...


class Lines:
    """The log lines of all processes."""

    def __init__(self) -> None:
        self.text = ""

    def __call__(self, name: str, line: str) -> None:
        self.text += f"{name}: {line}\n"


@pytest.fixture(scope="module")
def lines() -> Lines:
    return Lines()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory, lines: Lines) -> AsyncIterator[Stack]:
    specs = tmp_path_factory.mktemp("specs")
    (specs / "login.yaml").write_text(SPECS)
    content = Content(specs, ("tests.e2e.leaking_jobs:jobs",), (REPOSITORY,))
    config = StackConfig(content, ports=FREE_PORTS, restarts=False)
    async with Stack(config, lines) as stack:
        yield stack


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def manager(stack: Stack) -> AsyncIterator[RequestManagerServiceStub]:
    async with open_channel(stack.request_manager) as channel:
        yield RequestManagerServiceStub(channel)


def assert_clean(*outputs: bytes | str) -> None:
    """Check that no output contains a form of the secret."""
    for output in outputs:
        text = output if isinstance(output, bytes) else output.encode()
        found = [form for form in forms_of(SECRET) if form in text]
        assert not found, text.decode(errors="replace")


async def spinc(stack: Stack, home: Path, *words: str) -> tuple[int, str]:
    """Run spinc and return its exit code and output."""
    process = await asyncio.create_subprocess_exec(
        SCRIPTS / "spinc", *words,
        "--addr", stack.request_manager, "--job-log", stack.job_log,
        env={**os.environ, "HOME": str(home), "XDG_STATE_HOME": str(home / "state")},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def collected(stream: AsyncIterable[Message], into: list[bytes]) -> None:
    async for message in stream:
        into.append(message.SerializeToString())  # noqa: PERF401 # read while it grows


@pytest.mark.asyncio(loop_scope="module")
async def test_a_secret_that_jobs_pass_out_is_found_nowhere(
    stack: Stack, manager: RequestManagerServiceStub, lines: Lines, tmp_path: Path
) -> None:
    password, release = tmp_path / "password", tmp_path / "release"
    password.write_text(SECRET + "\n")
    code, started = await spinc(
        stack, tmp_path, "start", "login",
        f"password=@{password}", "host=web1", f"release={release}",
    )  # fmt: skip
    assert code == 0, started
    assert f"password=@{password}" in started
    (request,) = (await manager.List(rm.ListRequest())).requests
    watched: list[bytes] = []
    tailed: list[bytes] = []

    async with open_channel(stack.job_log) as channel:
        journal = JobLogServiceStub(channel)
        watch = rm.WatchRequest(
            request_ids=[request.id], include_job_chain=True, include_live_output=True
        )
        tail = jl.TailRequest(
            request_id=request.id,
            follow=True,
            include_output=True,
            include_live_output=True,
            include_data=True,
        )
        readers = [
            asyncio.create_task(collected(manager.Watch(watch), watched)),
            asyncio.create_task(collected(journal.Tail(tail), tailed)),
        ]
        expected = f"login {REDACTED}\nlogin {REDACTED}\n".encode()
        await until(lambda: expected in b"".join(tailed))
        live: list[bytes | str] = [
            (await manager.ListRunningJobs(rm.ListRunningJobsRequest())).SerializeToString(),
            (await manager.Explain(rm.ExplainRequest(request_id=request.id))).SerializeToString(),
            await rest(stack, "/api/v1/status/running", "/api/v1/full/status/running"),
            (await spinc(stack, tmp_path, "ps", request.id))[1],
        ]
        assert REDACTED.encode() in live[0]
        release.touch()
        await until(lambda: b"ValueError: login" in b"".join(tailed))
        await until(lambda: b"job leak" in b"".join(watched))
        for reader in readers:
            reader.cancel()
        await asyncio.wait(readers)
        entries = jl.ListEntriesRequest(
            request_id=request.id, include_output=True, include_data=True
        )
        stored = (await journal.ListEntries(entries)).SerializeToString()

    ended = (
        await manager.Get(rm.GetRequest(request_id=request.id, include_job_chain=True))
    ).request
    assert ended.state == state_pb2.STATE_FAIL
    assert REDACTED in ended.state_message
    plan = rm.PlanRequest(type="login", include_job_chain=True)
    plan.args.update({"password": SECRET, "host": "web1", "release": str(release)})
    assert_clean(started, *live, *watched, *tailed, stored, ended.SerializeToString())
    assert_clean(
        (await manager.Plan(plan)).SerializeToString(),
        (await manager.List(rm.ListRequest())).SerializeToString(),
        (await manager.Explain(rm.ExplainRequest(request_id=request.id))).SerializeToString(),
        *[(await spinc(stack, tmp_path, *words, request.id))[1] for words in READS],
        await rest(stack, *(path.format(id=request.id) for path in PATHS)),
        *(file.read_text() for file in (tmp_path / "state").rglob("*.json")),
    )
    searched = rm.ListRequest()
    searched.filter.args.update({"password": SECRET})
    assert not (await manager.List(searched)).requests

    await until(lambda: "forgotten with" in lines.text)
    assert f"cannot log in with {REDACTED}" in lines.text
    assert_clean(lines.text, *command_lines(stack))
    assert_clean(await database(stack))


READS: tuple[list[str], ...] = (["status"], ["info", "-o", "json"], ["log"], ["log", "-o", "json"])

PATHS = (
    "/api/v1/requests",
    "/api/v1/requests/{id}",
    "/api/v1/requests/{id}/log",
    "/api/v1/requests/{id}/job-chain",
    "/api/v1/requests/{id}/explain",
    "/api/v1/requests/{id}/events",
    "/api/v1/full/requests/{id}",
    "/api/v1/full/requests/{id}/log",
)


@pytest.mark.asyncio(loop_scope="module")
async def test_the_refusal_of_a_request_does_not_show_its_secret(
    stack: Stack, manager: RequestManagerServiceStub, lines: Lines
) -> None:
    create = rm.CreateRequest(type="login")
    create.args.update({"password": SECRET, "host": "refused", "release": "/none"})

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await manager.Create(create)

    assert f"refuses {REDACTED}, {REDACTED}" in str(refused.value.details())
    metadata: Iterable[tuple[str, bytes | str]] = refused.value.trailing_metadata() or ()
    await until(lambda: f"checking {REDACTED}" in lines.text)
    assert_clean(lines.text, repr(refused.value), *(value for _, value in metadata))


async def rest(stack: Stack, *paths: str) -> bytes:
    async with httpx.AsyncClient(base_url=stack.gateway) as client:
        answers = [await client.get(path) for path in paths]
    assert {answer.status_code for answer in answers} == {200}
    return b"\n".join(answer.content for answer in answers)


def command_lines(stack: Stack) -> list[bytes]:
    return [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in find_processes(stack.home)]


async def database(stack: Stack) -> bytes:
    """Return all values of all tables of the services."""
    connection = await asyncpg.connect(stack.dsn)
    try:
        tables = await connection.fetch(
            "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables"
            " WHERE schemaname IN ('request_manager', 'job_log')"
        )
        values: list[bytes] = []
        for table in tables:
            for row in await connection.fetch("SELECT * FROM " + table["name"]):
                values += [v if isinstance(v, bytes) else str(v).encode() for v in row.values()]
        assert b"login" in values
        return b"\n".join(values)
    finally:
        await connection.close()
