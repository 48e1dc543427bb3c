"""Every line of the README that can be called is called, on a stack with other ports."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.e2e.conftest import REPOSITORY

from spincycle.dev.content import find_content
from spincycle.dev.services import FREE_PORTS, Ports
from spincycle.dev.stack import Stack, StackConfig

on_the_stack = pytest.mark.asyncio(loop_scope="module")

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    """The code of the chapter that says how to call it."""
    chapter = (REPOSITORY / "README.md").read_text().partition("\n## Call it\n")[2]
    chapter = chapter.partition("\n## ")[0]
    return [code for name, code in _BLOCK.findall(chapter) if name == language]


LINES = [line for block in blocks("sh") for line in block.splitlines()]


def shown(name: str, line: str) -> None:
    sys.stdout.write(f"{name}: {line}\n")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stack() -> AsyncIterator[Stack]:
    config = StackConfig(find_content(None, ()), ports=FREE_PORTS, restarts=False)
    async with Stack(config, shown) as stack:
        yield stack


def with_ports(text: str, stack: Stack) -> str:
    """The same for the ports of this stack."""
    for name in ("gateway", "request_manager", "job_log"):
        text = text.replace(f":{getattr(Ports(), name)}", f":{getattr(stack.ports, name)}")
    return text


async def run(stack: Stack, *command: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=REPOSITORY,
        env={
            **os.environ,
            "SPINC_ADDR": stack.request_manager,
            "SPINC_JOB_LOG": stack.job_log,
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    return process.returncode, output.decode()


def test_the_readme_calls_it_in_every_way() -> None:
    for program in ("spinc", "curl", "grpcurl", "buf"):
        assert any(re.search(rf"(^|/){program} ", f"{line} ") for line in LINES)


@on_the_stack
@pytest.mark.parametrize("line", LINES)
async def test_a_line_of_the_readme_works_as_it_stands(stack: Stack, line: str) -> None:
    code, output = await run(stack, "bash", "-c", with_ports(line, stack))

    assert code == 0, output
    assert output.strip()
    # curl is content with whatever a server answers.
    assert '"httpStatus"' not in output


@on_the_stack
@pytest.mark.parametrize("code", blocks("python"))
async def test_the_python_of_the_readme_works_as_it_stands(stack: Stack, code: str) -> None:
    exit_code, output = await run(stack, sys.executable, "-c", with_ports(code, stack))

    assert exit_code == 0, output
    assert re.search(r"^\w{20} STATE_COMPLETE$", output, re.MULTILINE)
    assert "wait STATE_COMPLETE" in output
