from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from spincycle.errors import InvalidInput
from spincycle.internal.v1 import job_runner_service_pb2 as runner_pb2
from spincycle.internal.v1 import journal_service_pb2 as journal_pb2
from spincycle.internal.v1 import read_access_service_pb2
from spincycle.internal.v1 import runner_coordination_service_pb2 as coordination_pb2
from spincycle.rpc.text_bounds import (
    BOUNDED_ELSEWHERE,
    BY_FIELD,
    BY_NAME,
    SHORTENED,
    SKIPPED,
    bound_of,
)
from spincycle.rpc.texts import check_texts
from spincycle.v1 import (
    access_service_pb2,
    audit_service_pb2,
    job_chain_pb2,
    job_log_pb2,
    job_log_service_pb2,
    request_pb2,
    request_report_pb2,
    server_service_pb2,
    spec_pb2,
    spec_service_pb2,
    state_pb2,
    suspended_job_chain_pb2,
)
from spincycle.v1 import request_manager_service_pb2 as rm

NUL = "a\0b"


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (rm.StopRequest(request_id="r", reason=NUL), "reason"),
        (rm.RerunRequest(job_ids=["aaaa", NUL]), "job_ids"),
        (rm.ListRequest(filter=request_pb2.RequestFilter(user=NUL)), "filter.user"),
        (rm.ListRequest(filter=request_pb2.RequestFilter(args={NUL: "x"})), "filter.args"),
        (rm.ListRequest(filter=request_pb2.RequestFilter(args={"x": NUL})), "filter.args.x"),
        (
            coordination_pb2.ReportRequest(
                reports=[
                    coordination_pb2.RunnerReport(),
                    coordination_pb2.RunnerReport(
                        progress=request_report_pb2.RequestProgress(request_id=NUL)
                    ),
                ]
            ),
            "reports[1].progress.request_id",
        ),
    ],
)
def test_a_text_with_nul_is_rejected_by_its_path(request_: Message, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_texts(request_, request_.SerializeToString())

    assert [violation.field for violation in refused.value.violations] == [field]


def test_bytes_may_contain_nul() -> None:
    chain = job_chain_pb2.JobChain(jobs=[job_chain_pb2.Job(id=NUL, bytes=NUL.encode())])
    suspended = suspended_job_chain_pb2.SuspendedJobChain(request_id="r", job_chain=chain)

    for request in (
        coordination_pb2.ReportRequest(
            reports=[coordination_pb2.RunnerReport(suspended=suspended)]
        ),
        spec_service_pb2.LintRequest(files=[spec_pb2.SpecFile(path="x", content=NUL)]),
    ):
        check_texts(request, request.SerializeToString())


SERVICES = [
    service
    for file in (
        access_service_pb2,
        audit_service_pb2,
        read_access_service_pb2,
        coordination_pb2,
        journal_pb2,
        job_log_service_pb2,
        rm,
        runner_pb2,
        server_service_pb2,
        spec_service_pb2,
    )
    for service in file.DESCRIPTOR.services_by_name.values()
]


def sent(descriptor: Descriptor, seen: set[str]) -> Iterator[FieldDescriptor]:
    """Yield the fields of a message and of its inner messages, except those bounded elsewhere."""
    if descriptor.full_name in seen | BOUNDED_ELSEWHERE:
        return
    seen.add(descriptor.full_name)
    for field in descriptor.fields:
        yield field
        if field.message_type is not None:
            yield from sent(field.message_type, seen)


def fields_of_requests() -> list[FieldDescriptor]:
    seen: set[str] = set()
    return [
        field
        for service in SERVICES
        for method in service.methods
        for field in sent(method.input_type, seen)
    ]


def test_every_service_of_both_packages_is_checked() -> None:
    named = {match[1] for match in re.finditer(r"^service (\w+) ", all_protos(), re.MULTILINE)}

    assert {service.name for service in SERVICES} == named


def all_protos() -> str:
    protos = Path(__file__).parents[3] / "protos" / "spincycle"
    return "\n".join(path.read_text() for path in sorted(protos.rglob("*.proto")))


def test_every_text_in_a_request_has_a_bound() -> None:
    skipped_maps = {f"{name.rpartition('.')[0]}.{entry(name)}.key" for name in SKIPPED}
    counted_maps = {f"{name.rpartition('.')[0]}.{entry(name)}.key" for name in BY_FIELD}
    unbounded = {
        field.full_name
        for field in fields_of_requests()
        if field.type == FieldDescriptor.TYPE_STRING and bound_of(field) is None
    }

    assert unbounded - SHORTENED - SKIPPED - skipped_maps - counted_maps == set()


def entry(name: str) -> str:
    """Return the entry message of a map field."""
    words = name.rpartition(".")[2].split("_")
    return "".join(word.capitalize() for word in words) + "Entry"


def test_every_list_in_a_public_request_has_a_bound_or_is_in_messages() -> None:
    unbounded = {
        field.full_name
        for field in fields_of_requests()
        if field.is_repeated
        and field.message_type is None
        and field.full_name.startswith("spincycle.v1.")
        and not ((bound := bound_of(field)) and bound.items)
    }

    assert unbounded == set()


def test_the_table_names_only_fields_that_exist() -> None:
    fields = fields_of_requests()

    assert BY_FIELD.keys() | SHORTENED | SKIPPED <= {field.full_name for field in fields}
    assert BY_NAME.keys() <= {field.name for field in fields}


@pytest.mark.parametrize(
    ("longest", "refused", "path"),
    [
        (rm.StopRequest(reason="x" * 4096), rm.StopRequest(reason="x" * 4097), "reason"),
        (rm.StopRequest(reason="ä" * 2048), rm.StopRequest(reason="ä" * 2049), "reason"),
        (rm.SkipRequest(job_ids=["x" * 256]), rm.SkipRequest(job_ids=["x" * 257]), "job_ids"),
        (
            rm.RerunRequest(idempotency_key="ä" * 128),
            rm.RerunRequest(idempotency_key="ä" * 129),
            "idempotency_key",
        ),
        (rm.GetRequest(request_id="x" * 256), rm.GetRequest(request_id="x" * 257), "request_id"),
        (
            rm.RerunRequest(job_ids=["aaaa"] * 200_000),
            rm.RerunRequest(job_ids=["aaaa"] * 200_001),
            "job_ids",
        ),
        (
            rm.ListRequest(
                filter=request_pb2.RequestFilter(states=[state_pb2.STATE_PENDING] * 100)
            ),
            rm.ListRequest(
                filter=request_pb2.RequestFilter(states=[state_pb2.STATE_PENDING] * 101)
            ),
            "filter.states",
        ),
        (
            rm.ListRequest(filter=request_pb2.RequestFilter(args={"a" * 256: "x" * 65536})),
            rm.ListRequest(filter=request_pb2.RequestFilter(args={"a": "x" * 65537})),
            "filter.args.a",
        ),
        (
            coordination_pb2.RegisterRequest(runner_id="x" * 256, job_types=["x" * 256]),
            coordination_pb2.RegisterRequest(runner_id="x" * 2_000_000),
            "runner_id",
        ),
        (
            coordination_pb2.ReportRequest(reports=[coordination_pb2.RunnerReport()] * 10_000),
            coordination_pb2.ReportRequest(reports=[coordination_pb2.RunnerReport()] * 10_001),
            "reports",
        ),
        (
            journal_pb2.AppendRequest(entries=[job_log_pb2.JobLog()] * 10_000),
            journal_pb2.AppendRequest(entries=[job_log_pb2.JobLog()] * 10_001),
            "entries",
        ),
    ],
)
def test_a_text_is_accepted_up_to_its_bound_and_rejected_beyond(
    longest: Message, refused: Message, path: str
) -> None:
    check_texts(longest, longest.SerializeToString())
    with pytest.raises(InvalidInput, match="it may have at most") as raised:
        check_texts(refused, refused.SerializeToString())

    assert [violation.field for violation in raised.value.violations] == [path]


def test_the_reason_of_a_report_or_a_forwarded_stop_is_never_rejected() -> None:
    finish = request_report_pb2.FinishRequest(state_message="x" * 5_000_000)
    report = coordination_pb2.ReportRequest(reports=[coordination_pb2.RunnerReport(finish=finish)])
    stop = runner_pb2.StopChainsRequest(reason="x" * 5_000_000)

    for request in (finish, report, stop):
        check_texts(request, request.SerializeToString())
