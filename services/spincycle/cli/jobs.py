"""Finding the jobs of a request that a person names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from spincycle.cli.problem import Problem

if TYPE_CHECKING:
    from spincycle.cli.transport.backend import Backend


async def job_ids(services: Backend, request_id: str, words: Iterable[str]) -> list[str]:
    """Ids of the jobs that are meant by ids or by names.

    Raises:
        Problem: the request has no such job.
    """
    chain = await services.job_chain(request_id)
    found: list[str] = []
    for word in words:
        named = [job.id for job in chain.jobs if job.name == word]
        meant = [job.id for job in chain.jobs if job.id == word] or named
        if not meant:
            raise Problem(
                f"request {request_id} has no job {word}",
                f"spinc log {request_id} lists the jobs that ran",
            )
        found += meant
    return found
