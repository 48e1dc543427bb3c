"""Every operation of every role has the same outcome in every way into the installation."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

import grpc
import pytest
from tests.integration.access_ways.people import CALLERS, LEAVER, NOBODY, PEOPLE, remove_token
from tests.integration.access_ways.ways import (
    DENIED,
    HIDDEN,
    NAMES,
    OK,
    TIMEOUT,
    TYPE,
    UNKNOWN,
    Subject,
    Ways,
    headers,
    metadata,
)
from tests.security.installation import Installation
from tests.waiting import until

from spincycle.errors import RequestNotFound
from spincycle.v1 import job_log_service_pb2 as jl
from spincycle.v1 import request_manager_service_pb2 as rm
from spincycle.v1 import request_pb2, spec_service_pb2

TABLE = """
             outsider viewer starter stopper owner admin nobody
view         hidden   ok     ok      ok      ok    ok    unknown
start        denied   denied ok      denied  ok    ok    unknown
start-again  hidden   denied ok      denied  ok    ok    unknown
stop         hidden   denied denied  ok      ok    ok    unknown
suspend      hidden   denied denied  ok      ok    ok    unknown
resume       hidden   denied denied  ok      ok    ok    unknown
rerun        hidden   denied ok      denied  ok    ok    unknown
skip         hidden   denied ok      denied  ok    ok    unknown
admin        denied   denied denied  denied  denied ok   unknown
"""
"""Outcome by operation and caller. The ACL of the type names view, start and stop for one role
each: every grant includes view, start includes rerun and skip, stop includes suspend and resume."""

HEAD, *ROWS = (line.split() for line in TABLE.strip().splitlines())
EXPECTED = {operation: dict(zip(HEAD, outcomes, strict=True)) for operation, *outcomes in ROWS}


def test_the_table_is_complete() -> None:
    assert tuple(HEAD) == CALLERS
    assert {outcome for row in EXPECTED.values() for outcome in row.values()} == {
        OK,
        DENIED,
        HIDDEN,
        UNKNOWN,
    }


@pytest.mark.parametrize("way", NAMES)
@pytest.mark.parametrize("caller", CALLERS)
def test_an_operation_has_the_outcome_of_the_table(
    ways: Ways, subject: Subject, way: str, caller: str
) -> None:
    operations = ways[way].operations

    outcomes = {
        operation: ways[way].attempt(operation, caller, subject) for operation in operations
    }

    assert outcomes == {operation: {EXPECTED[operation][caller]} for operation in operations}


SEES = {caller: EXPECTED["view"][caller] == OK for caller in CALLERS if caller != NOBODY}


@pytest.mark.parametrize("caller", SEES)
def test_a_list_has_what_the_caller_may_view(ways: Ways, subject: Subject, caller: str) -> None:
    requests, filters = ways.grpc.requests, request_pb2.RequestFilter(type=TYPE)
    listed = requests.List(rm.ListRequest(filter=filters), metadata=metadata(caller)).requests
    found = {
        "grpc": subject.id in {one.id for one in listed},
        "rest": subject.id in ways.http.get("/api/v1/requests", headers=headers(caller)).text,
        "full": subject.id in ways.http.get("/api/v1/full/requests", headers=headers(caller)).text,
        "spinc": subject.id in ways.spinc.run(["find", "limit=1000"], caller)[1],
        "spinc_rest": subject.id in ways.spinc_rest.run(["find", "limit=1000"], caller)[1],
    }

    assert found == dict.fromkeys(found, SEES[caller])


@pytest.mark.parametrize("caller", SEES)
def test_a_journal_of_the_original_is_empty_for_whom_it_does_not_exist(
    ways: Ways, subject: Subject, caller: str
) -> None:
    path = f"/api/v1/requests/{subject.id}/log"

    entries = ways.http.get(path, headers=headers(caller)).json()

    assert bool(entries) == SEES[caller]


@pytest.fixture(scope="module")
def running(ways: Ways) -> Iterator[str]:
    """A request whose job runs."""
    create = {"type": "guarded-running"}
    created = ways.http.post("/api/v1/requests", json=create, headers=headers("admin")).json()
    request_id = str(created["id"])

    async def is_running() -> bool:
        status = ways.http.get("/api/v1/status/running", headers=headers("admin"))
        return request_id in status.text

    asyncio.run(until(is_running))
    yield request_id
    ways.http.put(f"/api/v1/requests/{request_id}/stop", headers=headers("admin"))


@pytest.mark.parametrize("caller", SEES)
def test_running_jobs_are_those_that_the_caller_may_view(
    ways: Ways, running: str, caller: str
) -> None:
    listed = ways.grpc.requests.ListRunningJobs(
        rm.ListRunningJobsRequest(), metadata=metadata(caller)
    ).status
    rest = ways.http.get("/api/v1/status/running", headers=headers(caller))
    found = {
        "grpc jobs": running in {job.request_id for job in listed.jobs},
        "grpc requests": running in listed.requests,
        "rest": running in rest.text,
        "spinc": running in ways.spinc.run(["ps"], caller)[1],
        "spinc_rest": running in ways.spinc_rest.run(["ps"], caller)[1],
    }

    assert found == dict.fromkeys(found, SEES[caller])


def test_events_of_all_requests_are_of_those_that_the_caller_may_view(ways: Ways) -> None:
    with (
        ways.http.stream("GET", "/api/v1/events", headers=headers("outsider")) as hidden,
        ways.http.stream("GET", "/api/v1/events", headers=headers("viewer")) as seen,
    ):
        created = ways.http.post(
            "/api/v1/requests", json={"type": TYPE}, headers=headers("starter")
        ).json()
        # The last event of the request.
        for line in seen.iter_lines():
            if created["id"] in line and '"state":4' in line:
                break
        lines = hidden.iter_lines()
        # The first comment may be older than the events; the one after the next is not.
        comments = [line for line in itertools.islice(lines, 6) if line]

    assert all(comment.startswith((":", "id:")) for comment in comments)


@pytest.mark.parametrize("caller", SEES)
def test_what_a_check_says_is_what_the_caller_may_do(
    ways: Ways, subject: Subject, caller: str
) -> None:
    may = {
        operation: EXPECTED[operation][caller] == OK
        for operation in EXPECTED
        if operation not in {"start-again", "admin"}
    }
    specs = ways.grpc.specs.ListSpecs(
        spec_service_pb2.ListSpecsRequest(), metadata=metadata(caller)
    ).specs
    listed = {spec.name: set(spec.allowed_operations) for spec in specs}

    checked = {
        operation: ways.http.get(
            "/api/v1/access-check",
            params={"operation": operation, "type": TYPE},
            headers=headers(caller),
        ).json()["allowed"]
        for operation in may
    }
    admin = ways.http.get("/api/v1/access-check?operation=admin", headers=headers(caller)).json()
    me = ways.http.get("/api/v1/me", headers=headers(caller)).json()

    assert checked == may
    assert listed.get(TYPE, set()) == {operation for operation in may if may[operation]}
    assert admin["allowed"] == (EXPECTED["admin"][caller] == OK)
    assert (me["name"], me["roles"], me["authenticator"]) == (caller, PEOPLE[caller], "token-file")
    assert me["admin"] == admin["allowed"]


@pytest.mark.parametrize("caller", SEES)
def test_a_type_without_an_acl_is_for_admins_where_access_is_strict(
    ways: Ways, caller: str
) -> None:
    created = ways.http.post(
        "/api/v1/requests", json={"type": "without-acl"}, headers=headers(caller)
    )

    assert created.status_code == (201 if caller == "admin" else 403)


def test_a_denial_names_the_operation_the_caller_and_the_roles_in_each_way(
    ways: Ways, subject: Subject
) -> None:
    call = ways.grpc.requests.Stop
    with pytest.raises(grpc.RpcError) as refused:
        call(rm.StopRequest(request_id=subject.id), metadata=metadata("viewer"))
    path = f"/api/v1/requests/{subject.id}/stop"
    rest = ways.http.put(path, headers=headers("viewer")).json()["message"]

    assert refused.value.details() == rest
    for word in ('"viewer"', "stop", subject.id, TYPE, "stopper", "owner", "admin"):
        assert word in rest


def test_what_somebody_does_is_under_their_own_name(ways: Ways) -> None:
    create = {"type": TYPE, "user": "somebody else"}
    ids = [
        ways.http.post("/api/v1/requests", json=create, headers=headers("starter")).json()["id"],
        ways.grpc.requests.Create(
            rm.CreateRequest(type=TYPE, user="somebody else"), metadata=metadata("starter")
        ).request.id,
        ways.spinc.run(["-o", "name", "start", TYPE], "starter")[1].split()[-1],
        ways.spinc_rest.run(["-o", "name", "start", TYPE], "starter")[1].split()[-1],
    ]

    users = [
        ways.http.get(f"/api/v1/requests/{id_}", headers=headers("viewer")).json()["user"]
        for id_ in ids
    ]
    assert users == ["starter"] * len(ids)


def test_spinc_starts_nothing_for_whom_it_is_denied(ways: Ways) -> None:
    # spinc reads the list of types first, in which the outsider does not find this one.
    reasons = {
        caller: ways.spinc.run(["start", TYPE], caller)[0] for caller in ("viewer", "stopper")
    }

    assert reasons == dict.fromkeys(reasons, "ACCESS_DENIED")


@pytest.mark.slow
def test_a_follower_of_a_journal_is_disconnected_after_it_lost_its_role(
    installation: Installation, ways: Ways, subject: Subject
) -> None:
    specs = installation.home / "specs" / "ways.yaml"
    before = specs.read_text()
    tail = ways.grpc.log.Tail(
        jl.TailRequest(request_id=subject.id, follow=True),
        metadata=metadata("viewer"),
        timeout=TIMEOUT,
    )
    next(tail)
    specs.write_text(before.replace("{role: viewer, ops: [view]}", "{role: other, ops: [view]}"))
    try:
        ways.http.post("/api/v1/specs/reload", json={}, headers=headers("admin"))
        with pytest.raises(grpc.RpcError) as ended:
            for _ in tail:
                pass
    finally:
        specs.write_text(before)
        ways.http.post("/api/v1/specs/reload", json={}, headers=headers("admin"))

    assert ended.value.code() is grpc.StatusCode.NOT_FOUND
    assert ended.value.details() == RequestNotFound(subject.id).message


def test_a_token_that_is_removed_ends_the_streams_of_its_caller_in_each_way(
    installation: Installation, ways: Ways, subject: Subject
) -> None:
    """A browser that connects again then gets 401, and stops."""
    calls = [
        ways.grpc.requests.Watch(
            rm.WatchRequest(filter=request_pb2.RequestFilter(type=TYPE)),
            metadata=metadata(LEAVER),
            timeout=TIMEOUT,
        ),
        ways.grpc.log.Tail(
            jl.TailRequest(request_id=subject.id, follow=True),
            metadata=metadata(LEAVER),
            timeout=TIMEOUT,
        ),
    ]
    with ways.http.stream("GET", "/api/v1/events", headers=headers(LEAVER)) as events:
        assert events.status_code == 200
        for call in calls:
            next(call)
        remove_token(installation.home, LEAVER)
        ended = [line for line in events.iter_lines() if line and not line.startswith((":", "id"))]
    codes = []
    for call in calls:
        with pytest.raises(grpc.RpcError) as failure:
            for _ in call:
                pass
        codes.append(failure.value.code())

    assert ended[-2] == "event: error"
    assert '"httpStatus":401' in ended[-1]
    assert codes == [grpc.StatusCode.UNAUTHENTICATED] * 2
    assert ways.http.get("/api/v1/events", headers=headers(LEAVER)).status_code == 401
