"""Every spec of docs/how-to/specs.md lints clean, and every job of it works."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from spincycle.job import Job, JobId, JobTypes, State
from spincycle.job.try_output import STDOUT
from spincycle.spec import load_specs

_PAGE = (Path(__file__).parents[3] / "docs" / "how-to" / "specs.md").read_text("utf-8")


def blocks(language: str) -> dict[str, str]:
    """The code blocks in one language, by the heading that they are under."""
    found: dict[str, str] = {}
    for chapter in _PAGE.split("\n## ")[1:]:
        title = chapter.partition("\n")[0]
        for code in re.findall(rf"^```{language}\n(.*?)^```$", chapter, re.MULTILINE | re.DOTALL):
            found[title] = code
    return found


def executed(title: str) -> dict[str, Any]:
    """The names that the Python block under a heading defines."""
    names: dict[str, Any] = {"__name__": "docs"}
    exec(compile(blocks("python")[title], title, "exec"), names)  # our own page
    return names


def job(names: dict[str, Any], type_: str) -> Job:
    """A new job of a type that a block registers."""
    types: JobTypes = names["jobs"]
    return types.make(JobId(type_, type_, "aaaa", "request"))


@pytest.mark.parametrize(("title", "text"), blocks("yaml").items(), ids=list(blocks("yaml")))
def test_each_spec_is_clean(title: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(text)

    loaded = load_specs(tmp_path)

    assert [finding.message for finding in loaded.findings] == []


async def test_data_is_passed() -> None:
    names = executed("Pass a value to later nodes")
    data: dict[str, Any] = {}

    await job(names, "take-snapshot").run(data)  # type: ignore[misc] # async
    returned = await job(names, "restore-snapshot").run(data)  # type: ignore[misc] # async

    assert returned.stdout == "restored snap-17"


async def test_work_of_an_earlier_try_is_found() -> None:
    names = executed("Make a job safe to run twice")
    first, second = job(names, "create-machine"), job(names, "create-machine")

    await first.run({})  # type: ignore[misc] # async
    await second.run({})  # type: ignore[misc] # async

    assert len(names["machines"]) == 1


async def test_a_stopped_job_returns_stopped() -> None:
    running = job(executed("Stop and report progress"), "copy-data")
    task = asyncio.ensure_future(running.run({}))  # type: ignore[arg-type] # async
    await asyncio.sleep(0)

    running.stop()

    assert (await task).state is State.STOPPED
    assert running.progress.text.startswith("copying part")


async def test_the_output_of_a_program_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    running = job(executed("Print output, and that of programs"), "check-disk")

    returned = await running.run({})  # type: ignore[misc] # async

    assert returned.state is State.COMPLETE
    assert running.output is not None
    assert running.output.text(STDOUT) == "disk is fine\n"
    assert capsys.readouterr().out == "checking the disk\n"


def test_the_test_of_a_job_passes() -> None:
    executed("Test a job")["test_it_greets"]()
