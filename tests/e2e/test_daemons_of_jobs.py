"""A process that a job leaves behind does not stand in the way of the next runner."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.waiting import until

from spincycle.dev.services import FREE_PORTS, Content
from spincycle.dev.stack import Stack, StackConfig
from spincycle.rpc.channel import open_channel
from spincycle.v1 import request_manager_service_pb2 as rm
from spincycle.v1 import state_pb2
from spincycle.v1.request_manager_service_pb2_grpc import RequestManagerServiceStub

REPOSITORY = Path(__file__).parents[2]

SPECS = """
sequences:
  fork:
    request: true
    args: {required: [{name: file}]}
    nodes:
      leave: {category: job, type: fork, args: [{expected: file, given: file}]}
  spawn:
    request: true
    args: {required: [{name: file}]}
    nodes:
      leave: {category: job, type: spawn, args: [{expected: file, given: file}]}
  shell:
    request: true
    args:
      required: [{name: file}]
      static:
        - {name: cmd, default: sh}
    nodes:
      leave:
        category: job
        type: shell-command
        args:
          - {expected: cmd, given: cmd}
          - {expected: args, given: file}
"""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    specs = tmp_path_factory.mktemp("specs")
    (specs / "daemons.yaml").write_text(SPECS)
    content = Content(specs, ("tests.e2e.daemon_jobs:jobs",), (REPOSITORY,))
    async with Stack(
        StackConfig(content, ports=FREE_PORTS, restarts=False), lambda *_: None
    ) as stack:
        yield stack


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("kind", ["fork", "spawn", "shell"])
async def test_a_runner_starts_where_one_was_killed_though_a_daemon_of_its_job_lives(
    stack: Stack, kind: str, tmp_path: Path
) -> None:
    file = tmp_path / "pid"
    async with open_channel(stack.request_manager) as channel:
        manager = RequestManagerServiceStub(channel)

        async def run() -> None:
            create = rm.CreateRequest(type=kind)
            background = f"setsid sleep 1000 >/dev/null 2>&1 </dev/null & echo $! >{file}"
            create.args.update({"file": ["-c", background] if kind == "shell" else str(file)})
            request_id = (await manager.Create(create)).request.id

            async def has_ended() -> bool:
                found = (await manager.Get(rm.GetRequest(request_id=request_id))).request
                return found.state == state_pb2.STATE_COMPLETE

            await until(has_ended)

        await run()
        first = int(file.read_text())
        try:
            await stack.kill("job-runner")
            assert is_alive(first)
            await stack.start("job-runner")
            await run()
            assert is_alive(first)
        finally:
            for pid in {first, int(file.read_text())}:
                os.kill(pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state != "Z"
