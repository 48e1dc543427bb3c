"""Spec files of callers are linted in processes with limits."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest
from tests.waiting import until

from spincycle.errors import InvalidInput, LintBusy, LintTooExpensive
from spincycle.request_manager.requests.lint_workers import LintLimits, LintWorkers
from spincycle.spec import Severity, Source
from spincycle.spec.finding import MOST_FINDINGS

_HANGING = "import os, signal, sys; open(sys.argv[1], 'w').write(str(os.getpid())); signal.pause()"
GOOD = "sequences:\n  s:\n    nodes:\n      n: {category: job, type: noop}\n"


def hanging(pid_file: Path) -> tuple[str, ...]:
    """Return the command of a worker that never ends."""
    return (sys.executable, "-c", _HANGING, str(pid_file))


def pid_in(pid_file: Path) -> int:
    """Return the process id of a started worker; 0 before."""
    return int(pid_file.read_text() or 0) if pid_file.exists() else 0


def lives(pid: int) -> bool:
    """Return whether a process exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_findings_are_those_of_the_linter() -> None:
    text = GOOD.replace("noop", "nope")

    found = await LintWorkers().check([Source("a.yaml", text)], ["noop"])

    assert [(f.code, f.place, f.severity) for f in found] == [
        ("unknown-job-type", "a.yaml:4:32", Severity.ERROR)
    ]
    assert await LintWorkers().check([Source("a.yaml", GOOD)], ["noop"]) == []


async def test_a_worker_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    workers = LintWorkers(LintLimits(seconds=2), hanging(pid_file))

    with pytest.raises(LintTooExpensive, match="more than 2 s or 384 MiB"):
        await workers.check([Source("a.yaml", GOOD)], [])

    assert not lives(pid_in(pid_file))


async def test_a_call_that_is_cancelled_kills_its_worker(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    call = asyncio.create_task(
        LintWorkers(command=hanging(pid_file)).check([Source("a.yaml", GOOD)], [])
    )
    await until(lambda: pid_in(pid_file))

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert not lives(pid_in(pid_file))


async def test_files_that_need_more_cpu_time_or_memory_than_allowed_are_refused() -> None:
    many = Source("a.yaml", "sequences:\n  a:\n" + "    x: y\n" * 300_000)

    with pytest.raises(LintTooExpensive):
        await LintWorkers(LintLimits(memory=200 << 20)).check([many], [])
    with pytest.raises(LintTooExpensive):
        await LintWorkers(LintLimits(seconds=1, memory=4 << 30)).check([many], [])


async def test_calls_beyond_those_that_may_wait_are_refused(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    workers = LintWorkers(LintLimits(workers=1, waiting=1), hanging(pid_file))
    calls = [asyncio.create_task(workers.check([Source("a.yaml", GOOD)], [])) for _ in range(2)]
    await until(lambda: pid_in(pid_file))

    with pytest.raises(LintBusy, match="1 lint calls are already waiting"):
        await workers.check([Source("a.yaml", GOOD)], [])

    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    assert not workers._calls


@pytest.mark.parametrize(
    ("files", "problem", "field"),
    [
        ([Source(f"{n}.yaml", "") for n in range(1001)], "at most 1000 per call", "files"),
        ([Source("ok", ""), Source("é" * 200, "")], "400 bytes; at most 256", "files[1].path"),
        ([Source("a", "é" * 3_000_000)], "6000000 bytes; send at most 4194304", "files"),
    ],
)
async def test_files_beyond_the_bounds_are_refused(
    files: list[Source], problem: str, field: str
) -> None:
    with pytest.raises(InvalidInput, match=problem) as error:
        await LintWorkers(command=("/not/started",)).check(files, [])
    assert error.value.field == field


async def test_a_worker_that_breaks_is_an_internal_error() -> None:
    workers = LintWorkers(command=(sys.executable, "-c", "raise SystemExit('broken')"))
    with pytest.raises(RuntimeError, match="exited with 1: broken"):
        await workers.check([Source("a.yaml", GOOD)], [])


async def test_of_very_many_findings_the_errors_are_returned_and_the_rest_is_counted() -> None:
    warnings = "".join(f"      n{n}: {{category: job, type: noop, x: 1}}\n" for n in range(3000))
    text = f"sequences:\n  s:\n    nodes:\n{warnings}      last: {{category: nothing}}\n"

    found = await LintWorkers().check([Source("a.yaml", text)], ["noop"])

    assert len(found) == MOST_FINDINGS + 1
    errors = [f for f in found if f.severity == Severity.ERROR]
    assert "category-unknown" in [f.code for f in errors]
    assert found[-1].code == "too-many-findings"
    assert found[-1].message == f"{len(errors) + 3000 - MOST_FINDINGS} more findings are not listed"
    assert found[-1].severity == Severity.WARNING


async def test_long_texts_in_findings_are_shortened() -> None:
    text = f"sequences:\n  s:\n    nodes:\n      n: {{category: {'c' * 1_000_000}}}\n"

    found = await LintWorkers().check([Source("a.yaml", text)], ["noop"])

    assert found
    assert all(len(value) < 1100 for f in found for value in (f.message, *f.values))


@pytest.mark.timed
@pytest.mark.parametrize(
    "text",
    [
        "sequences:\n  s:\n    nodes:\n      n: {category: job, retry: " + "1" * 1_000_000 + "x}",
        "[" * 3_000_000,
        "sequences:\n" + "- a\n" * 900_000,
        "a0: &a0 [x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)),
    ],
    ids=["number", "deep", "long", "aliases"],
)
async def test_hostile_files_take_no_time_of_the_event_loop(text: str) -> None:
    begun = time.thread_time()

    assert await LintWorkers(LintLimits(seconds=60)).check([Source("a.yaml", text)], ["noop"])

    assert time.thread_time() - begun < 0.25
