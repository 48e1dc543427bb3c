"""The NetworkPolicies admit only the callers that each port is for."""

from __future__ import annotations

from collections import defaultdict
from typing import Literal

from tests.manifests.rendered import MODELS, Manifest, Manifests

NAME = "app.kubernetes.io/name"

ADMITTED = {
    ("request-manager", "grpc"): {"clients"},
    ("request-manager", "internal"): {"job-runner", "gateway"},
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

OUTSIDE: dict[str, Manifest] = {
    "clients": {"namespaceSelector": {"matchLabels": {"spincycle/clients": "true"}}},
    "prometheus": {"namespaceSelector": {"matchLabels": {"spincycle/metrics": "true"}}},
    "dns": {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    },
    "database": {"podSelector": {"matchLabels": {"cnpg.io/cluster": "spincycle"}}},
}
"""The only peers of policies that are not workloads of the overlay."""


def workloads(manifests: Manifests) -> dict[str, str]:
    """The name in the labels of each workload's pods, and the workload's own name."""
    return {pod["metadata"]["labels"][NAME]: workload for workload, pod in manifests.pods().items()}


def selected(manifests: Manifests, selector: Manifest) -> set[str]:
    """The workloads whose pods a selector matches."""
    assert selector.keys() <= {"matchLabels", "matchExpressions"}
    found = set()
    for pod in manifests.pods().values():
        labels = pod["metadata"]["labels"]
        if selector.get("matchLabels", {}).items() <= labels.items() and all(
            _matches(expression, labels) for expression in selector.get("matchExpressions", ())
        ):
            found.add(labels[NAME])
    return found


def _matches(expression: Manifest, labels: dict[str, str]) -> bool:
    assert expression["operator"] == "In", "this test evaluates no other operator"
    return labels.get(expression["key"]) in expression["values"]


def peers(manifests: Manifests, rule: list[Manifest]) -> set[str]:
    """The workloads of the overlay, and the names of the peers outside, that a rule admits."""
    assert rule, "a rule without peers admits every address"
    found: set[str] = set()
    for peer in rule:
        outside = {name for name, known in OUTSIDE.items() if known == peer}
        assert outside or peer.keys() == {"podSelector"}, f"unknown peer: {peer}"
        found |= outside or selected(manifests, peer["podSelector"])
    return found


def connections(
    manifests: Manifests, direction: Literal["ingress", "egress"]
) -> set[tuple[str, str, int]]:
    """Workload, peer and port of every connection that the policies allow in one direction."""
    side = {"ingress": "from", "egress": "to"}[direction]
    found: set[tuple[str, str, int]] = set()
    for name, policy in manifests.of_kind("NetworkPolicy").items():
        for rule in policy["spec"].get(direction, ()):
            assert rule.keys() == {side, "ports"}, f"{name} admits every peer or every port"
            for port in rule["ports"]:
                assert port.keys() - {"protocol"} == {"port"}, f"{name} admits a range of ports"
                found |= {
                    (workload, peer, port["port"])
                    for workload in selected(manifests, policy["spec"]["podSelector"])
                    for peer in peers(manifests, rule[side])
                }
    return found


def admitted(manifests: Manifests) -> dict[tuple[str, str], set[str]]:
    """The callers that the policies admit to each port of each workload."""
    own_names = workloads(manifests)
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for workload, peer, number in connections(manifests, "ingress"):
        ports = {number: port for port, number in manifests.ports(own_names[workload]).items()}
        found[workload, ports.get(number, str(number))].add(peer)
    return dict(found)


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


def test_no_policy_opens_a_health_port(manifests: Manifests) -> None:
    assert "health" not in {port for _, port in admitted(manifests)}


def test_every_connection_that_no_policy_allows_is_forbidden(manifests: Manifests) -> None:
    policy = manifests.of_kind("NetworkPolicy")["nothing-else"]["spec"]

    assert policy == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
