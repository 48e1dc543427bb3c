"""Every example in docs/reference/rest.md, made as it stands there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from tests.conformance import samples
from tests.conformance.conftest import Stack
from tests.conformance.samples import ID

from spincycle import errors
from spincycle.internal.v1 import job_runner_service_pb2 as jr
from spincycle.internal.v1 import journal_service_pb2 as journal_pb2
from spincycle.internal.v1 import runner_coordination_service_pb2 as coordination_pb2
from spincycle.runtime.version import VERSION
from spincycle.v1 import (
    access_service_pb2,
    audit_service_pb2,
    job_output_pb2,
    plan_pb2,
    request_event_pb2,
    spec_pb2,
    spec_service_pb2,
    state_pb2,
    status_pb2,
    waiting_pb2,
)
from spincycle.v1 import job_log_service_pb2 as jl
from spincycle.v1 import request_manager_service_pb2 as rm

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "rest.md"
UNKNOWN = "d000000000000000zzzz"
END_EVENT = "event: end\ndata: {}"


class Example(NamedTuple):
    request: str
    answered: str

    @property
    def method(self) -> str:
        return self.request.split(" ", 1)[0]

    @property
    def path(self) -> str:
        return self.request.splitlines()[0].split(" ", 1)[1]


def examples() -> list[Example]:
    blocks = re.findall(r"```http\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    return [Example(*pair) for pair in zip(blocks[::2], blocks[1::2], strict=True)]


def headers_and_body(block: str) -> tuple[dict[str, str], str]:
    head, _, body = block.partition("\n\n")
    return dict(line.split(": ", 1) for line in head.splitlines()[1:]), body


def answers_of(stack: Stack) -> None:
    """What the services behind the examples answer."""
    pending = samples.with_args(samples.a_request(state_pb2.STATE_PENDING))
    running = samples.a_request(state_pb2.STATE_RUNNING)
    complete = samples.with_args(samples.a_request())
    complete.job_chain.CopyFrom(samples.a_chain())
    suspended = samples.a_request(state_pb2.STATE_SUSPENDED)
    suspended.state_message = "suspended by dana: maintenance"
    again = samples.a_request(state_pb2.STATE_PENDING, "d0000000000000000002")
    spec = spec_pb2.RequestSpec(name="drain")
    spec.args.add(name="host", desc="which one", kind="required")
    finding = spec_pb2.Finding(
        code="unknown-dep",
        severity=spec_pb2.FINDING_SEVERITY_ERROR,
        message='no node "restrat" in this sequence (did you mean "restart"?)',
        file="restart.yaml",
        line=41,
        column=14,
        sequence="restart-host",
        node="wait-healthy",
        field="deps",
        values=["restrat"],
    )
    waiting = waiting_pb2.WaitingJob(
        job_id="aaaa",
        name="drain",
        reason=waiting_pb2.WAIT_REASON_PARENTS,
        message="waits for request_drain_begin",
        waits_for_job_ids=["zzzz"],
        path="drain a",
    )
    plan = plan_pb2.Plan(
        type="drain",
        args=pending.args,
        job_chain=samples.a_chain(),
        plan_hash="5f0c",
        specs_hash="a91e",
        total_jobs=2,
        work_jobs=1,
        widest=1,
        depth=2,
    )
    event = request_event_pb2.RequestEvent(
        request_id=ID,
        revision=f"{9:019d}",
        cursor="9",
        occurred_at=samples.FINISHED,
        request=samples.a_request(),
    )

    piece = job_output_pb2.JobOutput(
        request_id=ID,
        job_id="A001",
        name="wait-drained",
        stream=job_output_pb2.OUTPUT_STREAM_STDOUT,
        data=b"12 connections left\n",
        path="drain a / wait-drained",
    )
    piece.try_number = 1
    printed = request_event_pb2.RequestEvent(
        request_id=ID, revision=f"{8:019d}", cursor="8", occurred_at=samples.STARTED, output=piece
    )

    def get(request: rm.GetRequest) -> rm.GetResponse | errors.RequestNotFound:
        if request.request_id == UNKNOWN:
            return errors.RequestNotFound(UNKNOWN)
        return rm.GetResponse(request=complete)

    stack.manager.respond(
        Create=rm.CreateResponse(request=pending),
        List=rm.ListResponse(requests=[running], next_page_token="b2Zmc2V0"),
        Get=get,
        GetJobChain=rm.GetJobChainResponse(job_chain=samples.a_chain()),
        Start=errors.InvalidState(ID, "RUNNING", "PENDING"),
        Stop=rm.StopResponse(request=running),
        ListSpecs=spec_service_pb2.ListSpecsResponse(specs=[spec]),
        ListRunningJobs=rm.ListRunningJobsResponse(
            status=status_pb2.RunningStatus(jobs=[samples.a_status()], requests={ID: running}),
            has_running_requests=True,
        ),
        Finish=coordination_pb2.FinishResponse(),
        Report=coordination_pb2.ReportResponse(
            results=[coordination_pb2.ReportResult(request_id=ID)]
        ),
        Plan=rm.PlanResponse(plan=plan),
        Explain=rm.ExplainResponse(state=state_pb2.STATE_RUNNING, jobs=[waiting]),
        Suspend=rm.SuspendResponse(request=suspended),
        Resume=rm.ResumeResponse(request=running),
        Rerun=rm.RerunResponse(request=again),
        Skip=rm.SkipResponse(request=again),
        WhoAmI=access_service_pb2.WhoAmIResponse(
            name="dana", roles=["ops"], authenticator="token-file"
        ),
        CheckAccess=access_service_pb2.CheckAccessResponse(
            rule="no-operation",
            message="you may not start drain: no role of the caller has the operation",
            granting_roles=["lead", "admin"],
        ),
        ListAudit=audit_service_pb2.ListAuditResponse(entries=[_audited()]),
        Lint=spec_service_pb2.LintResponse(findings=[finding]),
        ReloadSpecs=spec_service_pb2.ReloadSpecsResponse(specs_hash="a91e"),
        Watch=lambda request: [
            rm.WatchResponse(events=[printed, event] if request.include_live_output else [event])
        ],
    )
    stack.log.respond(
        ListEntries=jl.ListEntriesResponse(entries=[samples.an_entry()]),
        GetEntry=jl.GetEntryResponse(entry=samples.an_entry()),
        Append=journal_pb2.AppendResponse(batch=1),
    )
    stack.runner.respond(
        RunChains=jr.RunChainsResponse(),
        ResumeChains=jr.ResumeChainsResponse(),
        StopChains=jr.StopChainsResponse(),
        ListRunning=jr.ListRunningResponse(jobs=[samples.a_status()], runner_id="jr"),
    )


async def send(stack: Stack, example: Example) -> httpx.Response:
    headers, body = headers_and_body(example.request)
    to_runner = example.path.startswith("/api/v1/job-chains")
    client = stack.runner_http if to_runner else stack.legacy_http
    if example.method == "PUT" and example.path.rpartition("/")[2] in {"finish", "suspend"}:
        running = samples.a_request(state_pb2.STATE_RUNNING)
        stack.manager.respond(Get=rm.GetResponse(request=running))
    return await client.request(example.method, example.path, headers=headers, content=body.strip())


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.request.splitlines()[0])
async def test_an_example_returns_what_the_page_shows(stack: Stack, example: Example) -> None:
    answers_of(stack)

    answer = await send(stack, example)

    headers, body = headers_and_body(example.answered)
    status = example.answered.splitlines()[0]
    assert f"{answer.status_code} {answer.reason_phrase}" == status
    for name, value in headers.items():
        value = value.replace("127.0.0.1:32307", stack.gateway.runner_address)
        assert answer.headers[name] == value
    if answer.headers.get("content-type") == "application/json" and "…" not in body:
        assert answer.json() == json.loads(body)
    elif "…" in body:
        assert set(re.findall(r'^  "(\w+)"', body, re.MULTILINE)) == answer.json().keys()
    else:
        text = answer.text.strip()
        if example.path.startswith("/api/v1/events"):
            # The stand-in's stream ends; that of a service lasts until the client leaves.
            text = text.removesuffix(END_EVENT).strip()
        assert text == body.strip().replace("VERSION", VERSION)


async def test_every_route_has_an_example(stack: Stack) -> None:
    shown = {(example.method, example.path.partition("?")[0]) for example in examples()}
    for route in stack.gateway.router.routes:
        pattern = re.sub(r"{\w+}", "[^/]+", route.path)
        assert any(
            method == route.method and re.fullmatch(pattern, path) for method, path in shown
        ), f"{route.method} {route.path}"


def _audited() -> audit_service_pb2.AuditEntry:
    entry = audit_service_pb2.AuditEntry(
        id=7,
        caller="dana",
        authenticator="token-file",
        roles=["ops"],
        peer="127.0.0.1:51514",
        operation="stop",
        request_type="drain",
        request_id="dc2c0938di121n1t4i90",
        reason="stopped by dana: wrong host",
        allowed=True,
        rule="acl",
        call_id="c0ffee0100000007",
    )
    entry.occurred_at.FromJsonString("2026-12-01T10:00:00.25Z")
    return entry
