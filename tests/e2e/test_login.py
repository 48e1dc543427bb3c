"""A person logs in by spinc at an issuer, and works on a stack that accepts its tokens."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pexpect
import pytest
import pytest_asyncio
from tests.e2e.conftest import SCRIPTS, Command, empty_home, start_dev
from tests.issuer.process import RunningIssuer, running_issuer

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIFETIME = 4
"""Seconds for which a token of the issuer is valid."""


@pytest.fixture(scope="module")
def issuer() -> Iterator[RunningIssuer]:
    with running_issuer("--interval", "0.1", "--lifetime", str(LIFETIME)) as issuer:
        yield issuer


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with empty_home() as path:
        yield path


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def dev(home: Path, issuer: RunningIssuer) -> AsyncIterator[Command]:
    """`spincycle dev` that accepts tokens of the issuer."""
    settings = {"ISSUER": issuer.url, "AUDIENCE": "[spincycle]", "LEEWAY": "0"}
    command = await start_dev(
        home,
        variables={
            f"SPINCYCLE_{service}_AUTH__OIDC__{key}": value
            for service in ("RM", "JL", "GATEWAY")
            for key, value in settings.items()
        },
    )
    yield command
    await command.end()


@pytest.fixture(scope="module", params=["grpc", "rest"])
def environment(
    dev: Command, home: Path, issuer: RunningIssuer, request: pytest.FixtureRequest
) -> dict[str, str]:
    """The environment of somebody who has logged in as dana."""
    found = {**os.environ, "HOME": str(home), "TERM": "dumb", "NO_COLOR": "1"}
    if request.param == "grpc":
        found["SPINC_ADDR"] = dev.address("request-manager")
        found["SPINC_JOB_LOG"] = dev.address("job-log")
    else:
        found["SPINC_REST"] = f"http://{dev.address('REST')}"
    options = ["login", "--issuer", issuer.url, "--client-id", "spinc"]
    terminal = pexpect.spawn(
        str(SCRIPTS / "spinc"),
        options,
        env=found,
        encoding="utf-8",
        timeout=30,
    )
    terminal.expect(r"confirm the code: +(\S+)\r\n")
    match = terminal.match
    assert isinstance(match, re.Match)
    issuer.approve(match[1], "dana", ["ops"])
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0, terminal.before
    return found


def spinc(environment: dict[str, str], *words: str) -> str:
    done = subprocess.run(
        [SCRIPTS / "spinc", *words],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def test_who_has_logged_in_is_known_by_name_and_roles(environment: dict[str, str]) -> None:
    caller = json.loads(spinc(environment, "whoami", "-o", "json"))

    assert (caller["name"], caller["roles"]) == ("dana", ["ops"])
    assert caller["authenticator"] == "oidc"
    assert "expiresAt" in caller


@pytest.mark.slow
async def test_a_watch_outlives_its_token(environment: dict[str, str]) -> None:
    sleep = str((LIFETIME + 2) * 1000)

    out = spinc(environment, "start", "test", f"sleepTime={sleep}", "--yes", "--follow")

    found = re.search(r"\b[0-9a-v]{20}\b", out)
    assert found, out
    request_id = found[0]
    assert "COMPLETE" in out.splitlines()[-1]
    assert json.loads(spinc(environment, "status", request_id, "-o", "json"))["user"] == "dana"
    assert len(spinc(environment, "log", request_id, "-o", "name").split()) == 9
