from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from tests.conformance import samples
from tests.conformance.conftest import Stack
from tests.conformance.samples import ID

from spincycle import errors
from spincycle.internal.v1 import runner_coordination_service_pb2 as coordination_pb2
from spincycle.rpc.status import to_message
from spincycle.v1 import request_manager_service_pb2 as rm
from spincycle.v1 import request_report_pb2, state_pb2

JSON = {"Content-Type": "application/json"}
ONE = f"/api/v1/requests/{ID}"


def refusing(error: errors.SpinCycleError) -> coordination_pb2.ReportResponse:
    result = coordination_pb2.ReportResult(request_id=ID, refused=to_message(error))
    return coordination_pb2.ReportResponse(results=[result])


TAKEN = coordination_pb2.ReportResponse(results=[coordination_pb2.ReportResult(request_id=ID)])


@pytest.fixture(autouse=True)
def running(stack: Stack) -> None:
    """The request runs on a runner, under an epoch that the original's runners do not know."""
    request = samples.a_request(state_pb2.STATE_RUNNING)
    request.runner_id, request.epoch = "jr", 4
    stack.manager.respond(Get=rm.GetResponse(request=request))


async def test_a_finish_applies_to_the_request_of_the_path(stack: Stack) -> None:
    stack.manager.respond(Finish=coordination_pb2.FinishResponse())

    answer = await stack.legacy_http.put(
        ONE + "/finish",
        headers=JSON,
        content=b'{"requestId":"other","state":3,"finishedAt":"2026-01-01T00:00:00.5Z",'
        b'"finishedJobs":4}',
    )

    assert answer.status_code == 200
    assert answer.content == b""
    assert "content-type" not in answer.headers
    assert stack.manager.last("Finish") == request_report_pb2.FinishRequest(
        request_id=ID,
        state=state_pb2.STATE_COMPLETE,
        finished_at=Timestamp(seconds=1_767_225_600, nanos=500_000_000),
        finished_jobs=4,
        epoch=4,
    )


async def test_a_finish_of_a_request_that_has_ended_is_a_conflict(stack: Stack) -> None:
    stack.manager.respond(Get=rm.GetResponse(request=samples.a_request()))

    answer = await stack.legacy_http.put(ONE + "/finish", headers=JSON, content=b'{"state":3}')

    assert answer.status_code == 409
    assert answer.json() == {
        "message": "request in state COMPLETE, expected state RUNNING",
        "requestId": ID,
        "httpStatus": 409,
    }


async def test_a_finish_with_an_invalid_time_is_rejected(stack: Stack) -> None:
    answer = await stack.legacy_http.put(
        ONE + "/finish", headers=JSON, content=b'{"finishedAt":"yesterday"}'
    )

    assert answer.status_code == 400
    assert answer.json() == {
        "message": 'parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": '
        'cannot parse "yesterday" as "2006"'
    }


async def test_a_suspended_chain_is_reported_whole(stack: Stack) -> None:
    stack.manager.respond(Report=TAKEN)

    answer = await stack.legacy_http.put(
        ONE + "/suspend",
        headers=JSON,
        content=f'{{"requestId":"{ID}","jobChain":{samples.CHAIN},"totalJobTries":{{"aaaa":3}},'
        '"latestRunJobTries":{"aaaa":1},"sequenceTries":{"zzzz":2}}',
    )

    assert answer.status_code == 200
    assert answer.content == b""
    report = stack.manager.last("Report")
    saved = report.reports[0].suspended
    assert (report.runner_id, saved.epoch) == ("jr", 4)
    assert saved.request_id == ID
    assert dict(saved.total_job_tries) == {"aaaa": 3}
    assert dict(saved.latest_run_job_tries) == {"aaaa": 1}
    assert dict(saved.sequence_tries) == {"zzzz": 2}
    expected = samples.a_chain()
    expected.jobs.sort(key=lambda job: job.id)
    for job in expected.jobs:
        job.structural = False
    assert saved.job_chain == expected


async def test_nulls_in_a_suspended_chain_are_empty(stack: Stack) -> None:
    stack.manager.respond(Report=TAKEN)

    answer = await stack.legacy_http.put(
        ONE + "/suspend",
        headers=JSON,
        content=f'{{"requestId":"{ID}","jobChain":{{"requestId":"{ID}","jobs":{{"aaaa":'
        '{"id":"aaaa","bytes":null,"args":null,"data":null},"bbbb":null},"adjacencyList":null},'
        '"totalJobTries":null}',
    )

    assert answer.status_code == 200
    saved = stack.manager.last("Report").reports[0].suspended
    assert [job.id for job in saved.job_chain.jobs] == ["aaaa", "bbbb"]
    assert not saved.total_job_tries


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            '{"requestId":"other","jobChain":{}}',
            "invalid proto.SuspendedJobChain: RequestId=other does not match request ID in URL: "
            + ID,
        ),
        ('{"jobChain":null}', "invalid proto.SuspendedJobChain: jobChain must be set"),
    ],
)
async def test_an_invalid_suspended_chain_is_rejected(
    stack: Stack, body: str, message: str
) -> None:
    answer = await stack.legacy_http.put(ONE + "/suspend", headers=JSON, content=body)

    assert answer.status_code == 400
    assert answer.json() == {"message": message, "requestId": "", "httpStatus": 400}


async def test_a_late_suspension_is_a_conflict(stack: Stack) -> None:
    stack.manager.respond(Report=refusing(errors.InvalidState(ID, "FAIL", "RUNNING")))

    answer = await stack.legacy_http.put(ONE + "/suspend", headers=JSON, content='{"jobChain":{}}')

    assert answer.status_code == 409


async def test_progress_returns_null(stack: Stack) -> None:
    stack.manager.respond(Report=TAKEN)

    answer = await stack.legacy_http.put(
        ONE + "/progress", headers=JSON, content=f'{{"requestId":"{ID}","finishedJobs":7}}'
    )

    assert answer.status_code == 200
    assert answer.text == "null\n"
    assert answer.headers["content-type"] == "application/json"
    progress = stack.manager.last("Report").reports[0].progress
    assert (progress.request_id, progress.finished_jobs, progress.epoch) == (ID, 7, 4)


@pytest.mark.parametrize(
    "error", [errors.RequestNotFound(ID), errors.InvalidState(ID, "COMPLETE", "RUNNING")]
)
async def test_progress_of_a_request_that_is_not_running_is_ignored(
    stack: Stack, error: errors.SpinCycleError
) -> None:
    stack.manager.respond(Get=error, Report=refusing(error))

    answer = await stack.legacy_http.put(
        ONE + "/progress", headers=JSON, content=f'{{"requestId":"{ID}"}}'
    )

    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{}", "invalid proto.StatusProgress: RequestId is empty, must be set"),
        (
            '{"requestId":"a"}',
            f"invalid proto.StatusProgress: RequestId=a does not match request ID in URL: {ID}",
        ),
    ],
)
async def test_progress_must_be_of_the_request_of_the_path(
    stack: Stack, body: str, message: str
) -> None:
    answer = await stack.legacy_http.put(ONE + "/progress", headers=JSON, content=body)

    assert answer.status_code == 400
    assert answer.json() == {"message": message, "requestId": "", "httpStatus": 400}
