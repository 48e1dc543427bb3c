from __future__ import annotations

import pytest
from tests.conformance import samples
from tests.conformance.conftest import Stack
from tests.conformance.samples import ID

from spincycle import errors
from spincycle.internal.v1 import job_runner_service_pb2 as jr
from spincycle.rpc.status import to_message
from spincycle.runtime.version import VERSION

JSON = {"Content-Type": "application/json"}
CHAINS = "/api/v1/job-chains"
SAVED = f'{{"requestId":"{ID}","jobChain":{samples.CHAIN},"sequenceTries":{{"zzzz":1}}}}'


def refusal(error: errors.SpinCycleError) -> jr.Refusal:
    return jr.Refusal(request_id=ID, error=to_message(error))


@pytest.fixture(autouse=True)
def runner(stack: Stack) -> None:
    """The gateway reads the runner's id before it sends a chain."""
    stack.runner.respond(ListRunning=jr.ListRunningResponse(runner_id="jr"))


async def test_an_accepted_chain_returns_its_location_on_this_listener(
    stack: Stack,
) -> None:
    stack.runner.respond(RunChains=jr.RunChainsResponse())

    answer = await stack.runner_http.post(CHAINS, headers=JSON, content=samples.CHAIN)

    assert answer.status_code == 200
    assert answer.content == b""
    assert answer.headers["location"] == f"http://{stack.gateway.runner_address}{CHAINS}/{ID}"
    assert answer.headers["x-spincycle-version"] == VERSION
    assert stack.runner.last("RunChains").runner_id == "jr"
    chain = stack.runner.last("RunChains").assignments[0].job_chain
    assert chain.request_id == ID
    assert {job.id for job in chain.jobs} == {"aaaa", "zzzz"}


async def test_a_suspended_chain_resumes(stack: Stack) -> None:
    stack.runner.respond(ResumeChains=jr.ResumeChainsResponse())

    answer = await stack.runner_http.post(CHAINS + "/resume", headers=JSON, content=SAVED)

    assert answer.status_code == 200
    assert answer.headers["location"].endswith(f"{CHAINS}/{ID}")
    saved = stack.runner.last("ResumeChains").suspended_job_chains[0]
    assert dict(saved.sequence_tries) == {"zzzz": 1}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.InvalidChain(ID, "chain is cyclic"), 400),
        (errors.RunnerDraining(), 503),
        (errors.RunnerFull(3), 503),
        (errors.StaleEpoch(ID, 0, 2), 409),
    ],
)
@pytest.mark.parametrize(("path", "body"), [("", samples.CHAIN), ("/resume", SAVED)])
async def test_a_rejected_chain_returns_a_message_alone(
    stack: Stack, error: errors.SpinCycleError, status: int, path: str, body: str
) -> None:
    stack.runner.respond(
        RunChains=jr.RunChainsResponse(refusals=[refusal(error)]),
        ResumeChains=jr.ResumeChainsResponse(refusals=[refusal(error)]),
    )

    answer = await stack.runner_http.post(CHAINS + path, headers=JSON, content=body)

    assert answer.status_code == status
    assert answer.json() == {"message": error.message}


async def test_a_suspended_chain_without_a_chain_is_rejected(stack: Stack) -> None:
    answer = await stack.runner_http.post(
        CHAINS + "/resume", headers=JSON, content='{"jobChain":null}'
    )

    assert answer.status_code == 400
    assert answer.json() == {"message": "invalid proto.SuspendedJobChain: jobChain must be set"}


async def test_a_wrong_type_deep_in_a_chain_is_named_by_its_path(stack: Stack) -> None:
    body = '{"jobs":{"a":{"id":"a","retry":"3"}}}'

    answer = await stack.runner_http.post(CHAINS, headers=JSON, content=body)

    assert answer.status_code == 400
    assert answer.json() == {
        "message": "Unmarshal type error: expected=uint, got=string, field=jobs.retry, offset=34"
    }


async def test_a_chain_is_stopped(stack: Stack) -> None:
    stack.runner.respond(StopChains=jr.StopChainsResponse())

    answer = await stack.runner_http.put(f"{CHAINS}/{ID}/stop")

    assert answer.status_code == 200
    assert answer.content == b""
    assert stack.runner.last("StopChains").request_ids == [ID]


async def test_an_unknown_chain_cannot_be_stopped(stack: Stack) -> None:
    stack.runner.respond(StopChains=jr.StopChainsResponse(unknown_request_ids=[ID]))

    answer = await stack.runner_http.put(f"{CHAINS}/{ID}/stop")

    assert answer.status_code == 404
    assert answer.text == '{"message":"traverser not found"}\n'


async def test_running_jobs_are_a_list(stack: Stack) -> None:
    stack.runner.respond(ListRunning=jr.ListRunningResponse(jobs=[samples.a_status()]))

    answer = await stack.runner_http.get("/api/v1/status/running", params={"requestId": ID})

    assert answer.status_code == 200
    assert answer.text == f"[{samples.STATUS}]\n"
    assert stack.runner.last("ListRunning").filter.request_id == ID


async def test_no_running_job_is_an_empty_list(stack: Stack) -> None:
    stack.runner.respond(ListRunning=jr.ListRunningResponse())

    answer = await stack.runner_http.get("/api/v1/status/running")

    assert answer.text == "[]\n"


async def test_a_dead_runner_is_503_with_a_message_alone(stack: Stack) -> None:
    await stack.runner.stop()

    answer = await stack.runner_http.put(f"{CHAINS}/{ID}/stop")

    assert answer.status_code == 503
    assert answer.json().keys() == {"message"}


async def test_the_listener_of_a_runner_has_no_other_routes(stack: Stack) -> None:
    version = await stack.runner_http.get("/version")
    requests = await stack.runner_http.get("/api/v1/requests")

    assert version.text == VERSION
    assert requests.status_code == 404
    assert (await stack.http.post(CHAINS)).status_code == 404
