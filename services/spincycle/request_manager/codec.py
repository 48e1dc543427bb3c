"""Requests as the contract carries them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import cast

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from spincycle.chain.remaining_job_types import RemainingJobTypes
from spincycle.errors import InvalidInput
from spincycle.internal.v1 import runner_coordination_service_pb2 as coordination_pb2
from spincycle.model.request_arg import REDACTED, RequestArg
from spincycle.model.state import State
from spincycle.request_manager.storage.model import (
    Finished,
    Progressed,
    Report,
    Request,
    RequestFilter,
    Suspended,
)
from spincycle.rpc.limits import REASON_BYTES
from spincycle.spec import Finding, Severity
from spincycle.text.shortening import shortened
from spincycle.v1 import (
    request_pb2,
    request_report_pb2,
    spec_pb2,
    state_pb2,
    suspended_job_chain_pb2,
)
from spincycle.wire.states import decode_state
from spincycle.wire.times import from_timestamp, get_seconds
from spincycle.wire.values import to_value

_MOST_JOBS = 2**31 - 1
_MOST_BIGINT = 2**63 - 1

MAX_RUNNING_TIME = 100 * 365.25 * 86_400
"""Most seconds for which a chain can have run."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def encode_request(request: Request) -> request_pb2.Request:
    """A request without arguments and chain."""
    message = request_pb2.Request(
        id=request.request_id,
        type=request.type,
        state=encode_state(request.state),
        user=request.user,
        total_jobs=request.total_jobs,
        finished_jobs=request.finished_jobs,
        runner_address=request.runner_address,
        runner_id=request.runner_id,
        epoch=request.epoch,
        specs_hash=request.spec_revision,
        plan_hash=request.plan_hash,
        priority=request.priority,
        state_message=request.reason,
        rerun_of_request_id=request.rerun_of,
        counts=request_pb2.JobCounts(
            total=request.total_jobs,
            finished=request.finished_jobs,
            rolled_back=request.rolled_back_jobs,
        ),
    )
    _set_time(message.created_at, request.created_at)
    if request.started_at:
        _set_time(message.started_at, request.started_at)
    if request.finished_at:
        _set_time(message.finished_at, request.finished_at)
    return message


def encode_state(state: State) -> state_pb2.State.ValueType:
    """A state as the contract's enum."""
    return cast("state_pb2.State.ValueType", int(state))


def encode_arg(arg: RequestArg) -> request_pb2.RequestArg:
    """An argument; a secret value is not shown."""
    message = request_pb2.RequestArg(
        pos=arg.pos,
        name=arg.name,
        desc=arg.desc,
        kind=arg.type,
        given=arg.given,
        secret=arg.secret,
        value_type=arg.value_type,
    )
    if arg.default is not None:
        message.default_value.CopyFrom(to_value(REDACTED if arg.secret else arg.default))
    if arg.value is not None:
        message.value.CopyFrom(to_value(REDACTED if arg.secret else arg.value))
    return message


def decode_filter(message: request_pb2.RequestFilter) -> RequestFilter:
    """Which requests to list.

    Raises:
        InvalidInput: a time is none that a calendar has.
    """
    return RequestFilter(
        type=message.type,
        states=tuple(decode_state(number) for number in message.states),
        user=message.user,
        args=dict(message.args),
        since=_time(message.since, "since") if message.HasField("since") else None,
        until=_time(message.until, "until") if message.HasField("until") else None,
    )


def decode_finish(message: request_report_pb2.FinishRequest) -> Finished:
    """The end of a request. A long reason is shortened: the end must be stored.

    Raises:
        InvalidInput: it does not say when the request ended, or holds an impossible number.
    """
    if not message.HasField("finished_at"):
        raise InvalidInput("a finished request must say when it ended", "finished_at")
    return Finished(
        request_id=message.request_id,
        epoch=_epoch(message.epoch),
        state=decode_state(message.state),
        finished_at=_time(message.finished_at, "finished_at"),
        finished_jobs=_count(message.finished_jobs, "finished_jobs"),
        reason=shortened(message.state_message, REASON_BYTES),
    )


def decode_report(message: coordination_pb2.RunnerReport, runner_id: str) -> Report:
    """Return the report of a runner on one request.

    Raises:
        InvalidInput: it holds none, or an impossible one.
    """
    match message.WhichOneof("report"):
        case "finish":
            running_time = _running_time(message.running_time)
            finished = decode_finish(message.finish)
            return replace(finished, running_time=running_time, runner_id=runner_id)
        case "progress":
            progress = message.progress
            return Progressed(
                progress.request_id,
                _epoch(progress.epoch),
                _count(progress.finished_jobs, "finished_jobs"),
                _count(progress.counts.rolled_back, "counts.rolled_back"),
                runner_id,
            )
        case "suspended":
            suspended = message.suspended
            remaining = RemainingJobTypes()
            remaining.add(suspended.job_chain.jobs)
            return Suspended(
                suspended.request_id,
                _epoch(suspended.epoch),
                _count(suspended.job_chain.finished_jobs, "job_chain.finished_jobs"),
                "",
                suspended.SerializeToString(),
                _storable(remaining.types(suspended.sequence_tries)),
                runner_id=runner_id,
            )
    raise InvalidInput("a report must hold progress, an end or a saved state", "report")


def _running_time(duration: Duration) -> float:
    seconds = get_seconds(duration)
    if not 0 <= seconds <= MAX_RUNNING_TIME:
        raise InvalidInput(
            f"a chain cannot have run for {seconds:g} s; at most 100 years", "running_time"
        )
    return seconds


async def join_suspended(
    parts: AsyncIterator[suspended_job_chain_pb2.SuspendedJobChain], runner_id: str
) -> Suspended:
    """Return the saved state that a runner sends in parts, which are joined as they are.

    Raises:
        InvalidInput: it holds an impossible number.
    """
    request_id, epoch, finished_jobs = "", 0, 0
    joined = bytearray()
    remaining = RemainingJobTypes()
    sequence_tries: dict[str, int] = {}
    async for part in parts:
        request_id = part.request_id or request_id
        epoch = _epoch(part.epoch) or epoch
        finished = _count(part.job_chain.finished_jobs, "part.job_chain.finished_jobs")
        finished_jobs = finished or finished_jobs
        joined += part.SerializeToString()
        remaining.add(part.job_chain.jobs)
        sequence_tries.update(part.sequence_tries)
    job_types = _storable(remaining.types(sequence_tries))
    return Suspended(
        request_id, epoch, finished_jobs, "", bytes(joined), job_types, runner_id=runner_id
    )


def report_request_id(message: coordination_pb2.RunnerReport) -> str:
    """Request that a report is about."""
    which = message.WhichOneof("report")
    return str(getattr(message, which).request_id) if which else ""


def _time(message: Timestamp, field: str) -> datetime:
    try:
        return from_timestamp(message)
    except ValueError:
        raise InvalidInput(f"{field} is not within the years 1 to 9999", field)


def _storable(job_types: frozenset[str]) -> frozenset[str]:
    # As with counts: one type that no column can keep would fail the reports beside it.
    if any("\0" in job_type for job_type in job_types):
        raise InvalidInput("a job type holds the character NUL", "job_chain.jobs.type")
    return job_types


def _count(jobs: int, field: str) -> int:
    # Reports of many requests share a statement, which one such number would make fail.
    if jobs > _MOST_JOBS:
        raise InvalidInput(f"{field} is {jobs}; no chain has so many jobs", field)
    return jobs


def decode_chains(chains: coordination_pb2.ChainList) -> dict[str, int]:
    """Return the epochs of chains by request id.

    Raises:
        InvalidInput: it holds an impossible number.
    """
    return {chain.request_id: _epoch(chain.epoch) for chain in chains.chains}


def _epoch(epoch: int) -> int:
    if epoch > _MOST_BIGINT:
        raise InvalidInput(f"epoch {epoch} is out of range", "epoch")
    return epoch


def encode_finding(finding: Finding) -> spec_pb2.Finding:
    """What a check of the specs has found."""
    return spec_pb2.Finding(
        code=finding.code,
        severity=(
            spec_pb2.FINDING_SEVERITY_ERROR
            if finding.severity is Severity.ERROR
            else spec_pb2.FINDING_SEVERITY_WARNING
        ),
        message=finding.text,
        file=finding.file,
        line=finding.line,
        column=finding.column,
        sequence=finding.sequence,
        node=finding.node,
        field=finding.field,
        values=list(finding.values),
    )


def _set_time(field: Timestamp, time: datetime) -> None:
    # As FromDatetime, which asks more questions than this, three times a request.
    since = time - _EPOCH
    field.seconds = since.days * 86_400 + since.seconds
    field.nanos = since.microseconds * 1000
