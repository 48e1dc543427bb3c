from __future__ import annotations

import itertools

import pytest

from spincycle.errors import CallerNotAllowed
from spincycle.identity.caller_table import (
    CALLERS,
    LEGACY_CALLERS,
    LEGACY_READS,
    CallerTable,
)
from spincycle.identity.service_identity import SERVICES, ServiceIdentity
from spincycle.internal.v1 import (
    job_runner_service_pb2,
    journal_service_pb2,
    read_access_service_pb2,
    runner_coordination_service_pb2,
)
from spincycle.v1 import (
    access_service_pb2,
    audit_service_pb2,
    job_log_service_pb2,
    request_manager_service_pb2,
    server_service_pb2,
    spec_service_pb2,
)

FILES = (
    access_service_pb2,
    audit_service_pb2,
    read_access_service_pb2,
    job_log_service_pb2,
    request_manager_service_pb2,
    server_service_pb2,
    spec_service_pb2,
    job_runner_service_pb2,
    journal_service_pb2,
    runner_coordination_service_pb2,
)
METHODS = {
    f"/{service.full_name}/{method.name}"
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


def test_the_table_has_a_row_for_each_method_and_no_other() -> None:
    assert set(CALLERS) == METHODS
    assert set(LEGACY_CALLERS) <= METHODS


@pytest.mark.parametrize("legacy", [False, True])
def test_a_service_may_call_exactly_the_methods_that_list_it(legacy: bool) -> None:
    table = CallerTable(legacy_runner_calls=legacy)
    for method, service in itertools.product(sorted(METHODS), SERVICES):
        allowed = CALLERS[method] | (LEGACY_CALLERS.get(method, frozenset()) if legacy else set())
        identity = ServiceIdentity("spincycle", service, "1")
        if service in allowed:
            table.check(method, identity)
        else:
            with pytest.raises(CallerNotAllowed, match=f"^{identity} may not call"):
                table.check(method, identity)


def test_a_method_without_a_row_is_refused() -> None:
    for service in SERVICES:
        with pytest.raises(CallerNotAllowed, match="which is for: no service"):
            CallerTable().check("/spincycle.v1.New/Method", ServiceIdentity("a", service, "1"))


@pytest.mark.parametrize("legacy", [False, True])
def test_a_gateway_calls_for_itself_only_what_runners_of_the_original_need(legacy: bool) -> None:
    table = CallerTable(legacy_runner_calls=legacy)

    without_caller = {method for method in METHODS if not table.needs_caller(method)}

    assert without_caller == (LEGACY_READS if legacy else set())
    assert {"/spincycle.v1.RequestManagerService/Get"} == LEGACY_READS
