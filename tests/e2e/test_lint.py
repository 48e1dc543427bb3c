from __future__ import annotations

from pathlib import Path

from tests.e2e.conftest import Command


async def test_the_example_specs_are_clean_and_their_jobs_are_known(home: Path) -> None:
    lint = await Command.start(
        "lint", "examples/specs", "--jobs", "examples.jobs:jobs", "--strict", home=home
    )

    assert await lint.ended() == 0, lint.output


async def test_without_its_jobs_an_example_spec_is_refused(home: Path) -> None:
    lint = await Command.start(
        "lint", "examples/specs", "--jobs", "spincycle.job.builtin:jobs", home=home
    )

    assert await lint.ended() == 1
    assert "drain-host" in lint.output
