from __future__ import annotations

import asyncio
import json
import os
import pwd
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import SCRIPTS, Command, start_dev

OWN = pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
async def shared(home: Path) -> AsyncIterator[Command]:
    """`spincycle dev`, used by alice and bob too."""
    command = await start_dev(home, "--as", "alice:ops", "--as", "bob")
    yield command
    await command.end()


async def spinc(dev: Command, home: Path, *words: str) -> str:
    process = await asyncio.create_subprocess_exec(
        SCRIPTS / "spinc",
        *words,
        env={
            **os.environ,
            "HOME": str(home),
            "SPINC_CONFIG": str(home / "data" / "people" / "spinc.yaml"),
            **(
                {}
                if "--context" in words
                else {
                    "SPINC_ADDR": dev.address("request-manager"),
                    "SPINC_JOB_LOG": dev.address("job-log"),
                }
            ),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return out.decode()


async def test_two_people_and_the_own_account_use_one_machine(shared: Command, home: Path) -> None:
    assert f"spinc --config {home}/data/people/spinc.yaml --context alice whoami" in shared.output

    for options in (["--context", "alice"], ["--context", "bob"], []):
        await spinc(shared, home, *options, "start", "test", "sleepTime=0", "--yes", "--wait")

    found: list[dict[str, Any]] = json.loads(await spinc(shared, home, "find", "-o", "json"))
    assert [one["user"] for one in found] == [OWN, "bob", "alice"]
    table = (await spinc(shared, home, "find")).splitlines()
    users = table[0].index("USER")
    assert [line[users:].split()[0] for line in table[1:]] == [OWN, "bob", "alice"]


async def test_a_person_that_is_not_valid_is_refused_in_one_line(home: Path) -> None:
    command = await Command.start("dev", "--as", ":ops", home=home)

    assert await command.ended() == 2
    assert command.output.splitlines()[-1] == (
        "Error: Invalid value for --as: the name is empty, or begins or ends with a space"
    )
