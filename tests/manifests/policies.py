"""The connections that the NetworkPolicies of an overlay allow."""

from __future__ import annotations

from collections import defaultdict
from typing import Literal

from tests.manifests.rendered import Manifest, Manifests

NAME = "app.kubernetes.io/name"

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
