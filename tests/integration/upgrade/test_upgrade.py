"""A database of an old version, in the middle of its work, goes on under the current version."""

from __future__ import annotations

import asyncio
import sysconfig
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import httpx
import pytest
from google.protobuf.json_format import MessageToJson
from tests.integration.upgrade.conftest import REPOSITORY, Upgraded
from tests.program_output import run_program
from tests.upgrade.jobs import LARGE, LARGER
from tests.upgrade.marks import END, START
from tests.upgrade.recording import JOBS, SPECS, Expected, read_recording

from spincycle.dev.identity_tokens import SEALING_KEYS
from spincycle.model.state import State
from spincycle.rpc.limits import REASON_BYTES
from spincycle.v1 import job_log_service_pb2
from spincycle.v1 import request_manager_service_pb2 as rpc

RECORDING = read_recording()
REQUESTS = RECORDING.requests
LIVE, ENDED = sorted(RECORDING.live), sorted(RECORDING.ended)

WITH_NUMBERS = sorted(name for name in REQUESTS if REQUESTS[name].large)
SECRET = sorted(name for name in REQUESTS if REQUESTS[name].secret)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("name", LIVE)
async def test_a_live_request_ends_as_its_recording_expects(upgraded: Upgraded, name: str) -> None:
    assert await upgraded.states(name) == {name: State[REQUESTS[name].final]}


@pytest.mark.parametrize("name", ENDED)
async def test_an_ended_request_keeps_its_state_and_runs_nothing(
    upgraded: Upgraded, name: str
) -> None:
    assert await upgraded.states(name) == {name: State[REQUESTS[name].state]}
    assert upgraded.marks(REQUESTS[name].request_id) == []


@pytest.mark.parametrize("name", LIVE)
async def test_only_steps_that_were_not_complete_run_after_the_upgrade(
    upgraded: Upgraded, name: str
) -> None:
    expected = REQUESTS[name]
    marks = upgraded.marks(expected.request_id)

    assert Counter(mark.step for mark in marks if mark.event == END) == Counter(expected.left)
    assert {mark.step for mark in marks} == set(expected.left)


@pytest.mark.parametrize("name", LIVE)
async def test_an_interrupted_step_is_tried_again_under_the_next_try_number(
    upgraded: Upgraded, name: str
) -> None:
    expected = REQUESTS[name]
    first: dict[str, int] = {}
    for mark in upgraded.marks(expected.request_id):
        if mark.event == START:
            first.setdefault(mark.step, mark.try_number)

    assert first == {step: expected.tries.get(step, 0) + 1 for step in expected.left}


async def test_a_job_that_must_not_be_repeated_fails_because_its_runner_died(
    upgraded: Upgraded,
) -> None:
    paying = REQUESTS["paying"]

    request = (await upgraded.requests.Get(rpc.GetRequest(request_id=paying.request_id))).request
    last = (await entries(upgraded, paying))[-1]

    assert "interrupted: the runner ended during this try" in request.state_message
    assert (last.name, last.state) == ("transfer", State.FAIL)


async def test_jobs_of_a_chain_from_before_there_were_paths_go_by_their_names(
    upgraded: Upgraded,
) -> None:
    paying = REQUESTS["paying"]
    get = rpc.GetJobChainRequest(request_id=paying.request_id)

    request = (await upgraded.requests.Get(rpc.GetRequest(request_id=paying.request_id))).request
    chain = (await upgraded.requests.GetJobChain(get)).job_chain
    read = await entries(upgraded, paying)

    assert {job.path for job in chain.jobs} == {entry.path for entry in read} == {""}
    assert request.state_message.startswith(f"job transfer ({read[-1].job_id}) failed: ")


@pytest.mark.parametrize("name", sorted(REQUESTS))
async def test_the_journal_goes_on_after_its_recorded_entries(
    upgraded: Upgraded, name: str
) -> None:
    expected = REQUESTS[name]

    read = await entries(upgraded, expected)

    recorded = [list(fields) for fields in expected.journal]
    assert [
        [entry.job_id, entry.name, entry.state, entry.exit, entry.error, entry.stdout, entry.stderr]
        for entry in read[: len(recorded)]
    ] == recorded
    assert [entry.position for entry in read] == list(range(1, len(read) + 1))
    assert (len(read) > len(recorded)) == (name in LIVE)


async def test_jobs_get_the_data_that_others_left_before_the_upgrade(upgraded: Upgraded) -> None:
    read = await entries(upgraded, REQUESTS["suspended"])

    data = next(entry.data for entry in read if entry.name == "finish")
    assert set(data) == set(REQUESTS["complete"].ran)
    assert list(data["probe"]["notes"]) == [None, True, 1.5, "größer"]


@pytest.mark.parametrize("name", sorted(REQUESTS))
async def test_a_request_is_read_over_grpc_with_its_chain(upgraded: Upgraded, name: str) -> None:
    expected = REQUESTS[name]
    call = rpc.GetRequest(request_id=expected.request_id, include_job_chain=True)

    request = (await upgraded.requests.Get(call)).request

    assert (request.type, State(request.state)) == (expected.type, State[expected.final])
    assert (request.priority, request.rerun_of_request_id) == (expected.priority, expected.rerun_of)
    assert request.state_message.startswith(expected.reason)
    assert len(request.job_chain.jobs) == request.total_jobs
    assert not request.HasField("error")
    if State(request.state) is State.COMPLETE:
        assert request.finished_jobs == request.total_jobs


@pytest.mark.parametrize("name", sorted(REQUESTS))
async def test_an_archived_chain_is_read_in_parts(upgraded: Upgraded, name: str) -> None:
    request_id = REQUESTS[name].request_id
    (row,) = await upgraded.fetch(
        "SELECT total_jobs FROM request_manager.requests WHERE request_id = $1", request_id
    )

    call = rpc.StreamJobChainRequest(request_id=request_id)
    parts = [response.part async for response in upgraded.requests.StreamJobChain(call)]

    assert sum(len(part.jobs) for part in parts) == row["total_jobs"]
    assert {part.request_id for part in parts} == {request_id}


@pytest.mark.parametrize("type_", sorted({expected.type for expected in REQUESTS.values()}))
async def test_a_list_holds_every_recorded_request_of_its_type(
    upgraded: Upgraded, type_: str
) -> None:
    call = rpc.ListRequest()
    call.filter.type = type_

    listed = {request.id for request in (await upgraded.requests.List(call)).requests}

    assert {e.request_id for e in REQUESTS.values() if e.type == type_} <= listed


@pytest.mark.parametrize("name", sorted(name for name in ENDED if REQUESTS[name].rest))
async def test_an_ended_request_is_read_over_rest_as_it_was(upgraded: Upgraded, name: str) -> None:
    expected = REQUESTS[name]

    async with httpx.AsyncClient(base_url=f"{upgraded.gateway}/api/v1/requests/") as client:
        for path, recorded in expected.rest.items():
            response = await client.get(f"{expected.request_id}{path}")
            assert response.status_code == 200, response.text
            assert part_of(response.json(), recorded) == recorded, path


@pytest.mark.parametrize("path", ["", "/log", "/job-chain"])
@pytest.mark.parametrize("name", sorted(REQUESTS))
async def test_every_request_is_read_over_rest(upgraded: Upgraded, name: str, path: str) -> None:
    request_id = REQUESTS[name].request_id

    async with httpx.AsyncClient(base_url=f"{upgraded.gateway}/api/v1") as client:
        original = await client.get(f"/requests/{request_id}{path}")
        full = await client.get(f"/full/requests/{request_id}{path}")

    assert original.status_code == 200, original.text
    assert full.status_code == 200 or path == "/job-chain"


@pytest.mark.parametrize("name", sorted(REQUESTS))
async def test_every_request_is_sent_to_its_watcher(upgraded: Upgraded, name: str) -> None:
    call = rpc.WatchRequest(request_ids=[REQUESTS[name].request_id], include_job_chain=True)

    (snapshot,) = [event.snapshot async for event in events(upgraded, call)]

    assert not snapshot.request.HasField("error")
    assert len(snapshot.job_chain.jobs) == snapshot.request.total_jobs


@pytest.mark.parametrize("name", WITH_NUMBERS)
async def test_numbers_that_cannot_be_kept_exactly_are_shown_as_text(
    upgraded: Upgraded, name: str
) -> None:
    call = rpc.GetRequest(request_id=REQUESTS[name].request_id)

    args = {arg.name: arg for arg in (await upgraded.requests.Get(call)).request.args}

    assert args["number"].value.string_value == str(int(float(LARGER)))
    first, second = args["numbers"].value.list_value.values
    assert first.string_value == str(int(float(LARGE)))
    assert second.struct_value.fields["limit"].string_value == str(int(float(LARGER)))


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ("1234567890123456789", "number"),
        ("9007199254740992", "number"),
        ("-1e300", "number"),
        ("12345678901234567890123", "number"),
        ('[1, {"id": 36028797018963969}]', "numbers[1].id"),
    ],
)
async def test_such_numbers_are_refused_over_rest_by_the_current_version(
    upgraded: Upgraded, value: str, where: str
) -> None:
    args = {"number": "1", "numbers": "[]", where.partition("[")[0]: value}
    members = ",".join(f'"{name}":{text}' for name, text in args.items())

    async with httpx.AsyncClient(base_url=f"{upgraded.gateway}/api/v1") as client:
        response = await client.post(
            "/requests",
            content=f'{{"type":"count","args":{{{members}}}}}',
            headers={"Content-Type": "application/json"},
        )

    assert response.status_code == 400
    message = response.json()["message"]
    name, _, path = where.partition("[")
    assert f'argument "{name}": ' in message
    assert not path or f"[{path}: " in message
    assert "write it as text" in message


async def test_a_reason_of_five_megabytes_is_read_shortened(upgraded: Upgraded) -> None:
    call = rpc.GetRequest(request_id=REQUESTS["stopped at length"].request_id)

    reason = (await upgraded.requests.Get(call)).request.state_message

    assert reason.startswith("The wrong release. xxx")
    assert len(reason.encode()) <= REASON_BYTES


@pytest.mark.parametrize("name", SECRET)
async def test_a_secret_argument_is_never_shown(upgraded: Upgraded, name: str) -> None:
    expected = REQUESTS[name]
    call = rpc.GetRequest(request_id=expected.request_id, include_job_chain=True)
    parts = upgraded.requests.StreamJobChain(
        rpc.StreamJobChainRequest(request_id=expected.request_id)
    )

    shown = [
        MessageToJson(await upgraded.requests.Get(call)),
        *[MessageToJson(part) async for part in parts],
        *map(MessageToJson, await entries(upgraded, expected)),
    ]
    async with httpx.AsyncClient(base_url=upgraded.gateway) as client:
        for api in ("/api/v1", "/api/v1/full"):
            for path in ("", "/log", "/job-chain"):
                response = await client.get(f"{api}/requests/{expected.request_id}{path}")
                assert response.status_code == 200 or (api, path) == ("/api/v1/full", "/job-chain")
                shown.append(response.text)

    assert "token" in shown[0]
    assert [text for text in shown if RECORDING.token in text] == []


async def test_an_idempotency_key_still_finds_its_request(upgraded: Upgraded) -> None:
    complete = REQUESTS["complete"]
    hosts = ["web1", "web2", "web3", "web4"]

    response = await upgraded.requests.Create(keyed(complete, hosts=hosts))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await upgraded.requests.Create(keyed(complete, hosts=hosts[:2]))

    assert (response.existed, response.request.id) == (True, complete.request_id)
    assert refused.value.code() == grpc.StatusCode.ALREADY_EXISTS


async def test_a_request_that_failed_before_the_upgrade_can_be_rerun(upgraded: Upgraded) -> None:
    failed = REQUESTS["failed"]

    response = await upgraded.requests.Rerun(rpc.RerunRequest(request_id=failed.request_id))
    states = [
        event.request.state or event.snapshot.request.state
        async for event in events(upgraded, rpc.WatchRequest(request_ids=[response.request.id]))
    ]

    assert states[-1] == State.COMPLETE
    ended = [mark.step for mark in upgraded.marks(response.request.id) if mark.event == END]
    assert ended == ["verify", "finish"]


async def test_a_stream_of_one_request_resumes_from_its_recorded_cursor(upgraded: Upgraded) -> None:
    call = rpc.WatchRequest(
        request_ids=[REQUESTS["suspended"].request_id], cursor=RECORDING.named_cursor
    )

    seen = [event async for event in events(upgraded, call)]

    revisions = [int(RECORDING.named_cursor), *(int(event.revision) for event in seen)]
    assert revisions == sorted(set(revisions))
    assert State.COMPLETE in (seen[-1].request.state, seen[-1].snapshot.request.state)


async def test_a_stream_of_all_requests_resumes_from_its_recorded_cursor(
    upgraded: Upgraded,
) -> None:
    call = rpc.WatchRequest(cursor=RECORDING.cursor, requests_only=True)
    call.filter.type = "deploy"
    missing = {REQUESTS[name].request_id for name in LIVE if REQUESTS[name].type == "deploy"}
    old = {REQUESTS[name].request_id for name in ENDED}

    async with asyncio.timeout(30):
        async for event in events(upgraded, call):
            assert event.request_id not in old
            if State.COMPLETE in (event.request.state, event.snapshot.request.state):
                missing.discard(event.request_id)
            if not missing:
                break

    assert missing == set()


async def test_the_recorded_specs_pass_the_current_lint() -> None:
    program = Path(sysconfig.get_path("scripts"), "spincycle")

    lint = await run_program([program, "lint", SPECS, "--jobs", JOBS, "--strict"], cwd=REPOSITORY)

    assert lint.returncode == 0, lint.stdout + lint.stderr


async def entries(upgraded: Upgraded, expected: Expected) -> list[Any]:
    """Return the journal of a request by position."""
    call = job_log_service_pb2.ListEntriesRequest(
        request_id=expected.request_id,
        order=job_log_service_pb2.ENTRY_ORDER_POSITION,
        include_output=True,
        include_data=True,
    )
    return list((await upgraded.journal.ListEntries(call)).entries)


async def events(upgraded: Upgraded, call: rpc.WatchRequest) -> AsyncIterator[Any]:
    """Yield the events of a stream until it ends."""
    stream = upgraded.requests.Watch(call)
    try:
        async for response in stream:
            for event in response.events:
                yield event
    finally:
        stream.cancel()


def keyed(expected: Expected, **args: Any) -> rpc.CreateRequest:
    """Return a call that creates a request under the key of a recorded one."""
    call = rpc.CreateRequest(
        type=expected.type,
        idempotency_key=expected.idempotency_key,
        priority=expected.priority,
    )
    call.args.update(args)
    return call


def part_of(value: Any, recorded: Any) -> Any:
    """Return `value` without what `recorded` does not have: payloads may gain fields."""
    if isinstance(value, dict) and isinstance(recorded, dict):
        return {key: part_of(value[key], recorded[key]) for key in recorded if key in value}
    if isinstance(value, list) and isinstance(recorded, list) and len(value) == len(recorded):
        return [part_of(*both) for both in zip(value, recorded, strict=True)]
    return value


async def test_secrets_of_old_requests_are_sealed_by_a_rotation(
    upgraded: Upgraded, restored: str
) -> None:
    command: list[str | Path] = [
        Path(sysconfig.get_path("scripts")) / "spincycle", "secrets", "rotate",
        "--dsn", restored, "--key-file", upgraded.home / SEALING_KEYS,
    ]  # fmt: skip

    ended = await run_program(command)

    assert ended.returncode == 0, ended.stderr
    connection = await asyncpg.connect(restored)
    for table in ("requests", "request_archives", "suspended_job_chains", "audit"):
        rows = await connection.fetch(f"SELECT * FROM request_manager.{table}")  # as above
        values = [
            v if isinstance(v, bytes) else str(v).encode() for row in rows for v in row.values()
        ]
        assert not [value for value in values if RECORDING.token.encode() in value]
    await connection.close()
    chain = rpc.GetJobChainRequest(request_id=REQUESTS["unlocked"].request_id)
    assert (await upgraded.requests.GetJobChain(chain)).job_chain.jobs
