"""The spec and the job of the tutorial, checked and run as a reader would."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from tests.e2e.conftest import REPOSITORY, Command, start_dev
from tests.waiting import until

from spincycle.model.state import State

_BLOCK = re.compile(r"^Create `([^`\n]+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def own(home: Path) -> Path:
    """A directory with the files of the tutorial, each under the name that it has there."""
    page = (REPOSITORY / "docs" / "start" / "tutorial.md").read_text()
    directory = home / "own"
    for name, content in _BLOCK.findall(page):
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return directory


async def test_they_are_clean(own: Path, home: Path) -> None:
    lint = await Command.start(
        "lint", "my-specs", "--jobs", "my_jobs:jobs", "--strict", home=home, cwd=own
    )

    assert await lint.ended() == 0, lint.output


async def test_they_run(own: Path, home: Path) -> None:
    dev = await start_dev(home, "--specs", "my-specs", "--jobs", "my_jobs:jobs", cwd=own)
    try:
        async with httpx.AsyncClient(base_url=f"http://{dev.address('REST')}/api/v1") as rest:
            create = {"Type": "greeting", "Args": {"names": "ann,bob"}}
            request_id = (await rest.post("/requests", json=create)).json()["id"]

            async def is_complete() -> bool:
                request = (await rest.get(f"/requests/{request_id}")).json()
                return bool(request["state"] == State.COMPLETE)

            await until(is_complete)
            log = (await rest.get(f"/requests/{request_id}/log")).json()
    finally:
        await dev.end()

    assert {"hello, ann", "hello, bob"} <= {entry["stdout"] for entry in log}
    # It tries out nothing that is not there.
    assert "start test" not in dev.output
