from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.chaos.cluster import Cluster, Shape
from tests.integration.streams.follower import Stub

from spincycle.rpc.channel import open_channel
from spincycle.v1 import request_manager_service_pb2 as rpc

SPINC = Path(sys.executable).parent / "spinc"
TIMEOUT = 60

SCRIPT = """
for number in 1 2 3 4 5; do echo "line $number"; done
until [ -e {gate} ]; do sleep 0.05; done
echo aside >&2
echo last
"""


@pytest.fixture
def shape() -> Shape:
    return Shape(job_logs=1, request_managers=1)


class Following:
    """A spinc process that follows a stream, and the lines that it has printed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.lines: list[str] = []

    async def until(self, end: str) -> None:
        """Read up to a line with this end."""
        assert self._process.stdout
        while not (self.lines and self.lines[-1].endswith(end)):
            line = await self._process.stdout.readline()
            assert line, self.lines
            self.lines.append(line.decode().rstrip("\n"))

    async def end(self) -> int:
        assert self._process.stdout
        rest = await self._process.stdout.read()
        self.lines += rest.decode().splitlines()
        return await self._process.wait()

    @property
    def printed(self) -> list[str]:
        """The lines with output of the job, standard output first."""
        return sorted(
            (line for line in self.lines if " | " in line or " ! " in line),
            key=lambda line: " ! " in line,
        )


@asynccontextmanager
async def spinc(cluster: Cluster, *args: str) -> AsyncIterator[Following]:
    environment = os.environ | {
        "SPINC_ADDR": f"127.0.0.1:{cluster.ports('RM')[0]}",
        "SPINC_JOB_LOG": f"127.0.0.1:{cluster.ports('JL')[0]}",
        "SPINC_CONFIG": str(cluster.home / "none.yaml"),
    }
    process = await asyncio.create_subprocess_exec(
        SPINC, *args, env=environment, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield Following(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_the_output_of_a_job_is_shown_once_while_it_runs(
    cluster: Cluster, tmp_path: Path
) -> None:
    gate, script = tmp_path / "gate", tmp_path / "script"
    script.write_text(SCRIPT.format(gate=gate))
    async with open_channel(cluster.request_manager) as channel:
        create_request = rpc.CreateRequest(type="talking")
        create_request.args.update({"script": str(script)})
        request_id = (await Stub(channel).Create(create_request)).request.id
    rest = ("--rest", cluster.gateway)
    async with (
        asyncio.timeout(TIMEOUT),
        spinc(cluster, "log", request_id, "--follow") as log,
        spinc(cluster, *rest, "watch", request_id, "--follow") as watch,
    ):
        await log.until("| line 5")
        await watch.until("| line 5")
        gate.touch()
        assert await log.end() == 0
        assert await watch.end() == 0

    texts = [f"| line {number}" for number in range(1, 6)] + ["| last", "! aside"]
    assert [re.sub(r"^talk \w{4}/1 ", "", line) for line in log.printed] == texts
    assert watch.printed == [f"talk, try 1 {text}" for text in texts]
    assert "state:    COMPLETE" in log.lines
    assert sum("line 5" in line for line in log.lines) == 1
    assert "-- talk, try 1: COMPLETE" in watch.lines
