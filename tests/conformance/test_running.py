from __future__ import annotations

from tests.conformance import samples
from tests.conformance.conftest import Stack
from tests.conformance.samples import ID

from spincycle.runtime.version import VERSION
from spincycle.v1 import request_manager_service_pb2 as rm
from spincycle.v1 import state_pb2, status_pb2

RUNNING = "/api/v1/status/running"


async def test_running_jobs_come_with_their_requests(stack: Stack) -> None:
    request = samples.a_request(state_pb2.STATE_RUNNING)
    status = status_pb2.RunningStatus(jobs=[samples.a_status()], requests={ID: request})
    stack.manager.respond(
        ListRunningJobs=rm.ListRunningJobsResponse(status=status, has_running_requests=True)
    )

    answer = await stack.http.get(RUNNING, params={"requestId": ID, "orderBy": "starttime"})

    assert answer.status_code == 200
    assert answer.text == (
        f'{{"jobs":[{samples.STATUS}],"requests":{{"{ID}":{{"id":"{ID}","type":"drain",'
        '"state":2,"user":"dana","createdAt":"2027-01-15T08:00:00.12Z",'
        '"startedAt":"2027-01-15T08:00:01Z","finishedAt":null,"totalJobs":3,'
        '"finishedJobs":1}}}\n'
    )
    assert stack.manager.last("ListRunningJobs").filter.request_id == ID


async def test_no_running_request_is_null(stack: Stack) -> None:
    stack.manager.respond(ListRunningJobs=rm.ListRunningJobsResponse())

    answer = await stack.http.get(RUNNING)

    assert answer.text == '{"jobs":null,"requests":null}\n'


async def test_no_running_job_of_a_running_request_is_empty(stack: Stack) -> None:
    stack.manager.respond(ListRunningJobs=rm.ListRunningJobsResponse(has_running_requests=True))

    answer = await stack.http.get(RUNNING)

    assert answer.text == '{"jobs":[],"requests":{}}\n'


async def test_the_version_is_plain_text(stack: Stack) -> None:
    answer = await stack.http.get("/version")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; charset=UTF-8"
    assert answer.text == VERSION


async def test_a_limit_is_forwarded_and_an_invalid_one_rejected(stack: Stack) -> None:
    stack.manager.respond(ListRunningJobs=rm.ListRunningJobsResponse())

    await stack.http.get(RUNNING, params={"limit": "100"})
    assert stack.manager.last("ListRunningJobs").filter.limit == 100

    refused = await stack.http.get(RUNNING, params={"limit": "many"})
    assert refused.status_code == 400
    assert "limit" in refused.json()["message"]
