"""What jobs can read of the services, under an account that is not root."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from tests.e2e.conftest import REPOSITORY, Command
from tests.ordinary_account import as_ordinary_account
from tests.waiting import until

from spincycle.dev.stack_processes import find_processes

SPECS = """
sequences:
  look:
    request: true
    args: {required: [{name: file}, {name: python}, {name: script}]}
    nodes:
      inside: {category: job, type: report, args: [{expected: file, given: file}]}
      outside:
        category: job
        type: shell-command
        args: [{expected: cmd, given: python}, {expected: args, given: script}]
  wait:
    request: true
    args: {static: [{name: cmd, default: sleep}, {name: args, default: "1000"}]}
    nodes:
      wait:
        category: job
        type: shell-command
        args: [{expected: cmd, given: cmd}, {expected: args, given: args}]
"""

KEY = "key-of-the-operator"

VARIABLES = {
    "AWS_SECRET_ACCESS_KEY": KEY,
    "SPINCYCLE_RM_DATABASE__DSN": f"postgresql://someone:{KEY}@example.com/other",
    "PASSED_1": "one",
    "SPINCYCLE_JR_JOBS_ENVIRONMENT": '["PASSED_*", "SET=by=hand"]',
}

ALLOWED = {
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "KUBECONFIG"),
    *("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"),
    *("SPINCYCLE_KUBERNETES_CONTEXT", "SPINCYCLE_KUBERNETES_NAMESPACE"),
    *("SPINCYCLE_DEV_HOME", "PASSED_1", "SET"),
}


@dataclass
class Stack:
    """`spincycle dev` of an ordinary account."""

    dev: Command
    data: Path

    async def create(self, request: str, **args: str) -> str:
        url = f"http://{self.dev.address('REST')}/api/v1/requests"
        async with httpx.AsyncClient() as client:
            response = await client.post(url, json={"Type": request, "Args": args})
        assert response.status_code == 201, response.text
        return str(response.json()["id"])

    async def get(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient() as client:
            return await client.get(f"http://{self.dev.address('REST')}/api/v1/{path}")


async def start(home: Path) -> Stack:
    specs = home / "specs"
    specs.mkdir(exist_ok=True)
    (specs / "look.yaml").write_text(SPECS)
    dev = await Command.start(
        *("dev", "--data", home / "data", "--free-ports"),
        *("--specs", specs, "--jobs", "tests.e2e.confined_jobs:jobs"),
        home=home,
        before=as_ordinary_account(home),
        variables=VARIABLES,
    )
    await dev.until("Ctrl-C to stop everything")
    return Stack(dev, home / "data")


@pytest.fixture
async def stack(home: Path) -> AsyncIterator[Stack]:
    stack = await start(home)
    yield stack
    await stack.dev.end()


def programs_of_jobs(data: Path) -> list[int]:
    return [
        pid
        for pid in find_processes(data)
        if Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x001000\x00"
    ]


async def test_jobs_find_no_secret_of_the_services_and_ctrl_c_leaves_nothing(
    stack: Stack,
) -> None:
    password = stack.data / "postgres" / "password"
    script = REPOSITORY / "tests" / "e2e" / "confined_jobs.py"
    request_id = await stack.create(
        "look",
        file=str(password),
        python=sys.executable,
        script=f"{script} {password}",
    )

    async def has_ended() -> bool:
        return bool((await stack.get(f"requests/{request_id}")).json()["state"] == 3)

    await until(has_ended)
    entries = (await stack.get(f"requests/{request_id}/log")).json()
    reports = [json.loads(entry["stdout"]) for entry in entries if entry["type"] != "noop"]

    assert len(reports) == 2
    for report in reports:
        names = {name for name in report["environment"] if not name.startswith("LC_")}
        assert names <= ALLOWED
        assert {"PATH", "HOME", "SPINCYCLE_DEV_HOME"} <= names
        assert (report["environment"]["PASSED_1"], report["environment"]["SET"]) == (
            "one",
            "by=hand",
        )
        assert report["secrets"] == []
        # The search works: it finds processes that are not services.
        assert report["marks"]

    await stack.create("wait")
    await until(lambda: len(programs_of_jobs(stack.data)) == 1)
    stack.dev.signal(signal.SIGINT)
    assert await stack.dev.ended() == 0
    assert find_processes(stack.data) == []


@pytest.mark.slow
async def test_a_killed_supervisor_of_an_ordinary_account_leaves_nothing(
    stack: Stack, home: Path
) -> None:
    await stack.create("wait")
    await until(lambda: len(programs_of_jobs(stack.data)) == 1)
    before = find_processes(stack.data)
    assert len(before) >= 6

    stack.dev.signal(signal.SIGKILL)
    assert await stack.dev.ended() == -signal.SIGKILL
    again = await start(home)

    try:
        assert not set(find_processes(stack.data)) & set(before)
    finally:
        again.dev.signal(signal.SIGTERM)
        assert await again.dev.ended() == 0
    assert find_processes(stack.data) == []
