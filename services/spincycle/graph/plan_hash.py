"""Hash of what a chain would run."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import orjson

from spincycle.model.redaction import redacted

if TYPE_CHECKING:
    from spincycle.model.job_chain import ChainJob, JobChain


def plan_hash(chain: JobChain) -> str:
    """Return 32 hex digits that are equal for two chains that would run the same jobs.

    It covers each job's final arguments, serialized form, retries and position in the graph. Ids,
    which are random, are excluded, also where a job put its own into its serialized form, or that
    of the request into an argument. Secret arguments are excluded, since a visible hash would
    allow guessing them.
    """
    place = {job_id: number for number, job_id in enumerate(chain.jobs)}
    digest = hashlib.sha256()
    for job in chain.jobs.values():
        following = sorted(place[other] for other in chain.next_jobs.get(job.id, ()))
        content = _canonical([_content(job, chain.request_id, place), following])
        digest.update(_without_request_id(content, chain.request_id))
    limits = [
        [limit.limit, [[place[first], place[last]] for first, last in limit.elements]]
        for limit in chain.parallel_limits
    ]
    digest.update(_canonical([limits, chain.timeout]))
    if chain.required_features:
        digest.update(_canonical(sorted(chain.required_features)))
    return digest.hexdigest()[:32]


def _content(job: ChainJob, request_id: str, place: dict[str, int]) -> list[object]:
    backoff = job.backoff
    return [
        job.name,
        job.type,
        "" if job.secret_args else _without_ids(job, request_id).hex(),
        redacted(job.args or {}, job.secret_args),
        job.retry,
        job.retry_wait,
        place[job.sequence_id],
        place.get(job.parent_sequence_id, -1),
        job.sequence_retry,
        job.sequence_retry_wait,
        job.structural,
        job.timeout,
        job.sequence_timeout,
        [backoff.factor, backoff.max_wait, backoff.jitter] if backoff else None,
        job.fail_if_interrupted,
    ]


def _without_ids(job: ChainJob, request_id: str) -> bytes:
    # Replace only quoted ids: four characters alone may occur by chance.
    quoted = b'"%s"' % job.id.encode()
    data = job.bytes.replace(quoted, b'""')
    return _without_request_id(data, request_id)


def _without_request_id(data: bytes, request_id: str) -> bytes:
    # A plan without a request has an empty id.
    return data.replace(request_id.encode(), b"") if request_id else data


def _canonical(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
