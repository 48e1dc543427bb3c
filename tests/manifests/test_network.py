"""The NetworkPolicies admit only the callers that each port is for."""

from __future__ import annotations

from collections import defaultdict

from tests.manifests.policies import OUTSIDE, admitted, connections, workloads
from tests.manifests.rendered import INTERNAL_SERVICES, MODELS, Manifests

from spincycle.identity.caller_table import CALLERS, LEGACY_CALLERS

ADMITTED = {
    ("request-manager", "grpc"): {"clients"},
    ("request-manager", "internal"): {"job-runner", "job-log", "gateway"},
    ("request-manager", "metrics"): {"prometheus"},
    ("job-runner", "internal"): {"request-manager"},
    ("job-runner", "metrics"): {"prometheus"},
    ("job-log", "grpc"): {"clients"},
    ("job-log", "internal"): {"request-manager", "job-runner", "gateway"},
    ("job-log", "metrics"): {"prometheus"},
    ("gateway", "http"): {"clients"},
    ("gateway", "metrics"): {"prometheus"},
    ("postgres", "postgres"): {"request-manager", "job-log", "migrate", "prune"},
}
"""The callers of each port. The kubelet's probes need no policy, so health ports have no row."""


def test_each_port_admits_exactly_the_callers_that_it_is_for(manifests: Manifests) -> None:
    present = workloads(manifests).keys() | OUTSIDE.keys()

    assert admitted(manifests) == {
        (workload, port): callers & present
        for (workload, port), callers in ADMITTED.items()
        if workload in present
    }


def test_each_workload_may_call_dns_the_database_and_the_ports_that_admit_it(
    manifests: Manifests,
) -> None:
    names = workloads(manifests)
    expected = {
        (caller, workload, manifests.ports(names[workload])[port])
        for (workload, port), callers in ADMITTED.items()
        if workload in names
        for caller in callers & names.keys()
    }
    expected |= {(workload, "dns", 53) for workload in names}
    if "postgres" not in names:
        callers = ADMITTED["postgres", "postgres"] & names.keys()
        expected |= {(caller, "database", 5432) for caller in callers}

    assert connections(manifests, "egress") == expected


def test_each_internal_port_admits_exactly_the_services_that_are_configured_to_call_it(
    manifests: Manifests,
) -> None:
    # Request managers call runners at the addresses that the runners register.
    configured: dict[str, set[str]] = defaultdict(set, {"job-runner": {"request-manager"}})
    for caller in MODELS:
        for value in manifests.environment(caller).values():
            if value.startswith("dns:///"):
                configured[value.removeprefix("dns:///").partition(":")[0]].add(caller)

    assert configured == {
        workload: callers
        for (workload, port), callers in admitted(manifests).items()
        if port == "internal"
    }


def test_each_internal_port_admits_exactly_the_services_that_may_call_a_method_of_its_listener(
    manifests: Manifests,
) -> None:
    allowed: dict[str, set[str]] = defaultdict(set)
    for table in (CALLERS, LEGACY_CALLERS):
        for method, callers in table.items():
            (callee,) = [
                name
                for name, services in INTERNAL_SERVICES.items()
                if method.removeprefix("/").partition("/")[0] in services
            ]
            if table is CALLERS or manifests.configuration(callee).legacy_runner_calls:
                allowed[callee] |= callers

    assert allowed == {
        workload: callers
        for (workload, port), callers in admitted(manifests).items()
        if port == "internal"
    }


def test_no_policy_opens_a_health_port(manifests: Manifests) -> None:
    assert "health" not in {port for _, port in admitted(manifests)}


def test_every_connection_that_no_policy_allows_is_forbidden(manifests: Manifests) -> None:
    policy = manifests.of_kind("NetworkPolicy")["nothing-else"]["spec"]

    assert policy == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
