"""Redacts secret values."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from spincycle.model.request_arg import REDACTED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from spincycle.model.job_chain import JobChain, Value
    from spincycle.model.request_arg import RequestArg


def redacted_chain(chain: JobChain) -> JobChain:
    """Return a copy of a chain without secrets; jobs without secrets are not copied."""
    jobs = {
        job.id: replace(job, args=redacted(job.args or {}, job.secret_args), bytes=b"")
        if job.secret_args
        else job
        for job in chain.jobs.values()
    }
    return replace(chain, jobs=jobs)


def redacted_args(args: Iterable[RequestArg]) -> list[RequestArg]:
    """Return the arguments of a request with secret values and defaults redacted."""
    return [
        replace(
            arg,
            value=None if arg.value is None else REDACTED,
            default=None if arg.default is None else REDACTED,
        )
        if arg.secret
        else arg
        for arg in args
    ]


def redacted(args: Mapping[str, Value], secret: Iterable[str]) -> dict[str, Value]:
    """Return arguments with the values of the secret ones redacted."""
    hidden = frozenset(secret)
    return {name: REDACTED if name in hidden else value for name, value in args.items()}
