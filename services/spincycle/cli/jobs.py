"""Resolves job names to job ids."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from spincycle.cli.problem import Problem

if TYPE_CHECKING:
    from spincycle.cli.transport.backend import Backend


async def job_ids(services: Backend, request_id: str, words: Iterable[str]) -> list[str]:
    """Return the ids of jobs given by id or by name; a name may match several jobs.

    Raises:
        Problem: the request has no such job.
    """
    chain = await services.job_chain(request_id)
    found: list[str] = []
    for word in words:
        named = [job.id for job in chain.jobs if job.name == word]
        matching = [job.id for job in chain.jobs if job.id == word] or named
        if not matching:
            raise Problem(
                f"request {request_id} has no job {word}",
                f"run 'spinc log {request_id}' to list the jobs that ran",
            )
        found += matching
    return found
