"""Runs every command of the README and of the page on the first request, on other ports."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.e2e.conftest import REPOSITORY

from spincycle.dev.content import find_content
from spincycle.dev.services import FREE_PORTS, Ports
from spincycle.dev.stack import Stack, StackConfig

on_the_stack = pytest.mark.asyncio(loop_scope="module")

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


_PAGES = [REPOSITORY / "README.md", REPOSITORY / "docs" / "start" / "first-request.md"]


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    return [code for name, code in _BLOCK.findall(page.read_text()) if name == language]


LINES = [line for page in _PAGES for block in blocks(page, "sh") for line in block.splitlines()]
PYTHON = [code for page in _PAGES for code in blocks(page, "python")]


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


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.name)
def test_each_page_calls_it_in_every_way(page: Path) -> None:
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    for program in ("spinc", "curl", "grpcurl", "buf"):
        assert any(re.search(rf"(^|/){program} ", f"{line} ") for line in lines)


def test_a_page_has_python() -> None:
    assert PYTHON


@on_the_stack
@pytest.mark.parametrize("line", LINES)
async def test_each_line_works_unchanged(stack: Stack, line: str) -> None:
    code, output = await run(stack, "bash", "-c", with_ports(line, stack))

    assert code == 0, output
    assert output.strip()
    # curl is content with whatever a server answers.
    assert '"httpStatus"' not in output


@on_the_stack
@pytest.mark.parametrize("code", PYTHON)
async def test_the_python_works_unchanged(stack: Stack, code: str) -> None:
    exit_code, output = await run(stack, sys.executable, "-c", with_ports(code, stack))

    assert exit_code == 0, output
    assert re.search(r"^\w{20} STATE_COMPLETE$", output, re.MULTILINE)
    assert "wait STATE_COMPLETE" in output
