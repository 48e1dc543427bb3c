from __future__ import annotations

import pytest
from google.protobuf.message import Message

from spincycle.errors import InvalidInput
from spincycle.internal.v1 import runner_coordination_service_pb2 as coordination_pb2
from spincycle.rpc.texts import check_texts
from spincycle.v1 import (
    job_chain_pb2,
    request_pb2,
    request_report_pb2,
    spec_pb2,
    spec_service_pb2,
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
            "reports.progress.request_id",
        ),
    ],
)
def test_a_text_with_nul_is_refused_by_its_path(request_: Message, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_texts(request_, request_.SerializeToString())

    assert [violation.field for violation in refused.value.violations] == [field]


def test_what_is_not_kept_as_text_may_hold_anything() -> None:
    chain = job_chain_pb2.JobChain(jobs=[job_chain_pb2.Job(id=NUL, bytes=NUL.encode())])
    suspended = suspended_job_chain_pb2.SuspendedJobChain(request_id="r", job_chain=chain)

    for request in (
        coordination_pb2.ReportRequest(
            reports=[coordination_pb2.RunnerReport(suspended=suspended)]
        ),
        spec_service_pb2.LintRequest(files=[spec_pb2.SpecFile(path="x", content=NUL)]),
    ):
        check_texts(request, request.SerializeToString())
