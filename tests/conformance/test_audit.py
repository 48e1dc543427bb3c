"""The route of the audit log."""

from __future__ import annotations

from tests.conformance.conftest import Stack
from tests.conformance.samples import ID

from spincycle import errors
from spincycle.v1 import audit_service_pb2 as pb


def an_entry(id_: int) -> pb.AuditEntry:
    entry = pb.AuditEntry(
        id=id_,
        caller="dana",
        authenticator="oidc",
        roles=["dev"],
        peer="ipv4:10.0.0.1:5",
        operation="stop",
        request_type="drain",
        request_id=ID,
        reason="enough",
        allowed=True,
        rule="acl",
        call_id="c1",
    )
    entry.occurred_at.FromSeconds(1_800_000_000)
    return entry


async def test_entries_are_listed_with_all_their_fields(stack: Stack) -> None:
    stack.manager.respond(ListAudit=pb.ListAuditResponse(entries=[an_entry(7)]))

    answer = await stack.http.get("/api/v1/audit")

    assert answer.status_code == 200
    assert answer.json() == [
        {
            "id": 7,
            "occurredAt": "2027-01-15T08:00:00Z",
            "caller": "dana",
            "authenticator": "oidc",
            "roles": ["dev"],
            "peer": "ipv4:10.0.0.1:5",
            "operation": "stop",
            "requestType": "drain",
            "requestId": ID,
            "jobId": "",
            "planHash": "",
            "reason": "enough",
            "allowed": True,
            "rule": "acl",
            "callId": "c1",
            "onBehalfOf": "",
        }
    ]
    assert answer.headers["cache-control"] == "no-store"
    assert stack.manager.received["ListAudit"][-1].page_size == 100


async def test_the_parameters_are_the_filter(stack: Stack) -> None:
    stack.manager.respond(ListAudit=pb.ListAuditResponse())

    answer = await stack.http.get(
        f"/api/v1/audit?requestId={ID}&caller=dana&operation=stop&operation=start&denied=true"
        "&since=2026-12-01T00:00:00Z&until=2026-12-02T00:00:00Z&limit=5"
    )

    assert answer.json() == []
    (message,) = stack.manager.received["ListAudit"]
    asked = message.filter
    assert (asked.request_id, asked.caller, asked.denied_only) == (ID, "dana", True)
    assert list(asked.operations) == ["stop", "start"]
    assert asked.since.ToJsonString() == "2026-12-01T00:00:00Z"
    assert asked.until.ToJsonString() == "2026-12-02T00:00:00Z"
    assert message.page_size == 5


async def test_one_page_names_the_next_one(stack: Stack) -> None:
    stack.manager.respond(
        ListAudit=pb.ListAuditResponse(entries=[an_entry(7)], next_page_token="t2")
    )

    answer = await stack.http.get("/api/v1/audit?limit=1&page_token=t1")

    assert [one["id"] for one in answer.json()] == [7]
    assert answer.headers["x-next-page-token"] == "t2"
    assert stack.manager.received["ListAudit"][-1].page_token == "t1"


async def test_a_denied_caller_gets_403_and_a_wrong_time_400(stack: Stack) -> None:
    denied = errors.AccessDenied("dana", "admin", "(audit log)", "no role", "dev", "admin")
    stack.manager.respond(ListAudit=denied)

    assert (await stack.http.get("/api/v1/audit")).status_code == 403
    assert (await stack.http.get("/api/v1/audit?since=yesterday")).status_code == 400


async def test_the_id_of_a_call_is_passed_on(stack: Stack) -> None:
    stack.manager.respond(ListAudit=pb.ListAuditResponse())

    given = await stack.http.get("/api/v1/audit", headers={"X-Request-Id": "call-7"})
    made = await stack.http.get("/api/v1/audit")

    ids = [metadata["x-request-id"] for metadata in stack.manager.metadata["ListAudit"]]
    assert ids == ["call-7", made.headers["x-request-id"]]
    assert given.headers["x-request-id"] == "call-7"
