"""Job statuses and job events as the contract carries them."""

from __future__ import annotations

from typing import cast

from spincycle.chain.waiting import WaitingJob
from spincycle.internal.v1 import job_event_pb2
from spincycle.model.job_status import JobEvent, JobStatus
from spincycle.v1 import request_pb2, state_pb2, status_pb2, waiting_pb2
from spincycle.wire.times import set_nanoseconds


def encode_status(status: JobStatus) -> status_pb2.JobStatus:
    """The status as a message."""
    message = status_pb2.JobStatus(
        request_id=status.request_id,
        job_id=status.job_id,
        type=status.type,
        name=status.name,
        state=cast("state_pb2.State.ValueType", int(status.state)),
        status=status.status,
        percent=status.percent,
        sequence_id=status.sequence_id,
        error=status.error,
        path=status.path,
    )
    message.try_number = status.try_
    if status.started_at:
        set_nanoseconds(message.started_at, status.started_at)
    if status.finished_at:
        set_nanoseconds(message.finished_at, status.finished_at)
    if status.retry_at:
        set_nanoseconds(message.retry_at, status.retry_at)
    return message


def encode_event(event: JobEvent) -> job_event_pb2.JobEvent:
    """The event as a message."""
    message = job_event_pb2.JobEvent(
        job=encode_status(event.job),
        epoch=event.epoch,
        sequence_number=event.sequence_number,
        counts=request_pb2.JobCounts(
            finished=event.finished_jobs, rolled_back=event.rolled_back_jobs
        ),
    )
    set_nanoseconds(message.occurred_at, event.occurred_at)
    return message


def encode_wait(wait: WaitingJob) -> waiting_pb2.WaitingJob:
    """Why a job does not run, as a message."""
    message = waiting_pb2.WaitingJob(
        job_id=wait.job_id,
        name=wait.name,
        reason=cast("waiting_pb2.WaitReason.ValueType", int(wait.reason)),
        message=wait.message,
        waits_for_job_ids=wait.waits_for,
        path=wait.path,
    )
    if wait.until:
        set_nanoseconds(message.until, wait.until)
    return message
