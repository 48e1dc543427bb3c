from __future__ import annotations

import asyncio
import inspect
import json
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import uvloop
from examples.jobs.hosts import running_pid, stop_server

from spincycle.errors import ChainNotBuilt, InvalidArgs
from spincycle.graph import Expander, Expansion
from spincycle.job import JobId, Return, State, Value, load_jobs
from spincycle.spec import load_specs

EXAMPLES = Path(__file__).parents[3] / "examples"
REQUEST_ID = "bsd4h2ab5ku0lml7v3b0"


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Directory of the request's hosts, which are stopped after the test."""
    monkeypatch.setenv("SPINCYCLE_DEV_HOME", str(tmp_path))
    directory = tmp_path / f"fleet-{REQUEST_ID}"
    yield directory
    for host in directory.glob("*/pid"):
        stop_server(host.parent)


async def expand(request: str, **args: Value) -> Expansion:
    jobs = load_jobs(["examples.jobs:jobs"])
    loaded = load_specs(EXAMPLES / "specs", jobs.types())
    assert loaded.findings == []
    assert loaded.specs is not None
    expander = Expander(jobs)
    try:
        return await expander.expand(loaded.specs, request, args, REQUEST_ID)
    finally:
        expander.close()


class SequentialRun:
    """Runs the jobs of a chain one after another, with their retries."""

    def __init__(self, expansion: Expansion) -> None:
        self.chain = expansion.chain
        self.tries: dict[str, list[Return]] = {}
        self._jobs = load_jobs(["examples.jobs:jobs"])
        self._remaining = iter(self.chain.jobs.items())

    def path(self, job_id: str) -> str:
        """Return the job's name and host."""
        job = self.chain.jobs[job_id]
        host = (job.args or {}).get("host", "")
        return f"{job.name} {host}".strip()

    async def until(self, last: str = "") -> None:
        """Run the jobs up to the one with that path, or all of them."""
        for job_id, job in self._remaining:
            if job.structural:
                continue
            runner = self._jobs.make(JobId(job.type, job.name, job_id, REQUEST_ID))
            runner.deserialize(job.bytes)
            tries = self.tries.setdefault(self.path(job_id), [])
            for _ in range(job.retry + 1):
                if inspect.iscoroutinefunction(runner.run):
                    tries.append(await runner.run({}))
                else:
                    returned = await asyncio.to_thread(runner.run, {})
                    assert isinstance(returned, Return)
                    tries.append(returned)
                if tries[-1].state == State.COMPLETE:
                    break
            assert tries[-1].state == State.COMPLETE, tries[-1]
            if self.path(job_id) == last:
                return


def names(expansion: Expansion) -> list[str]:
    return [job.name for job in expansion.chain.jobs.values() if not job.structural]


async def test_the_test_request_is_two_waits_side_by_side() -> None:
    expansion = await expand("test")

    assert names(expansion) == ["begin", "wait", "wait"]
    waits = [job.bytes for job in expansion.chain.jobs.values() if job.type == "sleep"]
    assert waits == [b'{"duration":1000000000}'] * 2


async def test_a_rolling_restart_restarts_two_hosts_at_a_time() -> None:
    expansion = await expand("rolling-restart")

    assert [limit.limit for limit in expansion.chain.parallel_limits] == [2]
    assert len(expansion.chain.parallel_limits[0].elements) == 4


async def test_a_rolling_restart_ends_with_no_process_and_no_directory(fleet: Path) -> None:
    run = SequentialRun(await expand("rolling-restart", hosts="web1,web2", settle="0"))

    await run.until("enable web2")
    pids = [running_pid(fleet / host) for host in ("web1", "web2")]
    assert None not in pids
    processes = [Path(f"/proc/{pid}/cwd") for pid in pids]
    await run.until()

    assert [path for path in [fleet, *processes] if path.exists()] == []


async def test_a_restarted_host_is_another_process_with_the_new_release(fleet: Path) -> None:
    run = SequentialRun(await expand("rolling-restart", hosts="web1", release="3.1", settle="0"))
    await run.until("start web1")
    before = running_pid(fleet / "web1")

    await run.until("wait-healthy web1")

    assert before is not None
    assert running_pid(fleet / "web1") not in (None, before)
    response = await asyncio.to_thread(get_health, fleet / "web1")
    assert response == {"host": "web1", "release": "3.1", "status": "healthy"}


def get_health(host: Path) -> Mapping[str, str]:
    url = f"http://{(host / 'address').read_text()}/health"
    with urllib.request.urlopen(url, timeout=5) as response:
        health: Mapping[str, str] = json.load(response)
    return health


async def test_the_first_probe_of_a_restarted_host_fails_and_the_second_succeeds(
    fleet: Path,
) -> None:
    run = SequentialRun(await expand("rolling-restart", hosts="web1", settle="0"))

    await run.until("wait-healthy web1")

    first, second = run.tries["wait-healthy web1"]
    assert (first.state, first.exit, first.error) == (State.FAIL, 503, "returned 503")
    assert second.state == State.COMPLETE


async def test_a_host_that_is_drained_is_out_of_the_pool_until_it_is_healthy(fleet: Path) -> None:
    run = SequentialRun(await expand("rolling-restart", hosts="web1,web2", settle="0"))

    await run.until("drain web1")

    assert [entry.name for entry in (fleet / "pool").iterdir()] == ["web2"]


async def test_starting_a_running_host_does_not_start_a_second_one(fleet: Path) -> None:
    expansion = await expand("rolling-restart", hosts="web1", settle="0")
    await SequentialRun(expansion).until("start web1")
    pid = running_pid(fleet / "web1")

    second = SequentialRun(expansion)
    await second.until("start web1")

    assert running_pid(fleet / "web1") == pid
    assert second.tries["start web1"][-1].stdout == "already running"


def test_a_host_is_started_from_uvloop_too(fleet: Path) -> None:
    async def start() -> None:
        run = SequentialRun(await expand("rolling-restart", hosts="web1", settle="0"))
        await run.until("start web1")

    uvloop.run(start())

    assert running_pid(fleet / "web1") is not None


@pytest.mark.parametrize(
    ("notice", "node"), [("yes", "write"), ("no", "nothing"), ("maybe", "nothing")]
)
async def test_the_notice_is_written_only_on_request(notice: str, node: str) -> None:
    expansion = await expand("rolling-restart", hosts="web1", notice=notice)

    assert names(expansion)[-3] == node


@pytest.mark.parametrize(
    ("args", "error"),
    [
        ({"hosts": "web1,../../etc"}, "is not a valid host name"),
        ({"hosts": "web1,web1"}, "contains a host twice"),
        ({"hosts": ""}, "is not a valid host name"),
        ({"settle": "soon"}, "is not a number of milliseconds"),
    ],
)
async def test_invalid_arguments_are_rejected_when_the_request_is_created(
    args: dict[str, Value], error: str
) -> None:
    with pytest.raises((ChainNotBuilt, InvalidArgs), match=error):
        await expand("rolling-restart", **args)
