from __future__ import annotations

import asyncio
import json
import os
import pwd
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.e2e.conftest import SCRIPTS, Command, empty_home, start_dev

OWN = pwd.getpwuid(os.geteuid()).pw_name


on_the_stack = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with empty_home() as path:
        yield path


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared(home: Path) -> AsyncIterator[Command]:
    """`spincycle dev`, used by alice and bob too."""
    command = await start_dev(home, "--as", "alice:ops", "--as", "bob")
    yield command
    await command.end()


async def run(dev: Command, home: Path, *words: str) -> tuple[int | None, str]:
    """Run spinc with the contexts of the people; without a context as the own account."""
    own = {"SPINC_ADDR": dev.address("request-manager"), "SPINC_JOB_LOG": dev.address("job-log")}
    process = await asyncio.create_subprocess_exec(
        SCRIPTS / "spinc",
        *words,
        env={
            **os.environ,
            "HOME": str(home),
            "SPINC_CONFIG": str(home / "data" / "people" / "spinc.yaml"),
            **({} if "--context" in words else own),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return process.returncode, out.decode()


async def spinc(dev: Command, home: Path, *words: str) -> str:
    code, out = await run(dev, home, *words)
    assert code == 0, out
    return out


@on_the_stack
async def test_two_people_and_the_own_account_use_one_machine(shared: Command, home: Path) -> None:
    assert f"spinc --config {home}/data/people/spinc.yaml --context alice whoami" in shared.output

    for options in (["--context", "alice"], ["--context", "bob"], []):
        await spinc(shared, home, *options, "start", "test", "sleepTime=0", "--yes", "--wait")

    found: list[dict[str, Any]] = json.loads(await spinc(shared, home, "find", "-o", "json"))
    assert [one["user"] for one in found] == [OWN, "bob", "alice"]
    table = (await spinc(shared, home, "find")).splitlines()
    users = table[0].index("USER")
    assert [line[users:].split()[0] for line in table[1:]] == [OWN, "bob", "alice"]


@on_the_stack
@pytest.mark.parametrize("over", ["grpc", "rest"])
async def test_each_person_sees_who_it_is_and_what_it_may_do(
    shared: Command, home: Path, over: str
) -> None:
    token = (home / "data" / "people" / "bob.token").read_text().strip()
    rest = f"http://{shared.address('REST')}"

    async def as_bob(*words: str) -> tuple[int | None, str]:
        if over == "grpc":
            return await run(shared, home, "--context", "bob", *words)
        command = ("env", f"SPINC_TOKEN={token}", str(SCRIPTS / "spinc"), "--rest", rest, *words)
        return await output_of(*command)

    code, shown = await as_bob("whoami", "-o", "json")
    assert code == 0, shown
    caller = json.loads(shown)
    assert (caller["name"], caller["authenticator"]) == ("bob", "token-file")

    own = json.loads(await spinc(shared, home, "whoami", "-o", "json"))
    assert (own["name"], own["authenticator"], own["admin"]) == (OWN, "local-user", True)

    code, decision = await as_bob("can", "admin")
    assert (code, "no-operation" in decision) == (1, True)
    code, decision = await as_bob("can", "start", "test")
    assert (code, "no-acl" in decision) == (0, True)
    code, decision = await as_bob("can", "dance", "test")
    assert code == 2, decision


async def output_of(*command: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await process.communicate()
    return process.returncode, out.decode()


async def test_a_person_that_is_not_valid_is_refused_in_one_line(home: Path) -> None:
    command = await Command.start("dev", "--as", ":ops", home=home)

    assert await command.ended() == 2
    assert command.output.splitlines()[-1] == (
        "Error: Invalid value for --as: the name is empty, or begins or ends with a space"
    )
