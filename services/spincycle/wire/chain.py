"""Job chains on the wire: spincycle.v1.JobChain and SuspendedJobChain, both ways."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from spincycle.errors import InvalidChain
from spincycle.model.job_chain import (
    BackoffPolicy,
    ChainJob,
    JobChain,
    ParallelLimit,
    SuspendedJobChain,
)
from spincycle.v1 import job_chain_pb2, suspended_job_chain_pb2
from spincycle.wire.states import decode_state, encode_state
from spincycle.wire.times import get_seconds, set_seconds
from spincycle.wire.values import fill_struct, from_struct

if TYPE_CHECKING:
    from collections.abc import MutableSequence

_FAIL = job_chain_pb2.INTERRUPTION_FAIL


def encode_chain(chain: JobChain) -> job_chain_pb2.JobChain:
    """The chain as a message.

    Raises:
        ValueError: arguments or data of a job hold something that JSON does not know.
    """
    message = job_chain_pb2.JobChain()
    _fill_chain(message, chain)
    return message


def decode_chain(message: job_chain_pb2.JobChain) -> JobChain:
    """The chain in a message.

    Raises:
        InvalidChain: two jobs have the same id.
    """
    return JobChain(
        request_id=message.request_id,
        jobs=decode_jobs(message.request_id, message.jobs),
        next_jobs=_decode_edges(message),
        state=decode_state(message.state),
        finished_jobs=message.finished_jobs,
        parallel_limits=[
            ParallelLimit(
                limit.limit,
                tuple((item.first_job_id, item.last_job_id) for item in limit.elements),
            )
            for limit in message.parallel_limits
        ],
        timeout=get_seconds(message.timeout) if message.HasField("timeout") else None,
        required_features=tuple(message.required_features),
    )


def encode_suspended_chain(
    suspended: SuspendedJobChain,
) -> suspended_job_chain_pb2.SuspendedJobChain:
    """The half-run chain as a message.

    Raises:
        ValueError: as `encode_chain`.
    """
    message = suspended_job_chain_pb2.SuspendedJobChain(
        request_id=suspended.request_id,
        total_job_tries=suspended.total_job_tries,
        latest_run_job_tries=suspended.latest_run_job_tries,
        sequence_tries=suspended.sequence_tries,
        epoch=suspended.epoch,
        journal_position=suspended.journal_position,
    )
    _fill_chain(message.job_chain, suspended.job_chain)
    return message


def decode_suspended_chain(message: suspended_job_chain_pb2.SuspendedJobChain) -> SuspendedJobChain:
    """The half-run chain in a message.

    Raises:
        InvalidChain: as `decode_chain`.
    """
    return SuspendedJobChain(
        request_id=message.request_id,
        job_chain=decode_chain(message.job_chain),
        total_job_tries=dict(message.total_job_tries),
        latest_run_job_tries=dict(message.latest_run_job_tries),
        sequence_tries=dict(message.sequence_tries),
        epoch=message.epoch,
        journal_position=message.journal_position,
    )


def encode_jobs(messages: MutableSequence[job_chain_pb2.Job], jobs: Iterable[ChainJob]) -> None:
    """Append jobs to a repeated field.

    Raises:
        ValueError: arguments or data hold something that JSON does not know.
    """
    for job in jobs:
        messages.append(_encode_job(job))


def decode_jobs(request_id: str, messages: Iterable[job_chain_pb2.Job]) -> dict[str, ChainJob]:
    """The jobs in a repeated field by id, in its order.

    Raises:
        InvalidChain: two jobs have the same id.
    """
    jobs: dict[str, ChainJob] = {}
    for message in messages:
        job = _decode_job(message)
        if job.id in jobs:
            raise InvalidChain(request_id, f'two jobs have the id "{job.id}"')
        jobs[job.id] = job
    return jobs


def _fill_chain(message: job_chain_pb2.JobChain, chain: JobChain) -> None:
    message.request_id = chain.request_id
    message.state = encode_state(chain.state)
    message.finished_jobs = chain.finished_jobs
    encode_jobs(message.jobs, chain.jobs.values())
    for job_id, following in chain.next_jobs.items():
        message.adjacency_list.add(job_id=job_id, next_job_ids=following)
    for limit in chain.parallel_limits:
        elements = message.parallel_limits.add(limit=limit.limit).elements
        for first, last in limit.elements:
            elements.add(first_job_id=first, last_job_id=last)
    if chain.timeout is not None:
        set_seconds(message.timeout, chain.timeout)
    message.required_features.extend(chain.required_features)


def _decode_edges(message: job_chain_pb2.JobChain) -> dict[str, list[str]]:
    edges: dict[str, list[str]] = {}
    for adjacent in message.adjacency_list:
        edges.setdefault(adjacent.job_id, []).extend(adjacent.next_job_ids)
    return edges


def _encode_job(job: ChainJob) -> job_chain_pb2.Job:
    message = job_chain_pb2.Job(
        id=job.id,
        name=job.name,
        type=job.type,
        state=encode_state(job.state),
        sequence_id=job.sequence_id,
        path=job.path,
    )
    if job.bytes:
        message.bytes = job.bytes
    if job.args is not None:
        fill_struct(message.args, job.args)
    if job.data:
        fill_struct(message.data, job.data)
    if job.structural:
        message.structural = True
    if job.retry:
        message.retry = job.retry
    if job.retry_wait:
        message.retry_wait = job.retry_wait
    if job.sequence_retry:
        message.sequence_retry = job.sequence_retry
    if job.sequence_retry_wait:
        message.sequence_retry_wait = job.sequence_retry_wait
    if job.timeout is not None:
        set_seconds(message.timeout, job.timeout)
    if job.sequence_timeout is not None:
        set_seconds(message.sequence_timeout, job.sequence_timeout)
    if job.backoff is not None:
        _fill_backoff(message.backoff, job.backoff)
    if job.fail_if_interrupted:
        message.interruption = _FAIL
    if job.parent_sequence_id:
        message.parent_sequence_id = job.parent_sequence_id
    if job.secret_args:
        message.secret_args.extend(job.secret_args)
    return message


def _decode_job(message: job_chain_pb2.Job) -> ChainJob:
    has = message.HasField
    return ChainJob(
        id=message.id,
        name=message.name,
        type=message.type,
        bytes=message.bytes,
        state=decode_state(message.state),
        args=from_struct(message.args) if has("args") else None,
        data=from_struct(message.data) if has("data") else {},
        retry=message.retry,
        retry_wait=message.retry_wait,
        sequence_id=message.sequence_id,
        sequence_retry=message.sequence_retry,
        sequence_retry_wait=message.sequence_retry_wait,
        structural=message.structural,
        timeout=get_seconds(message.timeout) if has("timeout") else None,
        sequence_timeout=(
            get_seconds(message.sequence_timeout) if has("sequence_timeout") else None
        ),
        backoff=_decode_backoff(message.backoff) if has("backoff") else None,
        fail_if_interrupted=message.interruption == _FAIL,
        parent_sequence_id=message.parent_sequence_id,
        secret_args=tuple(message.secret_args),
        path=message.path,
    )


def _fill_backoff(message: job_chain_pb2.Backoff, backoff: BackoffPolicy) -> None:
    message.factor = backoff.factor
    message.jitter = backoff.jitter
    if backoff.max_wait is not None:
        set_seconds(message.max_wait, backoff.max_wait)


def _decode_backoff(message: job_chain_pb2.Backoff) -> BackoffPolicy:
    return BackoffPolicy(
        factor=message.factor,
        max_wait=get_seconds(message.max_wait) if message.HasField("max_wait") else None,
        jitter=message.jitter,
    )
