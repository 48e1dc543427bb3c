"""Messages as the services would send them, beside the JSON that callers must get."""

from __future__ import annotations

from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from spincycle.v1 import job_chain_pb2, job_log_pb2, request_pb2, state_pb2, status_pb2

ID = "d0000000000000000001"
CREATED = Timestamp(seconds=1_800_000_000, nanos=120_000_000)
STARTED = Timestamp(seconds=1_800_000_001)
FINISHED = Timestamp(seconds=1_800_000_002, nanos=1)


def a_request(
    state: state_pb2.State.ValueType = state_pb2.STATE_COMPLETE, request_id: str = ID
) -> request_pb2.Request:
    request = request_pb2.Request(
        id=request_id,
        type="drain",
        state=state,
        user="dana",
        created_at=CREATED,
        total_jobs=3,
        epoch=1,
        revision=f"{9:019d}",
    )
    if state != state_pb2.STATE_PENDING:
        request.started_at.CopyFrom(STARTED)
    if state == state_pb2.STATE_RUNNING:
        request.runner_address = "10.0.0.7:32321"
        request.finished_jobs = 1
    if state == state_pb2.STATE_COMPLETE:
        request.finished_at.CopyFrom(FINISHED)
        request.finished_jobs = 3
    return request


def with_args(request: request_pb2.Request) -> request_pb2.Request:
    request.args.add(
        pos=0,
        name="host",
        desc="which one",
        kind="required",
        given=True,
        value=Value(string_value="a<b"),
    )
    request.args.add(
        pos=0,
        name="seconds",
        kind="optional",
        default_value=Value(string_value="5"),
        value=Value(number_value=30),
        given=True,
    )
    return request


ARGS = (
    '"args":[{"Pos":0,"Name":"host","Desc":"","Type":"required","Given":true,"Default":null,'
    '"Value":"a\\u003cb"},{"Pos":0,"Name":"seconds","Desc":"","Type":"optional","Given":true,'
    '"Default":"5","Value":30}],'
)


def a_chain() -> job_chain_pb2.JobChain:
    args = Struct()
    args.update({"host": "a", "count": 3, "nested": {"b": [1.5, None], "a": True}})
    chain = job_chain_pb2.JobChain(request_id=ID, state=state_pb2.STATE_PENDING)
    chain.jobs.add(
        id="zzzz",
        name="request_drain_begin",
        type="noop",
        state=state_pb2.STATE_PENDING,
        sequence_id="zzzz",
        sequence_retry=2,
        sequence_retry_wait="0s",
        structural=True,
        path="(begin)",
    )
    chain.jobs.add(
        id="aaaa",
        name="drain",
        type="drain-host",
        bytes=b"{}",
        state=state_pb2.STATE_PENDING,
        args=args,
        retry=1,
        retry_wait="1m30s",
        sequence_id="zzzz",
        path="drain a",
    )
    chain.adjacency_list.add(job_id="zzzz", next_job_ids=["aaaa"])
    return chain


CHAIN = (
    f'{{"requestId":"{ID}","jobs":{{'
    '"aaaa":{"id":"aaaa","name":"drain","type":"drain-host","bytes":"e30=","state":1,'
    '"args":{"count":3,"host":"a","nested":{"a":true,"b":[1.5,null]}},"retry":1,'
    '"retryWait":"1m30s","sequenceId":"zzzz","sequenceRetry":0,"path":"drain a"},'
    '"zzzz":{"id":"zzzz","name":"request_drain_begin","type":"noop","state":1,"retry":0,'
    '"sequenceId":"zzzz","sequenceRetry":2,"sequenceRetryWait":"0s","path":"(begin)"}},'
    '"adjacencyList":{"zzzz":["aaaa"]},"state":1,"finishedJobs":0}'
)


def an_entry(job_id: str = "aaaa", try_: int = 1) -> job_log_pb2.JobLog:
    entry = job_log_pb2.JobLog(
        request_id=ID,
        job_id=job_id,
        name="drain",
        type="drain-host",
        started_at=Timestamp(seconds=1_800_000_001, nanos=7),
        finished_at=Timestamp(seconds=1_800_000_002, nanos=8),
        state=state_pb2.STATE_FAIL,
        exit=-1,
        error="no & never",
        stdout="out\n",
        stderr='"err"',
        epoch=1,
        position=4,
        path="drain a",
    )
    entry.try_number = try_
    return entry


def entry_json(job_id: str = "aaaa", try_: int = 1) -> str:
    return (
        f'{{"requestId":"{ID}","jobId":"{job_id}","try":{try_},"name":"drain",'
        '"type":"drain-host","startedAt":1800000001000000007,"finishedAt":1800000002000000008,'
        '"state":4,"exit":-1,"error":"no \\u0026 never","stdout":"out\\n","stderr":"\\"err\\"",'
        '"path":"drain a"}'
    )


def a_status() -> status_pb2.JobStatus:
    status = status_pb2.JobStatus(
        request_id=ID,
        job_id="aaaa",
        type="drain-host",
        name="drain",
        started_at=Timestamp(seconds=1_800_000_001, nanos=7),
        state=state_pb2.STATE_RUNNING,
        status="draining",
        path="drain a",
    )
    status.try_number = 2
    return status


STATUS = (
    f'{{"requestId":"{ID}","jobId":"aaaa","type":"drain-host","name":"drain",'
    '"startedAt":1800000001000000007,"state":2,"status":"draining","try":2,"path":"drain a"}'
)
