"""`spinc audit` prints the audit log."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.cli_samples import ID
from tests.integration.cli.conftest import Ran
from tests.integration.cli.fake_services import FakeServices, Memory

from spincycle.v1 import audit_service_pb2

Spinc = Callable[..., Ran]


def entry(id_: int, **fields: object) -> audit_service_pb2.AuditEntry:
    message = audit_service_pb2.AuditEntry(id=id_, **fields)  # type: ignore[arg-type] # any field
    message.occurred_at.FromJsonString(f"2026-12-01T10:00:{id_:02}Z")
    return message


def fill(memory: Memory) -> None:
    memory.audit = [
        entry(4, operation="evict", allowed=True, reason="runner r1 at 10.0.0.1:1"),
        entry(3, caller="eve", operation="start", request_type="deploy", reason="may not"),
        entry(
            2,
            caller="portal",
            on_behalf_of="bob",
            operation="stop",
            request_type="greet",
            request_id=ID,
            reason="wrong host",
            allowed=True,
        ),
        entry(1, operation="refused", reason="S/M: NOT_IDENTIFIED"),
    ]


def test_the_table_shows_who_did_what(services: FakeServices, spinc: Spinc) -> None:
    services.update(fill)

    lines = spinc("audit").out.splitlines()

    assert lines[0].split() == ["TIME", "CALLER", "OPERATION", "REQUEST", "ID", "RESULT", "REASON"]
    assert lines[1].startswith("2026-12-01 10:00:04 UTC (itself)         evict ")
    assert lines[2].split()[3:] == ["eve", "start", "deploy", "denied", "may", "not"]
    assert "portal for bob" in lines[3]
    assert ID in lines[3]
    assert "(nobody)" in lines[4]


def test_the_options_select_entries(services: FakeServices, spinc: Spinc) -> None:
    services.update(fill)

    spinc("audit", ID, "--denied", "--caller", "ann", "--operation", "stop", "--limit", "7",
          "--since", "2026-12-01 00:00:00 UTC", "--until", "2026-12-02 00:00:00 UTC")  # fmt: skip

    asked = services.memory.received[-1].filter
    assert (asked.request_id, asked.denied_only, asked.caller) == (ID, True, "ann")
    assert list(asked.operations) == ["stop"]
    assert asked.since.ToJsonString() == "2026-12-01T00:00:00Z"
    assert asked.until.ToJsonString() == "2026-12-02T00:00:00Z"


def test_all_pages_are_read_up_to_the_limit(services: FakeServices, spinc: Spinc) -> None:
    services.update(fill)

    ids = [
        [one["id"] for one in json.loads(spinc("audit", "-o", "json", "--limit", limit).out)]
        for limit in ("0", "3")
    ]

    assert ids == [[4, 3, 2, 1], [4, 3, 2]]
    assert spinc("audit", "-o", "name").out == f"{ID}\n"
