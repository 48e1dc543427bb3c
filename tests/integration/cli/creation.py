"""What spinc is shown before it creates a request, and the creates that it sends."""

from __future__ import annotations

from tests.cli_samples import ID
from tests.integration.cli.fake_services import FakeServices, Memory

from spincycle.v1 import request_manager_service_pb2 as rm


def create_requests(services: FakeServices) -> list[rm.CreateRequest]:
    return [one for one in services.memory.received if isinstance(one, rm.CreateRequest)]


def with_plan(services: FakeServices) -> None:
    def fill(memory: Memory) -> None:
        plan = rm.PlanResponse().plan
        plan.type = "rolling-restart"
        plan.plan_hash = "ab12"
        plan.work_jobs = 8
        plan.widest = 2
        plan.job_chain.CopyFrom(memory.chains[ID])
        memory.plan = plan

    services.update(fill)
