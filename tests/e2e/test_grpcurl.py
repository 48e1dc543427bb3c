"""Runs every line of docs/how-to/grpcurl.md in order, with both tools, on its own stack."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.e2e.conftest import REPOSITORY
from tests.waiting import until

from spincycle.dev.content import find_content
from spincycle.dev.services import FREE_PORTS
from spincycle.dev.stack import Stack, StackConfig
from spincycle.rpc.channel import open_channel
from spincycle.v1 import (
    job_log_service_pb2,
    request_manager_service_pb2_grpc,
    server_service_pb2,
    spec_service_pb2,
    state_pb2,
)
from spincycle.v1 import request_manager_service_pb2 as rpc

PAGE = (REPOSITORY / "docs" / "how-to" / "grpcurl.md").read_text(encoding="utf-8")
TASKS = {
    title: block.splitlines()
    for title, block in re.findall(
        r"^## (.+?)\n.*?^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL
    )
}

SHOWN = {
    "List the services": r"spincycle\.v1\.RequestManagerService",
    "List the methods": r"RequestManagerService[./]Create",
    "Describe a method, or a message": r"CreateRequest",
    "See what can be created": r'"name": "rolling-restart"',
    "Plan a request": r'"planHash": "\w+"',
    "Create a request": r'"id": "(?P<REQUEST>\w{20})"',
    "Get a request": r'"value": "60000"',
    "Start a request": r"request in state RUNNING, expected state PENDING",
    "Find requests": r'"type": "test"',
    "Find the next page": r'"requests"',
    "Watch a request": r'"state": "STATE_RUNNING"',
    "Watch all requests": r'"state": "STATE_RUNNING"',
    "See what runs": r'"jobs"',
    "Explain why jobs do not run": r'"state": "STATE_RUNNING"',
    "Suspend a request": r'"state": "STATE_(RUNNING|SUSPENDED)"',
    "Resume a request": r'"id": "\w{20}"',
    "Read the chain": r'"id": "(?P<JOB>\w{4})",\s+"name": "wait"',
    "Read the chain in one message": r'"jobChain"',
    "Stop a request": r'"id": "\w{20}"',
    "Read the journal": r'"state": "STATE_COMPLETE"',
    "Read the failures only": r"^{",
    "Read one entry": r'"state": "STATE_STOPPED"',
    "Follow the journal": r'"entry"',
    "Rerun a request": r'"rerunOfRequestId": "\w{20}"',
    "Skip a job": r'"rerunOfRequestId": "\w{20}"',
    "Check a spec file": r'"code": "[\w-]+"',
    "Reload the specs": r'"specsHash": "\w+"',
    "See version and limits": r'"requestBytes": "\d+"',
    "Check health": r'"status": "SERVING"',
    "Check liveness": r'"status": "SERVING"',
    "Watch health": r'"status": "SERVING"',
    "List the internal services": r"spincycle\.internal\.v1\.RunnerCoordinationService",
    "See connections and calls": r'"calls_?[sS]tarted"',
    "See what a server calls": r'"target"',
}
"""What each task must show; a named group is kept as a variable for the tasks after it."""

ENDLESS = {"Watch a request", "Watch all requests", "Follow the journal", "Watch health"}

REFUSED = {"Start a request"}
"""What must fail, with the error that is expected."""

BEFORE = {
    "Start a request": state_pb2.STATE_RUNNING,
    "Watch a request": state_pb2.STATE_RUNNING,
    "Read the journal": state_pb2.STATE_STOPPED,
}
"""In which state the request must be before a task makes sense."""


def shown(name: str, line: str) -> None:
    sys.stdout.write(f"{name}: {line}\n")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stack() -> AsyncIterator[Stack]:
    config = StackConfig(find_content(None, ()), ports=FREE_PORTS, restarts=False)
    async with Stack(config, shown) as stack:
        yield stack


def test_every_task_is_known_here_and_shown_in_both_tools() -> None:
    assert list(TASKS) == list(SHOWN)
    for title, lines in TASKS.items():
        assert len(lines) == 2, title
        assert lines[0].startswith("grpcurl "), title
        assert lines[1].startswith("buf curl ") or title.startswith("Describe"), title


def test_every_public_method_has_a_task() -> None:
    for file in (rpc, spec_service_pb2, server_service_pb2, job_log_service_pb2):
        for service in file.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                assert f"{service.full_name}/{method.name}\n" in PAGE, method.full_name


async def in_state(stack: Stack, request_id: str, state: int) -> None:
    async with open_channel(stack.request_manager) as channel:
        stub = request_manager_service_pb2_grpc.RequestManagerServiceStub(channel)

        async def reached() -> bool:
            answer = await stub.Get(rpc.GetRequest(request_id=request_id))
            return answer.request.state == state

        await until(reached)


async def run(title: str, line: str, variables: dict[str, str]) -> re.Match[str]:
    """Run a line of a task until it has shown what it must, or has ended."""
    endless = title in ENDLESS
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        f"exec {line}",
        cwd=REPOSITORY,
        env={
            **os.environ,
            **variables,
            "PATH": f"{REPOSITORY / '.venv' / 'bin'}:{os.environ['PATH']}",
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    output = ""
    found = None
    async with asyncio.timeout(60):
        while data := await process.stdout.read(65536):
            output += data.decode()
            found = re.search(SHOWN[title], output, re.MULTILINE)
            if found and endless:
                process.kill()
        await process.wait()
    assert found, f"{line}\n{output}"
    assert endless or (process.returncode != 0) == (title in REFUSED), f"{line}\n{output}"
    return found


@pytest.mark.timeout(240)
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("tool", [0, 1], ids=["grpcurl", "buf curl"])
async def test_each_line_does_what_its_task_says(stack: Stack, tool: int) -> None:
    variables = {
        "RM": stack.request_manager,
        "JL": stack.job_log,
        "SOCKETS": str(stack.home / "sockets"),
    }
    for title, lines in TASKS.items():
        if title in BEFORE:
            await in_state(stack, variables["REQUEST"], BEFORE[title])
        found = await run(title, lines[tool], variables)
        variables |= found.groupdict()
