"""Lints spec files of callers in worker processes, so that no input blocks the event loop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from spincycle.errors import InvalidInput, LintBusy, LintTooExpensive
from spincycle.spec.lint_worker import OUT_OF_MEMORY, LintJob, LintReport

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from spincycle.spec import Finding, Source

_WORKER = (sys.executable, "-P", "-m", "spincycle.spec.lint_worker")
_ENVIRONMENT = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH")
"""Environment variables that are passed to a worker; others may hold secrets."""

_TOO_EXPENSIVE = frozenset({OUT_OF_MEMORY, -signal.SIGXCPU, -signal.SIGKILL})


@dataclass(frozen=True, slots=True)
class LintLimits:
    """Limits of linting files of callers.

    Attributes:
        files: most files in one call.
        path_bytes: longest path of a file.
        content_bytes: most bytes of all files in one call.
        seconds: longest time for one call, also of CPU time.
        memory: bytes of address space of one worker.
        workers: most workers at the same time.
        waiting: most calls that wait for a worker.
    """

    files: int = 1000
    path_bytes: int = 256
    content_bytes: int = 4 * 1024 * 1024
    seconds: int = 10
    memory: int = 384 * 1024 * 1024
    workers: int = 1
    waiting: int = 16


class LintWorkers:
    """Runs one process per call, a bounded number at a time, and kills it after the time limit."""

    def __init__(self, limits: LintLimits = LintLimits(), command: Sequence[str] = _WORKER) -> None:
        self._limits = limits
        self._command = command
        self._slots = asyncio.Semaphore(limits.workers)
        self._calls = 0

    async def check(
        self,
        files: Sequence[Source],
        job_types: Iterable[str],
        roles: Iterable[str] | None = None,
    ) -> list[Finding]:
        """Return the findings about the files, as many as fit into a response.

        `roles` are those that callers can have; None if that is not known.

        Raises:
            InvalidInput: there are too many files or bytes, or a path is too long.
            LintBusy: too many calls wait.
            LintTooExpensive: linting took too much time or memory.
        """
        limits = self._limits
        _check_size(files, limits)
        job = LintJob(
            [(source.file, source.text) for source in files],
            sorted(job_types),
            limits.seconds,
            limits.memory,
            None if roles is None else sorted(roles),
        )
        if self._calls >= limits.workers + limits.waiting:
            raise LintBusy(limits.waiting)
        self._calls += 1
        try:
            async with self._slots:
                return await self._run(job)
        finally:
            self._calls -= 1

    async def _run(self, job: LintJob) -> list[Finding]:
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )
        try:
            async with asyncio.timeout(job.seconds):
                output, errors = await process.communicate(msgspec.json.encode(job))
        except TimeoutError:
            raise LintTooExpensive(job.seconds, job.memory >> 20) from None
        finally:
            await _end(process)
        if process.returncode in _TOO_EXPENSIVE:
            raise LintTooExpensive(job.seconds, job.memory >> 20)
        if process.returncode:
            reason = errors.decode(errors="replace")[-2000:]
            raise RuntimeError(f"lint worker exited with {process.returncode}: {reason}")
        return msgspec.json.decode(output, type=LintReport).findings


def _check_size(files: Sequence[Source], limits: LintLimits) -> None:
    if len(files) > limits.files:
        raise InvalidInput(
            f"there are {len(files)} files; send at most {limits.files} per call", "files"
        )
    for index, source in enumerate(files):
        size = len(source.file.encode())
        if size > limits.path_bytes:
            raise InvalidInput(
                f"the path has {size} bytes; at most {limits.path_bytes} are allowed",
                f"files[{index}].path",
            )
    size = sum(len(source.text.encode()) for source in files)
    if size > limits.content_bytes:
        raise InvalidInput(
            f"the files have {size} bytes; send at most {limits.content_bytes} per call", "files"
        )


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
