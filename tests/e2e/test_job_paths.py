"""A request fails on one of twelve hosts: spinc and the REST API say on which."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.e2e.conftest import REPOSITORY
from tests.integration.cli.conftest import SPINC, Tty
from tests.waiting import until

from spincycle.dev.services import FREE_PORTS, Content
from spincycle.dev.stack import Stack, StackConfig

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

HOSTS = [f"h{number:02}" for number in range(1, 13)]
FAILED = "upgrade h05 / verify"
SPECS = """
sequences:
  fleet:
    request: true
    args: {required: [{name: hosts, type: list}, {name: gate}]}
    nodes:
      upgrade:
        category: sequence
        type: host
        each: [hosts:host]
        args: [{expected: gate, given: gate}]
      report: {category: job, type: noop, deps: [upgrade]}
  host:
    args: {required: [{name: host}, {name: gate}]}
    nodes:
      check:
        category: job
        type: check-host
        args: [{expected: host, given: host}, {expected: gate, given: gate}]
      verify:
        category: job
        type: verify-host
        args: [{expected: host, given: host}, {expected: gate, given: gate}]
        deps: [check]
"""


@dataclass
class Seen:
    """What was seen of the request.

    Attributes:
        screens: what spinc left on a terminal of 80 columns, by command; those of `ps` and
            `explain` before the request failed.
        printed: what it printed into a pipe through the gateway, by command.
        answers: bodies of the REST API, by path below the request.
        failed_id: id of the job that failed.
    """

    screens: dict[str, str] = field(default_factory=dict)
    printed: dict[str, str] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    failed_id: str = ""


class Operator:
    """Runs spinc against the services."""

    def __init__(self, stack: Stack, home: Path) -> None:
        self.gateway = stack.gateway
        self.environment = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "PYTHONIOENCODING": "utf-8",
            "HOME": str(home),
            "TERM": "xterm",
            "NO_COLOR": "1",
            "SPINC_ADDR": stack.request_manager,
            "SPINC_JOB_LOG": stack.job_log,
        }

    def pipe(self, *args: str) -> str:
        """Return what a command prints into a pipe, on both streams."""
        done = subprocess.run(
            [SPINC, *args],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stdout

    def screen(self, *args: str) -> str:
        """Return what a command leaves on a terminal."""
        terminal = self.open(*args)
        terminal.end()
        return terminal.screen.text

    def open(self, *args: str) -> Tty:
        """Start a command at a terminal."""
        return Tty(list(args), self.environment, (60, 80))

    def rest(self, path: str) -> Any:
        """Return a body of the REST API."""
        with urllib.request.urlopen(f"{self.gateway}/api/v1{path}", timeout=60) as response:
            return json.load(response)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def seen(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Seen]:
    home = tmp_path_factory.mktemp("fleet")
    (home / "specs").mkdir()
    (home / "specs" / "fleet.yaml").write_text(SPECS)
    content = Content(home / "specs", ("tests.integration.fleet_jobs:jobs",), (REPOSITORY,))
    async with Stack(StackConfig(content, ports=FREE_PORTS, restarts=False), _show) as stack:
        operator = Operator(stack, home)
        gate = home / "gate"
        args = (f"hosts={','.join(HOSTS)}", f"gate={gate}")
        request_id = (
            await _run(lambda: operator.pipe("start", "fleet", *args, "-o", "name"))
        ).strip()
        yield await observe(operator, request_id, gate)


async def _run(call: Callable[[], Any]) -> Any:
    # Not on the loop, which reads the output of the services.
    return await asyncio.to_thread(call)


def _show(name: str, line: str) -> None:
    sys.stdout.write(f"{name}: {line}\n")


async def observe(operator: Operator, request_id: str, gate: Path) -> Seen:
    found = Seen()
    through_gateway = ("--rest", operator.gateway)

    async def all_run() -> bool:
        jobs = (await _run(lambda: operator.rest("/status/running")))["jobs"] or []
        return len(jobs) == len(HOSTS)

    def while_it_runs() -> None:
        found.screens["ps"] = operator.screen("ps")
        found.screens["explain"] = operator.screen("explain", request_id)
        found.screens["explain job"] = operator.screen("explain", request_id, "h05/verify")
        found.printed["explain job"] = operator.pipe(
            *through_gateway, "explain", request_id, "h05/verify"
        )
        found.answers["/explain"] = operator.rest(f"/requests/{request_id}/explain")
        found.answers["/status/running"] = operator.rest("/status/running")
        watch = operator.open("watch", request_id)
        follow = operator.open("log", "--follow", request_id, "h05 / check")
        follow.see("waits")
        watch.see("check")
        gate.touch()
        for name, terminal in (("watch", watch), ("follow", follow)):
            terminal.end()
            found.screens[name] = terminal.screen.text

    def after_its_end() -> None:
        found.screens["status"] = operator.screen("status", request_id)
        found.screens["failed"] = operator.screen("log", request_id, "--failed")
        found.printed["failed"] = operator.pipe(*through_gateway, "log", request_id, "--failed")
        for path in ("/log", "/job-chain"):
            found.answers[path] = operator.rest(f"/requests/{request_id}{path}")
        (found.failed_id,) = [
            job["id"]
            for job in found.answers["/job-chain"]["jobs"].values()
            if job["path"] == FAILED
        ]
        skip = ("skip", request_id, "--reason", "by hand")
        found.printed["skip name"] = operator.pipe(*skip, "verify")
        found.printed["skip typo"] = operator.pipe(*through_gateway, *skip, "h05/verfy")
        found.printed["skip path"] = operator.pipe(*through_gateway, *skip, "H05/verify")
        again = ("rerun", request_id, "--job", FAILED, "--job", "report")
        found.printed["rerun"] = operator.pipe(*again)

    await until(all_run)
    await _run(while_it_runs)
    await _run(after_its_end)
    return found


async def test_running_and_waiting_jobs_are_shown_with_their_host(seen: Seen) -> None:
    assert [line.split("1 ", 1)[1].rstrip() for line in seen.screens["ps"].splitlines()[1:]] == [
        f"upgrade {host} / check" for host in HOSTS
    ]
    waits = f"{FAILED} {seen.failed_id} waits for upgrade h05 / check ("
    assert waits in seen.screens["explain"]
    assert seen.screens["explain job"].splitlines()[3].startswith(FAILED)
    assert seen.printed["explain job"].splitlines()[3].startswith(FAILED)


async def test_the_log_and_the_reason_name_the_host_that_failed(seen: Seen) -> None:
    reason = f"  reason: job {FAILED} ({seen.failed_id}) failed: version differs"
    assert reason in seen.screens["status"].splitlines()
    for output in (seen.screens["failed"], seen.printed["failed"]):
        assert output.startswith(f"job path: {FAILED}\njob id:   {seen.failed_id}\n")
        assert output.count("job path:") == 1


async def test_followed_output_and_the_live_tree_name_the_host(seen: Seen) -> None:
    first, *rest = seen.screens["follow"].splitlines()
    assert first.startswith("upgrade h05 / check ")
    assert first.endswith("/1 | upgrade h05 / check waits")
    assert [line for line in rest if "path" in line] == ["job path: upgrade h05 / check"]
    tree = [line.rstrip() for line in seen.screens["watch"].splitlines()]
    place = next(at for at, line in enumerate(tree) if "✘ upgrade h05" in line)
    assert "✘ verify" in tree[place + 2]
    assert "version differs" in tree[place + 2]


async def test_a_name_of_all_hosts_is_refused_with_the_candidates(seen: Seen) -> None:
    lines = seen.printed["skip name"].splitlines()

    assert lines[0].startswith("error: 12 jobs of request ")
    assert f"       {seen.failed_id}  {FAILED}  FAIL" in lines
    assert lines[-2:] == ["       and 2 more", "       give the id or the path of one"]


async def test_a_path_selects_a_job_and_a_typo_suggests_one(seen: Seen) -> None:
    assert f'       did you mean "{FAILED}"?' in seen.printed["skip typo"].splitlines()
    assert f"  skipped: {FAILED} ({seen.failed_id})" in seen.printed["skip path"].splitlines()
    assert f"  runs again: {FAILED} ({seen.failed_id})" in seen.printed["rerun"].splitlines()


async def test_the_rest_api_has_the_paths(seen: Seen) -> None:
    chain = {job["id"]: job["path"] for job in seen.answers["/job-chain"]["jobs"].values()}
    entries = {entry["jobId"]: entry["path"] for entry in seen.answers["/log"]}
    waiting = {job["jobId"]: job["path"] for job in seen.answers["/explain"]["jobs"]}
    running = {job["jobId"]: job["path"] for job in seen.answers["/status/running"]["jobs"]}

    assert entries[seen.failed_id] == waiting[seen.failed_id] == FAILED
    assert sorted(running.values()) == [f"upgrade {host} / check" for host in HOSTS]
    for paths in (entries, waiting, running):
        assert paths.items() <= chain.items()
