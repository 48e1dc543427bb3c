"""Checks spec files of a caller in a process of its own, which can be limited and killed."""

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
"""Exit code if the files need more memory than the limit."""

_NICENESS = 10


class LintJob(msgspec.Struct, frozen=True):
    """What a worker reads from its standard input.

    Attributes:
        files: path and content of each file.
        job_types: types that the job factory knows.
        seconds: CPU time that the worker may use.
        memory: bytes of address space that the worker may use.
    """

    files: list[tuple[str, str]]
    job_types: list[str]
    seconds: int
    memory: int


class LintReport(msgspec.Struct, frozen=True):
    """What a worker writes to its standard output."""

    findings: list[Finding]


def check(job: LintJob) -> LintReport:
    """The findings about the files, as many as fit into a response."""
    sources = [Source(path, content) for path, content in job.files]
    result = check_sources(sources, JobTypeRule(frozenset(job.job_types)))
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
