from __future__ import annotations

import pytest
from tests.conformance import samples
from tests.conformance.conftest import Stack
from tests.conformance.samples import ID

from spincycle import errors
from spincycle.internal.v1 import journal_service_pb2 as journal_pb2
from spincycle.rpc.status import to_message
from spincycle.v1 import job_log_service_pb2 as jl

JSON = {"Content-Type": "application/json"}
LOG = f"/api/v1/requests/{ID}/log"


async def test_the_log_of_a_request_is_all_pages_of_its_entries(stack: Stack) -> None:
    def pages(message: jl.ListEntriesRequest) -> jl.ListEntriesResponse:
        at = int(message.page_token or 1)
        return jl.ListEntriesResponse(
            entries=[samples.an_entry(try_=at)], next_page_token=str(at + 1) if at < 3 else ""
        )

    stack.log.respond(ListEntries=pages)

    answer = await stack.http.get(LOG)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    entries = ",".join(samples.entry_json(try_=at) for at in (1, 2, 3))
    assert answer.text == f"[{entries}]\n"
    assert {message.request_id for message in stack.log.received["ListEntries"]} == {ID}


async def test_a_request_without_entries_has_an_empty_log(stack: Stack) -> None:
    stack.log.respond(ListEntries=jl.ListEntriesResponse())

    answer = await stack.http.get(LOG)

    assert answer.status_code == 200
    assert answer.text == "[]\n"


async def test_the_log_of_a_job_is_its_last_try(stack: Stack) -> None:
    stack.log.respond(GetEntry=jl.GetEntryResponse(entry=samples.an_entry(try_=3)))

    answer = await stack.http.get(LOG + "/aaaa")

    assert answer.status_code == 200
    assert answer.text == samples.entry_json(try_=3) + "\n"
    assert stack.log.last("GetEntry") == jl.GetEntryRequest(request_id=ID, job_id="aaaa")


async def test_a_job_without_entries_is_not_found(stack: Stack) -> None:
    stack.log.respond(GetEntry=errors.JobNotFound(ID, "zzzz"))

    answer = await stack.http.get(LOG + "/zzzz")

    assert answer.status_code == 404
    assert answer.text == (
        f'{{"message":"job zzzz not found in request {ID}","requestId":"{ID}","httpStatus":404}}\n'
    )


async def test_an_added_entry_returns_201_under_the_request_of_the_path(
    stack: Stack,
) -> None:
    stack.log.respond(Append=journal_pb2.AppendResponse(batch=1))

    answer = await stack.legacy_http.post(
        LOG,
        headers=JSON,
        content=b'{"requestId":"ignored","jobId":"aaaa","try":1,"name":"drain",'
        b'"type":"drain-host","startedAt":1800000001000000007,"finishedAt":1800000002000000008,'
        b'"state":4,"exit":-1,"error":"no & never","stdout":"out\\n","stderr":"\\"err\\"",'
        b'"path":"drain a"}',
    )

    assert answer.status_code == 201
    assert answer.text == samples.entry_json() + "\n"
    expected = samples.an_entry()
    expected.ClearField("epoch")
    expected.ClearField("position")
    assert stack.log.last("Append") == journal_pb2.AppendRequest(batch=1, entries=[expected])


async def test_an_entry_that_contradicts_a_stored_one_is_a_conflict(stack: Stack) -> None:
    conflict = errors.EntryConflict(ID, "aaaa", 1)
    refused = journal_pb2.RefusedEntry(request_id=ID, job_id="aaaa", error=to_message(conflict))
    stack.log.respond(Append=journal_pb2.AppendResponse(batch=1, refused=[refused]))

    answer = await stack.legacy_http.post(LOG, headers=JSON, content=b'{"jobId":"aaaa","try":1}')

    assert answer.status_code == 409
    assert answer.json() == {
        "message": conflict.message,
        "requestId": ID,
        "httpStatus": 409,
    }


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            '{"state":300}',
            "Unmarshal type error: expected=uint8, got=number 300, field=state, offset=12",
        ),
        ('{"try":-1}', "Unmarshal type error: expected=uint, got=number -1, field=try, offset=9"),
        (
            '{"startedAt": 1.5}',
            "Unmarshal type error: expected=int64, got=number 1.5, field=startedAt, offset=17",
        ),
        (
            '{"EXIT": true}',
            "Unmarshal type error: expected=int64, got=bool, field=exit, offset=13",
        ),
    ],
)
async def test_an_entry_with_a_wrong_type_names_the_field(
    stack: Stack, body: str, message: str
) -> None:
    answer = await stack.legacy_http.post(LOG, headers=JSON, content=body)

    assert answer.status_code == 400
    assert answer.json() == {"message": message}
