"""The tables of what the original does not have: events, plans, explanations, checks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from spincycle.model.revision import encode_revision
from spincycle.rest_codec.codecs import (
    BYTES,
    FLAG,
    INT,
    NANOSECONDS,
    OPTIONAL_TIME,
    STATE,
    TEXT,
    TIME,
    UINT,
    UINT64,
    Codec,
    JsonPath,
    Text,
)
from spincycle.rest_codec.encoding import Json
from spincycle.rest_codec.messages import (
    CREATE_REQUEST,
    JOB_CHAIN,
    JOB_PATH,
    JOB_STATUS,
    LISTED_REQUEST,
    REQUEST,
    REQUEST_ARG,
)
from spincycle.rest_codec.tables import Field, ListOf, MessageCodec
from spincycle.v1 import (
    job_output_pb2,
    plan_pb2,
    request_event_pb2,
    request_pb2,
    spec_pb2,
    spec_service_pb2,
    waiting_pb2,
)
from spincycle.v1 import request_manager_service_pb2 as rm


class Named(Codec):
    """A value of an enum by its name, without the prefix that all its names have."""

    go = "string"
    zero = 0

    def __init__(self, values: Iterable[tuple[str, int]], prefix: str) -> None:
        self._names = {number: name.removeprefix(prefix) for name, number in values}
        self._numbers = {name: number for number, name in self._names.items()}

    def encode(self, value: int) -> Json:
        """The name; the number as text if a newer service sends one that has none here."""
        return self._names.get(value, str(value))

    def decode(self, value: Json, place: JsonPath) -> int:
        """Only names."""
        if not isinstance(value, str) or value not in self._numbers:
            raise place.mismatch(self.go, value)
        return self._numbers[value]

    def schema(self) -> dict[str, Json]:
        """The names."""
        return {"type": "string", "enum": list(self._numbers)}


class RevisionNumber(Codec):
    """A revision, which is text in the contract, as a number."""

    go = UINT64.go
    zero = ""

    def encode(self, value: str) -> Json:
        """Return the number; 0 if there is none."""
        return int(value or 0)

    def decode(self, value: Json, place: JsonPath) -> str:
        """Return the text of a whole number that fits."""
        number = UINT64.decode(value, place)
        return encode_revision(number) if number else ""

    def schema(self) -> dict[str, Json]:
        """Return the schema of a whole number."""
        return UINT64.schema()


class RolledBack(Codec):
    """The rolled back jobs out of JobCounts, as a number."""

    go = UINT.go

    def encode(self, value: request_pb2.JobCounts) -> Json:
        """Return the count."""
        return value.rolled_back

    def decode(self, value: Json, place: JsonPath) -> request_pb2.JobCounts:
        """Return counts that hold nothing else."""
        return request_pb2.JobCounts(rolled_back=UINT.decode(value, place))

    def schema(self) -> dict[str, Json]:
        """Return the schema of a whole number."""
        return UINT.schema()


class OneText(Text):
    """The only text of a list, as a text."""

    zero: Any = ()

    def encode(self, value: Any) -> Json:
        """Return the first text; an empty one if there is none."""
        return next(iter(value), "")

    def decode(self, value: Json, place: JsonPath) -> Any:
        """Return a list of the text; an empty one of an empty text."""
        text = super().decode(value, place)
        return [text] if text else []


ONE_TEXT = OneText()
REVISION = RevisionNumber()
ROLLED_BACK = RolledBack()

WATCHED_REQUEST = MessageCodec(
    "proto.Request",
    REQUEST.message,
    [
        *LISTED_REQUEST.fields,
        Field(
            "rolledBackJobs",
            "counts",
            ROLLED_BACK,
            omitted=True,
            doc="completed jobs that a sequence retry took back",
        ),
        Field("reason", "state_message", TEXT, omitted=True, doc="why it is in its state"),
        Field(
            "rerunOf", "rerun_of_request_id", TEXT, omitted=True, doc="request that it runs again"
        ),
        Field("priority", "priority", INT, omitted=True),
        Field("revision", "revision", REVISION),
    ],
    "WatchedRequest",
)

WATCHED_JOB = MessageCodec(
    "proto.JobStatus",
    JOB_STATUS.message,
    [
        *JOB_STATUS.fields,
        Field("finishedAt", "finished_at", NANOSECONDS, omitted=True),
        Field("retryAt", "retry_at", NANOSECONDS, omitted=True, doc="when the next try begins"),
        Field("percent", "percent", UINT, omitted=True),
        Field("sequenceId", "sequence_id", TEXT, omitted=True),
        Field("error", "error", TEXT, omitted=True, doc="why the last try failed"),
    ],
    "WatchedJob",
)

SNAPSHOT = MessageCodec(
    "proto.RequestSnapshot",
    request_event_pb2.RequestSnapshot,
    [
        Field("request", "request", WATCHED_REQUEST, presence=True),
        Field("jobs", "jobs", ListOf(WATCHED_JOB), doc="jobs not listed here are PENDING"),
        Field("jobChain", "job_chain", JOB_CHAIN, omitted=True, presence=True),
    ],
)

OUTPUT = MessageCodec(
    "proto.JobOutput",
    job_output_pb2.JobOutput,
    [
        Field("requestId", "request_id", TEXT),
        Field("jobId", "job_id", TEXT),
        Field("try", "try_number", UINT),
        Field("name", "name", TEXT),
        Field("stream", "stream", Named(job_output_pb2.OutputStream.items(), "OUTPUT_STREAM_")),
        Field("offset", "offset", UINT64, doc="bytes of the stream before these"),
        Field("data", "data", BYTES),
        JOB_PATH,
    ],
)

EVENT = MessageCodec(
    "proto.RequestEvent",
    request_event_pb2.RequestEvent,
    [
        Field("requestId", "request_id", TEXT),
        Field("revision", "revision", REVISION),
        Field("occurredAt", "occurred_at", TIME),
        Field("snapshot", "snapshot", SNAPSHOT, omitted=True, presence=True),
        Field("request", "request", WATCHED_REQUEST, omitted=True, presence=True),
        Field("job", "job", WATCHED_JOB, omitted=True, presence=True),
        Field("output", "output", OUTPUT, omitted=True, presence=True),
    ],
)

WAITING_JOB = MessageCodec(
    "proto.WaitingJob",
    waiting_pb2.WaitingJob,
    [
        Field("jobId", "job_id", TEXT),
        Field("name", "name", TEXT),
        Field("reason", "reason", Named(waiting_pb2.WaitReason.items(), "WAIT_REASON_")),
        Field("message", "message", TEXT),
        Field("waitsForJobIds", "waits_for_job_ids", ListOf(TEXT)),
        Field("until", "until", OPTIONAL_TIME),
        JOB_PATH,
    ],
)

EXPLANATION = MessageCodec(
    "proto.Explanation",
    rm.ExplainResponse,
    [
        Field("state", "state", STATE),
        Field("waitsFor", "message", TEXT),
        Field("jobs", "jobs", ListOf(WAITING_JOB)),
    ],
)

PLAN_REQUEST = MessageCodec(
    "proto.PlanRequest",
    rm.PlanRequest,
    [field for field in CREATE_REQUEST.fields if field.name in {"type", "args"}],
    required=["Type"],
)

PLAN = MessageCodec(
    "proto.Plan",
    plan_pb2.Plan,
    [
        Field("type", "type", TEXT),
        Field("args", "args", ListOf(REQUEST_ARG)),
        Field("jobChain", "job_chain", JOB_CHAIN, presence=True),
        Field("hash", "plan_hash", TEXT, doc="what ExpectedPlanHash of a create is compared with"),
        Field("specRevision", "specs_hash", TEXT),
        Field("totalJobs", "total_jobs", UINT),
        Field("workJobs", "work_jobs", UINT, doc="jobs that are not begin or end jobs"),
        Field("widest", "widest", UINT, doc="most jobs that can run at the same time"),
        Field("depth", "depth", UINT, doc="jobs on the longest path"),
    ],
)

REASON = MessageCodec(
    "proto.Reason", rm.SuspendRequest, [Field("reason", "reason", TEXT)], required=[]
)

_ALLOW_CONCURRENT = "also if a request created from the same one by rerun or skip has not ended"

RERUN_REQUEST = MessageCodec(
    "proto.RerunRequest",
    rm.RerunRequest,
    [
        Field("jobIds", "job_ids", ListOf(TEXT), doc="jobs to run again with all that follows"),
        Field("allowConcurrent", "allow_concurrent", FLAG, doc=_ALLOW_CONCURRENT),
    ],
    required=[],
)

SKIP_REQUEST = MessageCodec(
    "proto.SkipRequest",
    rm.SkipRequest,
    [
        Field("jobId", "job_ids", ONE_TEXT),
        Field("reason", "reason", TEXT, doc="must be given"),
        Field("allowConcurrent", "allow_concurrent", FLAG, doc=_ALLOW_CONCURRENT),
    ],
    required=["jobId", "reason"],
)

SPEC_FILE = MessageCodec(
    "proto.SpecFile",
    spec_pb2.SpecFile,
    [Field("path", "path", TEXT), Field("content", "content", TEXT, doc="the YAML text")],
)

LINT_REQUEST = MessageCodec(
    "proto.LintRequest", spec_service_pb2.LintRequest, [Field("files", "files", ListOf(SPEC_FILE))]
)

FINDING = MessageCodec(
    "proto.Finding",
    spec_pb2.Finding,
    [
        Field("code", "code", TEXT),
        Field("severity", "severity", Named(spec_pb2.FindingSeverity.items(), "FINDING_SEVERITY_")),
        Field("message", "message", TEXT),
        Field("file", "file", TEXT),
        Field("line", "line", UINT),
        Field("column", "column", UINT),
        Field("sequence", "sequence", TEXT),
        Field("node", "node", TEXT),
        Field("field", "field", TEXT),
        Field("values", "values", ListOf(TEXT)),
    ],
)

LINTED = MessageCodec(
    "proto.Linted", spec_service_pb2.LintResponse, [Field("findings", "findings", ListOf(FINDING))]
)

RELOADED = MessageCodec(
    "proto.Reloaded",
    spec_service_pb2.ReloadSpecsResponse,
    [
        Field("specRevision", "specs_hash", TEXT),
        Field("changed", "changed", FLAG),
        Field("findings", "findings", ListOf(FINDING)),
    ],
)
