"""The tables of the original's messages: keys, their order and case, what is left out."""

from __future__ import annotations

from typing import Any

from spincycle.rest_codec.codecs import (
    ANY,
    ANY_MAP,
    BYTES,
    FLAG,
    INT,
    INT64,
    NANOSECONDS,
    OPTIONAL_TIME,
    STATE,
    TEXT,
    TIME,
    UINT,
    Codec,
    JsonPath,
)
from spincycle.rest_codec.encoding import Json
from spincycle.rest_codec.tables import Field, KeyedListCodec, ListOf, MapOf, MessageCodec
from spincycle.v1 import (
    error_pb2,
    job_chain_pb2,
    job_log_pb2,
    request_manager_service_pb2,
    request_pb2,
    request_report_pb2,
    spec_pb2,
    status_pb2,
    suspended_job_chain_pb2,
)


class Always(Codec):
    """A value that is shown whatever the message holds.

    What an argument is for, the original tells with the spec and not with each request; its
    place, the other way round.
    """

    def __init__(self, kind: Codec, value: Json) -> None:
        self._kind = kind
        self.go = kind.go
        self.zero = kind.zero
        self.value = value

    def encode(self, value: Any) -> Json:  # noqa: ARG002 # whatever it is
        """The one value."""
        return self.value

    def decode(self, value: Json, place: JsonPath) -> Any:
        """As the kind does."""
        return self._kind.decode(value, place)

    def schema(self) -> dict[str, Json]:
        """As of the kind."""
        return self._kind.schema()


JOB_PATH = Field(
    "path", "path", TEXT, omitted=True, doc="place in the plan, for example upgrade h05 / verify"
)
"""The job's path, which the original lacks; left out of chains that were stored without paths."""

ERROR = MessageCodec(
    "proto.Error",
    error_pb2.Error,
    [
        Field("message", "message", TEXT),
        Field("requestId", "request_id", TEXT),
        Field("httpStatus", "http_status", UINT),
    ],
)

JOB = MessageCodec(
    "proto.Job",
    job_chain_pb2.Job,
    [
        Field("id", "id", TEXT),
        Field("name", "name", TEXT),
        Field("type", "type", TEXT),
        Field("bytes", "bytes", BYTES, omitted=True, doc="what the job's serialize returned"),
        Field("state", "state", STATE),
        Field("args", "args", ANY_MAP, omitted=True),
        Field("data", "data", ANY_MAP, omitted=True),
        Field("retry", "retry", UINT, doc="tries after the first one"),
        Field("retryWait", "retry_wait", TEXT, omitted=True),
        Field("sequenceId", "sequence_id", TEXT),
        Field("sequenceRetry", "sequence_retry", UINT),
        Field("sequenceRetryWait", "sequence_retry_wait", TEXT, omitted=True),
        JOB_PATH,
    ],
)

JOB_CHAIN = MessageCodec(
    "proto.JobChain",
    job_chain_pb2.JobChain,
    [
        Field("requestId", "request_id", TEXT),
        Field("jobs", "jobs", KeyedListCodec(JOB, "id"), doc="the jobs by id"),
        Field(
            "adjacencyList",
            "adjacency_list",
            KeyedListCodec(
                MessageCodec("[]string", job_chain_pb2.AdjacentJobs, ()),
                "job_id",
                Field("", "next_job_ids", ListOf(TEXT)),
            ),
            doc="ids of the jobs that come next, by job id",
        ),
        Field("state", "state", STATE),
        Field("finishedJobs", "finished_jobs", UINT),
    ],
)

REQUEST_ARG = MessageCodec(
    "proto.RequestArg",
    request_pb2.RequestArg,
    [
        Field("Pos", "pos", INT),
        Field("Name", "name", TEXT),
        Field("Desc", "desc", TEXT),
        Field("Type", "kind", TEXT, doc="required, optional or static"),
        Field("Given", "given", FLAG),
        Field("Default", "default_value", ANY, presence=True),
        Field("Value", "value", ANY, presence=True),
    ],
)

GIVEN_ARG = REQUEST_ARG.with_field(
    "GivenArg", Field("Desc", "desc", Always(TEXT, ""), doc="always empty")
)

SPEC_ARG = REQUEST_ARG.with_field("SpecArg", Field("Pos", "pos", Always(INT, 0), doc="always 0"))

REQUEST_SPEC = MessageCodec(
    "proto.RequestSpec",
    spec_pb2.RequestSpec,
    [Field("Name", "name", TEXT), Field("Args", "args", ListOf(SPEC_ARG))],
)


REQUEST = MessageCodec(
    "proto.Request",
    request_pb2.Request,
    [
        Field("id", "id", TEXT),
        Field("type", "type", TEXT),
        Field("state", "state", STATE),
        Field("user", "user", TEXT),
        Field("args", "args", ListOf(GIVEN_ARG), omitted=True),
        Field("createdAt", "created_at", TIME),
        Field("startedAt", "started_at", OPTIONAL_TIME),
        Field("finishedAt", "finished_at", OPTIONAL_TIME),
        Field("JobChain", "job_chain", JOB_CHAIN, omitted=True, presence=True),
        Field("totalJobs", "total_jobs", UINT),
        Field("finishedJobs", "finished_jobs", UINT),
        Field("jrURL", "runner_address", TEXT, omitted=True, doc="only while RUNNING"),
        Field(
            "error",
            "error",
            ERROR,
            omitted=True,
            presence=True,
            doc="why parts of the request are missing, for example that its data cannot be read",
        ),
    ],
)

CREATE_REQUEST = MessageCodec(
    "proto.CreateRequest",
    request_manager_service_pb2.CreateRequest,
    [
        Field("Type", "type", TEXT, doc="name of the request in the specs"),
        Field("Args", "args", ANY_MAP, presence=True),
        Field("User", "user", TEXT, doc="ignored: the user is whom authentication tells"),
        Field("IdempotencyKey", "idempotency_key", TEXT, omitted=True),
        Field("ExpectedPlanHash", "expected_plan_hash", TEXT, omitted=True),
        Field("Priority", "priority", INT, omitted=True, doc="from -100 to 100, higher first"),
    ],
    required=["Type"],
)

SUSPENDED_JOB_CHAIN = MessageCodec(
    "proto.SuspendedJobChain",
    suspended_job_chain_pb2.SuspendedJobChain,
    [
        Field("requestId", "request_id", TEXT),
        Field("jobChain", "job_chain", JOB_CHAIN, presence=True),
        Field("totalJobTries", "total_job_tries", MapOf(UINT)),
        Field("latestRunJobTries", "latest_run_job_tries", MapOf(UINT)),
        Field("sequenceTries", "sequence_tries", MapOf(UINT)),
    ],
)

JOB_LOG = MessageCodec(
    "proto.JobLog",
    job_log_pb2.JobLog,
    [
        Field("requestId", "request_id", TEXT),
        Field("jobId", "job_id", TEXT),
        Field("try", "try_number", UINT),
        Field("name", "name", TEXT),
        Field("type", "type", TEXT),
        Field("startedAt", "started_at", NANOSECONDS, doc="nanoseconds since 1970"),
        Field("finishedAt", "finished_at", NANOSECONDS, doc="nanoseconds since 1970"),
        Field("state", "state", STATE),
        Field("exit", "exit", INT64),
        Field("error", "error", TEXT),
        Field("stdout", "stdout", TEXT),
        Field("stderr", "stderr", TEXT),
        JOB_PATH,
    ],
)

JOB_STATUS = MessageCodec(
    "proto.JobStatus",
    status_pb2.JobStatus,
    [
        Field("requestId", "request_id", TEXT),
        Field("jobId", "job_id", TEXT),
        Field("type", "type", TEXT),
        Field("name", "name", TEXT),
        Field("startedAt", "started_at", NANOSECONDS, doc="nanoseconds since 1970"),
        Field("state", "state", STATE),
        Field("status", "status", TEXT, omitted=True),
        Field("try", "try_number", UINT),
        JOB_PATH,
    ],
)

LISTED_REQUEST = REQUEST.without("ListedRequest", "args", "JobChain")
CREATED_REQUEST = REQUEST.without("CreatedRequest", "JobChain", "jrURL")
RUNNING_REQUEST = REQUEST.without("RunningRequest", "args", "JobChain", "jrURL")

RUNNING_STATUS = MessageCodec(
    "proto.RunningStatus",
    status_pb2.RunningStatus,
    [
        Field("jobs", "jobs", ListOf(JOB_STATUS, null=True)),
        Field("requests", "requests", MapOf(RUNNING_REQUEST)),
    ],
)

REQUEST_PROGRESS = MessageCodec(
    "proto.RequestProgress",
    request_report_pb2.RequestProgress,
    [
        Field("requestId", "request_id", TEXT),
        Field("finishedJobs", "finished_jobs", UINT),
    ],
)

FINISH_REQUEST = MessageCodec(
    "proto.FinishRequest",
    request_report_pb2.FinishRequest,
    [
        Field("requestId", "request_id", TEXT),
        Field("state", "state", STATE),
        Field("finishedAt", "finished_at", TIME),
        Field("finishedJobs", "finished_jobs", UINT),
    ],
)
