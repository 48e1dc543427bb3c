from __future__ import annotations

import json
from typing import Any

import pytest
from tests.conformance import samples
from tests.conformance.conftest import Stack
from tests.conformance.samples import ID

from spincycle import errors
from spincycle.v1 import plan_pb2, spec_pb2, spec_service_pb2, state_pb2, waiting_pb2
from spincycle.v1 import request_manager_service_pb2 as rm

JSON = {"Content-Type": "application/json"}
ONE = f"/api/v1/requests/{ID}"


async def test_a_plan_shows_the_chain_and_its_hash(stack: Stack) -> None:
    plan = plan_pb2.Plan(
        type="drain",
        job_chain=samples.a_chain(),
        plan_hash="h1",
        specs_hash="s1",
        total_jobs=2,
        work_jobs=1,
        widest=1,
        depth=2,
    )
    stack.manager.respond(Plan=rm.PlanResponse(plan=plan))

    answer = await stack.http.post(
        "/api/v1/plans", headers=JSON, content='{"type":"drain","args":{"host":"a"}}'
    )

    assert answer.status_code == 200
    assert answer.json() == {
        "type": "drain",
        "args": [],
        "jobChain": json.loads(samples.CHAIN),
        "hash": "h1",
        "specRevision": "s1",
        "totalJobs": 2,
        "workJobs": 1,
        "widest": 1,
        "depth": 2,
    }
    assert dict(stack.manager.last("Plan").args) == {"host": "a"}


async def test_a_create_can_insist_on_a_plan(stack: Stack) -> None:
    stack.manager.respond(Create=errors.PlanChanged("h1", "h2"))

    answer = await stack.http.post(
        "/api/v1/requests",
        headers=JSON,
        content='{"type":"drain","expectedPlanHash":"h1","priority":-5,"idempotencyKey":"k"}',
    )

    assert answer.status_code == 409
    message = stack.manager.last("Create")
    assert (message.expected_plan_hash, message.priority, message.idempotency_key) == (
        "h1",
        -5,
        "k",
    )


async def test_an_explanation_names_what_each_job_waits_for(stack: Stack) -> None:
    waiting = waiting_pb2.WaitingJob(
        job_id="aaaa",
        name="drain",
        reason=waiting_pb2.WAIT_REASON_RETRY_WAIT,
        message="waits for its next try",
        waits_for_job_ids=["zzzz"],
        until=samples.FINISHED,
        path="drain a",
    )
    stack.manager.respond(
        Explain=rm.ExplainResponse(state=state_pb2.STATE_RUNNING, message="", jobs=[waiting])
    )

    answer = await stack.http.get(ONE + "/explain?jobId=aaaa&jobId=bbbb")

    assert stack.manager.last("Explain") == rm.ExplainRequest(
        request_id=ID, job_ids=["aaaa", "bbbb"]
    )
    assert answer.json() == {
        "state": 2,
        "waitsFor": "",
        "jobs": [
            {
                "jobId": "aaaa",
                "name": "drain",
                "reason": "RETRY_WAIT",
                "message": "waits for its next try",
                "waitsForJobIds": ["zzzz"],
                "until": "2027-01-15T08:00:02.000000001Z",
                "path": "drain a",
            }
        ],
    }


@pytest.mark.parametrize(
    ("verb", "body", "message"),
    [
        ("suspend", '{"reason":"lunch"}', rm.SuspendRequest(request_id=ID, reason="lunch")),
        ("suspend", "", rm.SuspendRequest(request_id=ID)),
        ("resume", "", rm.ResumeRequest(request_id=ID)),
    ],
)
async def test_suspend_and_resume_return_the_request(
    stack: Stack, verb: str, body: str, message: Any
) -> None:
    request = samples.a_request(state_pb2.STATE_SUSPENDED)
    request.state_message = "suspended by dana"
    stack.manager.respond(
        Suspend=rm.SuspendResponse(request=request), Resume=rm.ResumeResponse(request=request)
    )

    answer = await stack.http.post(f"{ONE}/{verb}", headers=JSON, content=body)

    assert answer.status_code == 200
    assert answer.json()["state"] == 7
    assert answer.json()["reason"] == "suspended by dana"
    assert stack.manager.last(verb.capitalize()) == message


@pytest.mark.parametrize(
    ("verb", "body", "message"),
    [
        (
            "rerun",
            '{"jobIds":["aaaa"]}',
            rm.RerunRequest(request_id=ID, job_ids=["aaaa"], idempotency_key="k"),
        ),
        (
            "rerun",
            '{"allowConcurrent":true}',
            rm.RerunRequest(request_id=ID, idempotency_key="k", allow_concurrent=True),
        ),
        (
            "skip",
            '{"jobId":"aaaa","reason":"done by hand","allowConcurrent":true}',
            rm.SkipRequest(
                request_id=ID,
                job_ids=["aaaa"],
                reason="done by hand",
                idempotency_key="k",
                allow_concurrent=True,
            ),
        ),
        (
            "skip",
            '{"jobId":"aaaa","reason":"done by hand"}',
            rm.SkipRequest(
                request_id=ID, job_ids=["aaaa"], reason="done by hand", idempotency_key="k"
            ),
        ),
    ],
)
async def test_rerun_and_skip_create_a_request(
    stack: Stack, verb: str, body: str, message: Any
) -> None:
    request = samples.a_request(state_pb2.STATE_PENDING, "d0000000000000000002")
    stack.manager.respond(
        Rerun=rm.RerunResponse(request=request), Skip=rm.SkipResponse(request=request)
    )

    answer = await stack.http.post(
        f"{ONE}/{verb}", headers={**JSON, "Idempotency-Key": "k"}, content=body
    )

    assert answer.status_code == 201
    assert answer.headers["location"] == "/api/v1/requests/d0000000000000000002"
    assert answer.json()["id"] == "d0000000000000000002"
    assert stack.manager.last(verb.capitalize()) == message


async def test_a_skip_needs_a_reason(stack: Stack) -> None:
    answer = await stack.http.post(ONE + "/skip", headers=JSON, content='{"jobId":"aaaa"}')

    assert answer.status_code == 400
    assert answer.json()["message"] == "jobId and reason must be given"


async def test_findings_of_specs_say_where(stack: Stack) -> None:
    finding = spec_pb2.Finding(
        code="unknown-dep",
        severity=spec_pb2.FINDING_SEVERITY_ERROR,
        message='no node "x"',
        file="a.yaml",
        line=3,
        column=7,
        sequence="s",
        node="n",
        field="deps",
        values=["x"],
    )
    stack.manager.respond(
        Lint=spec_service_pb2.LintResponse(findings=[finding]),
        ReloadSpecs=spec_service_pb2.ReloadSpecsResponse(specs_hash="s2", changed=True),
    )

    linted = await stack.http.post(
        "/api/v1/lint", headers=JSON, content='{"files":[{"path":"a.yaml","content":"x"}]}'
    )
    reloaded = await stack.http.post("/api/v1/specs/reload", headers=JSON)

    assert linted.json()["findings"][0] == {
        "code": "unknown-dep",
        "severity": "ERROR",
        "message": 'no node "x"',
        "file": "a.yaml",
        "line": 3,
        "column": 7,
        "sequence": "s",
        "node": "n",
        "field": "deps",
        "values": ["x"],
    }
    assert stack.manager.last("Lint").files[0].content == "x"
    assert reloaded.json() == {"specRevision": "s2", "changed": True, "findings": []}


async def test_a_method_that_a_service_lacks_is_501(stack: Stack) -> None:
    missing = errors.RemoteError("not here", reason="X", code="UNIMPLEMENTED", http=501)
    stack.manager.respond(Explain=missing)

    answer = await stack.http.get(ONE + "/explain")

    assert answer.status_code == 501
    assert answer.json()["httpStatus"] == 501
