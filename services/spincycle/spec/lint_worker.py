"""Checks a caller's spec files in a separate process with CPU and memory limits."""

from __future__ import annotations

import os
import resource
import sys

import msgspec

from spincycle.spec.call_checks import JobTypeRule
from spincycle.spec.finding import Finding, bounded
from spincycle.spec.loading import check_sources
from spincycle.spec.source import Source

OUT_OF_MEMORY = 3
"""Exit code if the memory limit is exceeded."""

_NICENESS = 10


class LintJob(msgspec.Struct, frozen=True):
    """Input of a worker, read from its standard input as JSON.

    Attributes:
        files: path and content of each file.
        job_types: registered job types.
        seconds: CPU time that the worker may use.
        memory: bytes of address space that the worker may use.
        roles: roles that callers can have; None if that is not known.
    """

    files: list[tuple[str, str]]
    job_types: list[str]
    seconds: int
    memory: int
    roles: list[str] | None = None


class LintReport(msgspec.Struct, frozen=True):
    """Output of a worker, written to its standard output as JSON."""

    findings: list[Finding]


def check(job: LintJob) -> LintReport:
    """Return the findings about the files, as many as fit into a response."""
    sources = [Source(path, content) for path, content in job.files]
    roles = None if job.roles is None else frozenset(job.roles)
    result = check_sources(sources, JobTypeRule(frozenset(job.job_types)), roles=roles)
    return LintReport(bounded(result.findings))


def main() -> None:
    """Check one set of files and exit."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=LintJob)
    os.nice(_NICENESS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (job.seconds, job.seconds))
    resource.setrlimit(resource.RLIMIT_AS, (job.memory, job.memory))
    try:
        sys.stdout.buffer.write(msgspec.json.encode(check(job)))
    except MemoryError:
        os._exit(OUT_OF_MEMORY)


if __name__ == "__main__":
    main()
