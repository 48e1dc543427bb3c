"""The tables of requests, arguments, entries and running jobs with all their fields.

They are those of the original with more keys, for clients that know of them.
"""

from __future__ import annotations

from spincycle.rest_codec.codecs import ANY_MAP, FLAG, INT, TEXT, UINT, UINT64
from spincycle.rest_codec.extras import REVISION, ROLLED_BACK, WATCHED_JOB
from spincycle.rest_codec.messages import JOB_LOG, REQUEST, REQUEST_ARG, REQUEST_SPEC
from spincycle.rest_codec.tables import Field, ListOf, MapOf, MessageCodec
from spincycle.v1 import request_manager_service_pb2 as rm
from spincycle.v1 import status_pb2

FULL_ARG = MessageCodec(
    "proto.RequestArg",
    REQUEST_ARG.message,
    [
        *REQUEST_ARG.fields,
        Field("Secret", "secret", FLAG, omitted=True, doc="its value is not shown"),
        Field("ValueType", "value_type", TEXT, omitted=True, doc="empty for any"),
    ],
    "FullRequestArg",
)

FULL_SPEC = REQUEST_SPEC.with_field("FullRequestSpec", Field("Args", "args", ListOf(FULL_ARG)))

FULL_REQUEST = MessageCodec(
    "proto.Request",
    REQUEST.message,
    [
        *REQUEST.without("", "args", "JobChain", "jrURL").fields,
        Field("args", "args", ListOf(FULL_ARG), omitted=True, doc="not in lists"),
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
        Field("runnerId", "runner_id", TEXT, omitted=True),
        Field("runnerAddress", "runner_address", TEXT, omitted=True, doc="host:port"),
        Field("epoch", "epoch", UINT64, omitted=True, doc="how often a runner has begun it"),
        Field("revision", "revision", REVISION, omitted=True),
        Field("specRevision", "specs_hash", TEXT, omitted=True),
        Field("planHash", "plan_hash", TEXT, omitted=True),
    ],
    "FullRequest",
)

FULL_ENTRY = MessageCodec(
    "proto.JobLog",
    JOB_LOG.message,
    [
        *JOB_LOG.fields,
        Field("sequenceId", "sequence_id", TEXT, omitted=True),
        Field("sequenceTry", "sequence_try_number", UINT, omitted=True),
        Field("position", "position", UINT64, doc="place in the journal of the request"),
        Field("epoch", "epoch", UINT64, omitted=True),
        Field("data", "data", ANY_MAP, presence=True, doc="job data that it left; null if none"),
        Field("final", "final", FLAG, omitted=True, doc="the job will not be tried again"),
    ],
    "FullJobLog",
)

FULL_STATUS = MessageCodec(
    "proto.RunningStatus",
    status_pb2.RunningStatus,
    [
        Field("jobs", "jobs", ListOf(WATCHED_JOB)),
        Field("requests", "requests", MapOf(FULL_REQUEST)),
    ],
    "FullRunningStatus",
)

FULL_RUNNING = MessageCodec(
    "proto.Running",
    rm.ListRunningJobsResponse,
    [
        Field("status", "status", FULL_STATUS),
        Field("hasRunningRequests", "has_running_requests", FLAG),
        Field(
            "silentRunnerIds",
            "silent_runner_ids",
            ListOf(TEXT),
            doc="runners that did not answer: their jobs are missing",
        ),
    ],
)
