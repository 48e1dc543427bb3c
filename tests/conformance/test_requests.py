from __future__ import annotations

import asyncio

import pytest
from tests.conformance import samples
from tests.conformance.conftest import Stack
from tests.conformance.samples import ID

from spincycle import errors
from spincycle.runtime.version import VERSION
from spincycle.v1 import error_pb2, request_pb2, spec_pb2, spec_service_pb2, state_pb2
from spincycle.v1 import request_manager_service_pb2 as rm

JSON = {"Content-Type": "application/json"}
BASE = "/api/v1/requests"
LISTED = (
    f'"id":"{ID}","type":"drain","state":3,"user":"dana",'
    '"createdAt":"2027-01-15T08:00:00.12Z","startedAt":"2027-01-15T08:00:01Z",'
    '"finishedAt":"2027-01-15T08:00:02.000000001Z",'
)
COUNTS = '"totalJobs":3,"finishedJobs":3'


async def test_a_create_returns_201_location_and_arguments(
    stack: Stack,
) -> None:
    request = samples.with_args(samples.a_request(state_pb2.STATE_PENDING))
    stack.manager.respond(Create=rm.CreateResponse(request=request))

    answer = await stack.http.post(
        BASE, headers=JSON, content=b'{"type":"drain","args":{"host":"a","n":3},"user":"eve"}'
    )

    assert answer.status_code == 201
    assert answer.headers["location"] == f"{BASE}/{ID}"
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-spincycle-version"] == VERSION
    assert answer.text == (
        f'{{"id":"{ID}","type":"drain","state":1,"user":"dana",{samples.ARGS}'
        '"createdAt":"2027-01-15T08:00:00.12Z","startedAt":null,"finishedAt":null,'
        '"totalJobs":3,"finishedJobs":0}\n'
    )
    message = stack.manager.last("Create")
    assert message.type == "drain"
    assert dict(message.args) == {"host": "a", "n": 3.0}
    assert message.user == ""


async def test_a_created_request_has_neither_chain_nor_runner(stack: Stack) -> None:
    request = samples.a_request(state_pb2.STATE_RUNNING)
    request.job_chain.CopyFrom(samples.a_chain())
    stack.manager.respond(Create=rm.CreateResponse(request=request))

    answer = await stack.http.post(BASE, headers=JSON, content=b'{"TYPE":"drain"}')

    assert answer.json().keys() == {
        "id",
        "type",
        "state",
        "user",
        "createdAt",
        "startedAt",
        "finishedAt",
        "totalJobs",
        "finishedJobs",
    }


async def test_an_idempotency_key_reaches_the_request_manager(stack: Stack) -> None:
    stack.manager.respond(Create=rm.CreateResponse(request=samples.a_request()))

    await stack.http.post(
        BASE, headers={**JSON, "Idempotency-Key": "key-1"}, content=b'{"type":"drain"}'
    )

    assert stack.manager.last("Create").idempotency_key == "key-1"


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b'{"type":""}', b'{"tpye":"drain"}'])
async def test_a_create_without_a_type_is_rejected(stack: Stack, body: bytes) -> None:
    answer = await stack.http.post(BASE, headers=JSON, content=body)

    assert answer.status_code == 400
    assert answer.text == (
        '{"message":"Type is empty, must be a request name","requestId":"","httpStatus":400}\n'
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"type": "greet", ', "unexpected EOF"),
        (b"  ", "EOF"),
        (b"{'type'}", ("Syntax error: offset=2, error=invalid character '\\\\'' looking for "
         "beginning of object key string")),
        (b"[]", "Unmarshal type error: expected=proto.CreateRequest, got=array, field=, offset=1"),
        (b'{"type": 3}', ("Unmarshal type error: expected=string, got=number, field=Type, "
         "offset=10")),
        (b'{"args": "x"}', ("Unmarshal type error: expected=map[string]interface {}, got=string, "
         "field=Args, offset=12")),
    ],
)  # fmt: skip
async def test_an_undecodable_body_has_the_error_of_the_framework(
    stack: Stack, body: bytes, message: str
) -> None:
    answer = await stack.http.post(BASE, headers=JSON, content=body)

    assert answer.status_code == 400
    assert answer.text == f'{{"message":"{message}"}}\n'


async def test_a_body_of_another_type_is_rejected(stack: Stack) -> None:
    answer = await stack.http.post(
        BASE, headers={"Content-Type": "text/plain"}, content=b'{"type":"drain"}'
    )

    assert answer.status_code == 415
    assert answer.text == '{"message":"Unsupported Media Type"}\n'


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (errors.UnknownRequestType("cannot find specs for request: x", "x"), 400,
         "cannot find specs for request: x"),
        (errors.InvalidArgs("required arg 'name' not set", "x"), 400,
         "required arg 'name' not set"),
        (errors.DatabaseUnavailable(), 503,
         errors.DatabaseUnavailable().message),
    ],
)  # fmt: skip
async def test_a_rejected_create_returns_the_reason(
    stack: Stack, error: Exception, status: int, message: str
) -> None:
    stack.manager.respond(Create=error)

    answer = await stack.http.post(BASE, headers=JSON, content=b'{"type":"x"}')

    assert answer.status_code == status
    assert answer.text == (f'{{"message":"{message}","requestId":"","httpStatus":{status}}}\n')


async def test_a_list_leaves_arguments_and_chain_out(stack: Stack) -> None:
    running = samples.a_request(state_pb2.STATE_RUNNING)
    stack.manager.respond(List=rm.ListResponse(requests=[samples.a_request(), running]))

    answer = await stack.http.get(BASE)

    assert answer.status_code == 200
    assert answer.text == (
        f'[{{{LISTED}{COUNTS}}},{{"id":"{ID}","type":"drain","state":2,"user":"dana",'
        '"createdAt":"2027-01-15T08:00:00.12Z","startedAt":"2027-01-15T08:00:01Z",'
        '"finishedAt":null,"totalJobs":3,"finishedJobs":1,"jrURL":"http://10.0.0.7:32321"}]\n'
    )


@pytest.mark.parametrize("path", [BASE, "/api/v1/full/requests"])
async def test_a_list_with_an_unreadable_request_is_an_error(stack: Stack, path: str) -> None:
    error = error_pb2.Error(message="cannot be read", request_id=ID, http_status=500)
    spoiled = request_pb2.Request(id=ID, type="drain", error=error)
    stack.manager.respond(List=rm.ListResponse(requests=[spoiled, samples.a_request()]))

    first, second = (await stack.http.get(path)).json()

    assert first["error"] == {"message": "cannot be read", "requestId": ID, "httpStatus": 500}
    assert "error" not in second


async def test_an_empty_list_is_null(stack: Stack) -> None:
    stack.manager.respond(List=rm.ListResponse())

    answer = await stack.http.get(BASE)

    assert answer.text == "null\n"


def _pages(message: rm.ListRequest) -> rm.ListResponse:
    at = int(message.page_token or 0)
    requests = [samples.a_request(request_id=str(number)) for number in range(at, min(at + 2, 5))]
    return rm.ListResponse(requests=requests, next_page_token=str(at + 2) if at + 2 < 5 else "")


async def test_a_list_without_limit_is_all_pages(stack: Stack) -> None:
    stack.manager.respond(List=_pages)

    answer = await stack.http.get(BASE)

    assert [request["id"] for request in answer.json()] == ["0", "1", "2", "3", "4"]
    assert answer.text.endswith("]\n")


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
async def test_a_list_with_a_limit_has_no_more(stack: Stack, limit: int) -> None:
    stack.manager.respond(List=_pages)

    answer = await stack.http.get(BASE, params={"limit": limit})

    assert [request["id"] for request in answer.json()] == [str(at) for at in range(limit)]


async def test_a_page_returns_the_token_of_the_next_one(stack: Stack) -> None:
    stack.manager.respond(List=_pages)

    first = await stack.http.get(BASE, params={"page_token": ""})
    token = first.headers["x-next-page-token"]
    last = await stack.http.get(BASE, params={"page_token": "4"})

    assert len(first.json()) == 2
    assert token == "2"
    assert len(last.json()) == 1
    assert "x-next-page-token" not in last.headers


async def test_a_broken_list_is_not_terminated_as_complete(stack: Stack) -> None:
    def pages(message: rm.ListRequest) -> rm.ListResponse | Exception:
        return errors.DatabaseUnavailable() if message.page_token else _pages(message)

    stack.manager.respond(List=pages)

    reader, writer = await asyncio.open_connection(*stack.address)
    writer.write(b"GET /api/v1/requests HTTP/1.1\r\nHost: x\r\n\r\n")
    text = await reader.read()
    writer.close()

    assert text.startswith(b"HTTP/1.1 200")
    assert not text.endswith(b"0\r\n\r\n")


async def test_every_filter_of_a_list_reaches_the_request_manager(stack: Stack) -> None:
    stack.manager.respond(List=rm.ListResponse())

    await stack.http.get(
        f"{BASE}?arg=arg1%3Dval1&arg=b=c=d&limit=5&offset=10&since=2020-01-01T12%3A34%3A56.789123Z"
        "&until=2020-01-01T01:00:00%2B01:00&state=PENDING&state=RUNNING&type=t&user=u"
    )

    message = stack.manager.last("List")
    expected = request_pb2.RequestFilter(
        type="t",
        user="u",
        states=[state_pb2.STATE_PENDING, state_pb2.STATE_RUNNING],
        args={"arg1": "val1", "b": "c=d"},
        limit=5,
        offset=10,
    )
    expected.since.FromJsonString("2020-01-01T12:34:56.789123Z")
    expected.until.FromJsonString("2020-01-01T00:00:00Z")
    assert (message.filter, message.page_size) == (expected, 2)


@pytest.mark.parametrize("base", [BASE, "/api/v1/full/requests"])
@pytest.mark.parametrize(
    "query", ["offset=3", "offset=three", "limit=&offset=x", "limit=0&offset=3"]
)
async def test_an_offset_without_a_limit_is_ignored(stack: Stack, base: str, query: str) -> None:
    stack.manager.respond(List=_pages)

    answer = await stack.http.get(f"{base}?{query}")

    assert len(answer.json()) == 5
    assert stack.manager.last("List").filter == request_pb2.RequestFilter()


async def test_an_offset_counts_from_the_first_of_all_pages(stack: Stack) -> None:
    stack.manager.respond(List=_pages)

    await stack.http.get(f"{BASE}?offset=3&limit=2&page_token=")

    sent = stack.manager.last("List")
    assert (sent.filter.offset, sent.page_size) == (3, 2)
    assert sent.filter.limit > 5


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("state=FOO", 'invalid \'state\' parameter: \\"FOO\\" is not a valid state name'),
        ("state=PENDING,RUNNING", ('invalid \'state\' parameter: \\"PENDING,RUNNING\\" is not a '
         "valid state name")),
        ("state=running", 'invalid \'state\' parameter: \\"running\\" is not a valid state name'),
        ("arg=x", "invalid 'arg' parameter: 'x' does not match expected format key=value"),
        ("limit=abc", ('invalid \'limit\' parameter: \\"abc\\" cannot be parsed to uint: '
         'strconv.ParseUint: parsing \\"abc\\": invalid syntax')),
        ("limit=-1", ('invalid \'limit\' parameter: \\"-1\\" cannot be parsed to uint: '
         'strconv.ParseUint: parsing \\"-1\\": invalid syntax')),
        ("limit=1&offset=99999999999999999999",
         ('invalid \'offset\' parameter: \\"99999999999999999999\\" cannot be parsed to uint: '
         'strconv.ParseUint: parsing \\"99999999999999999999\\": value out of range')),
        ("since=2020-01-01", ('invalid \'since\' parameter: \\"2020-01-01\\" cannot be parsed to '
         'time.Time: parsing time \\"2020-01-01\\" as \\"2006-01-02T15:04:05Z07:00\\": cannot '
         'parse \\"\\" as \\"T\\"')),
    ],
)  # fmt: skip
async def test_an_invalid_filter_is_named(stack: Stack, query: str, message: str) -> None:
    answer = await stack.http.get(f"{BASE}?{query}")

    assert answer.status_code == 400
    assert answer.text == f'{{"message":"{message}","requestId":"","httpStatus":400}}\n'


async def test_a_request_shows_its_arguments_and_its_chain(stack: Stack) -> None:
    request = samples.with_args(samples.a_request())
    request.job_chain.CopyFrom(samples.a_chain())
    stack.manager.respond(Get=rm.GetResponse(request=request))

    answer = await stack.http.get(f"{BASE}/{ID}")

    assert answer.status_code == 200
    head, _, tail = LISTED.partition('"createdAt"')
    assert answer.text == (
        f'{{{head}{samples.ARGS}"createdAt"{tail}"JobChain":{samples.CHAIN},{COUNTS}}}\n'
    )
    assert stack.manager.last("Get") == rm.GetRequest(request_id=ID, include_job_chain=True)


async def test_a_chain_too_large_for_one_message_is_fetched_in_parts(stack: Stack) -> None:
    def get(message: rm.GetRequest) -> rm.GetResponse | Exception:
        if message.include_job_chain:
            return errors.ChainTooLarge(ID, 100_000)
        return rm.GetResponse(request=samples.a_request())

    parts = [samples.a_chain(), samples.a_chain()]
    del parts[0].jobs[1], parts[1].jobs[0], parts[1].adjacency_list[:]
    stack.manager.respond(
        Get=get,
        GetJobChain=errors.ChainTooLarge(ID, 100_000),
        StreamJobChain=[rm.StreamJobChainResponse(part=part) for part in parts],
    )

    whole = await stack.http.get(f"{BASE}/{ID}")
    chain = await stack.http.get(f"{BASE}/{ID}/job-chain")

    assert f'"JobChain":{samples.CHAIN},' in whole.text
    assert chain.text == samples.CHAIN + "\n"


async def test_the_chain_of_a_request_is_returned_alone(stack: Stack) -> None:
    stack.manager.respond(GetJobChain=rm.GetJobChainResponse(job_chain=samples.a_chain()))

    answer = await stack.http.get(f"{BASE}/{ID}/job-chain")

    assert answer.status_code == 200
    assert answer.text == samples.CHAIN + "\n"


@pytest.mark.parametrize(
    ("http_method", "path", "rpc"),
    [
        ("GET", "", "Get"),
        ("GET", "/job-chain", "GetJobChain"),
        ("PUT", "/start", "Start"),
        ("PUT", "/stop", "Stop"),
    ],
)
async def test_an_unknown_request_is_not_found(
    stack: Stack, http_method: str, path: str, rpc: str
) -> None:
    stack.manager.respond(**{rpc: errors.RequestNotFound("bbbb")})

    answer = await stack.http.request(http_method, f"{BASE}/bbbb{path}")

    assert answer.status_code == 404
    assert answer.text == (
        '{"message":"request bbbb not found","requestId":"bbbb","httpStatus":404}\n'
    )


@pytest.mark.parametrize("verb", ["start", "stop"])
async def test_start_and_stop_return_nothing(stack: Stack, verb: str) -> None:
    stack.manager.respond(
        Start=rm.StartResponse(), Stop=rm.StopResponse(request=samples.a_request())
    )

    answer = await stack.http.put(f"{BASE}/{ID}/{verb}")

    assert answer.status_code == 200
    assert answer.content == b""
    assert "content-type" not in answer.headers
    assert answer.headers["content-length"] == "0"
    assert answer.headers["x-spincycle-version"] == VERSION


async def test_a_request_in_the_wrong_state_is_a_conflict(stack: Stack) -> None:
    stack.manager.respond(Start=errors.InvalidState(ID, "RUNNING", "PENDING"))

    answer = await stack.http.put(f"{BASE}/{ID}/start")

    assert answer.status_code == 409
    assert answer.text == (
        '{"message":"request in state RUNNING, expected state PENDING",'
        f'"requestId":"{ID}","httpStatus":409}}\n'
    )


async def test_the_request_list_has_all_specs(stack: Stack) -> None:
    noop = spec_pb2.RequestSpec(name="noop")
    drain = spec_pb2.RequestSpec(name="drain")
    drain.args.add(name="host", desc="which one", kind="required")
    drain.args.add(pos=1, name="seconds", kind="optional").default_value.string_value = "5"
    stack.manager.respond(ListSpecs=spec_service_pb2.ListSpecsResponse(specs=[drain, noop]))

    answer = await stack.http.get("/api/v1/request-list")

    assert answer.status_code == 200
    assert answer.text == (
        '[{"Name":"drain","Args":[{"Pos":0,"Name":"host","Desc":"which one","Type":"required",'
        '"Given":false,"Default":null,"Value":null},{"Pos":0,"Name":"seconds","Desc":"",'
        '"Type":"optional","Given":false,"Default":"5","Value":null}]},'
        '{"Name":"noop","Args":[]}]\n'
    )
