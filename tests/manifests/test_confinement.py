"""What pods may do, whom they may call, and how many of them there are."""

from __future__ import annotations

from typing import Any

import pytest
from tests.manifests.rendered import MODELS, PREFIXES, Manifests

NAME = "app.kubernetes.io/name"

ARROWS = {
    *(("scraper", name) for name in MODELS),
    ("people", "request-manager"),
    ("people", "gateway"),
    ("gateway", "request-manager"),
    ("gateway", "job-log"),
    ("request-manager", "job-runner"),
    ("request-manager", "job-log"),
    ("job-runner", "request-manager"),
    ("job-runner", "job-log"),
    ("request-manager", "database"),
    ("job-log", "database"),
    ("migrate", "database"),
    ("prune", "database"),
}
"""Who calls whom."""


def workload_names(selector: dict[str, Any]) -> set[str]:
    """The workloads that a selector of a policy means."""
    names = {selector["matchLabels"][NAME]} if NAME in selector.get("matchLabels", {}) else set()
    for expression in selector.get("matchExpressions", ()):
        assert (expression["key"], expression["operator"]) == (NAME, "In")
        names |= set(expression["values"])
    return names


def peers(rule: list[dict[str, Any]]) -> set[str]:
    """Whom a rule means."""
    found: set[str] = set()
    for peer in rule:
        labels = peer.get("podSelector", {}).get("matchLabels", {})
        space = peer.get("namespaceSelector", {}).get("matchLabels", {})
        if space.get("spincycle/clients"):
            found.add("people")
        elif space.get("spincycle/metrics"):
            found.add("scraper")
        elif "cnpg.io/cluster" in labels or labels.get(NAME) == "postgres":
            found.add("database")
        elif labels.get("k8s-app") != "kube-dns":
            found |= workload_names(peer["podSelector"])
    return found


def test_nothing_may_be_called_but_what_the_architecture_has_an_arrow_for(
    manifests: Manifests,
) -> None:
    incoming: set[tuple[str, str]] = set()
    outgoing: set[tuple[str, str]] = set()
    for policy in manifests.of_kind("NetworkPolicy").values():
        spec = policy["spec"]
        own = workload_names(spec["podSelector"])
        for rule in spec.get("ingress", ()):
            incoming |= {(peer, one) for peer in peers(rule["from"]) for one in own}
        for rule in spec.get("egress", ()):
            outgoing |= {(one, peer) for peer in peers(rule["to"]) for one in own}
    incoming = {(caller, "database" if to == "postgres" else to) for caller, to in incoming}

    inside = {arrow for arrow in ARROWS if "database" not in arrow}
    assert {arrow for arrow in incoming if "database" not in arrow} == inside
    assert outgoing == {arrow for arrow in ARROWS if arrow[0] not in {"people", "scraper"}}


def test_what_no_policy_names_is_forbidden(manifests: Manifests) -> None:
    rest = manifests.of_kind("NetworkPolicy")["nothing-else"]["spec"]

    assert rest == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize("name", MODELS)
def test_a_policy_opens_the_port_that_is_served(manifests: Manifests, name: str) -> None:
    listen = manifests.environment(name)[f"{PREFIXES[name]}LISTEN"]
    served = int(listen.rpartition(":")[2])
    policies = manifests.of_kind("NetworkPolicy")
    rules = [rule["ports"] for rule in policies[name]["spec"]["ingress"]]
    for caller in MODELS:
        rules += [
            rule["ports"]
            for rule in policies[caller]["spec"].get("egress", ())
            if peers(rule["to"]) == {name}
        ]

    assert {port["port"] for ports in rules for port in ports} == {served}


def test_every_pod_is_restricted(manifests: Manifests) -> None:
    (space,) = manifests.of_kind("Namespace").values()
    assert space["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"

    for name, pod in manifests.pods().items():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["serviceAccountName"] in manifests.of_kind("ServiceAccount"), name
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), name
            assert {"cpu", "memory"} <= container["resources"]["limits"].keys(), name


def test_no_variables_of_services_are_taken_for_configuration(manifests: Manifests) -> None:
    for name, pod in manifests.pods().items():
        assert pod["spec"]["enableServiceLinks"] is False, name


@pytest.mark.parametrize("name", MODELS)
def test_a_service_grows_and_one_copy_of_it_at_a_time_may_be_taken_away(
    manifests: Manifests, name: str
) -> None:
    deployment = manifests.deployment(name)["spec"]
    scaler = manifests.of_kind("HorizontalPodAutoscaler")[name]["spec"]
    budget = manifests.of_kind("PodDisruptionBudget")[name]["spec"]

    assert "replicas" not in deployment, "applying it would undo what the autoscaler did"
    assert scaler["scaleTargetRef"]["name"] == name
    assert scaler["minReplicas"] < scaler["maxReplicas"]
    assert scaler["metrics"][0]["resource"]["name"] == "cpu"
    assert budget["maxUnavailable"] == 1
    for selector in (deployment["selector"], budget["selector"]):
        assert selector == {"matchLabels": {NAME: name}}
    assert deployment["template"]["metadata"]["labels"][NAME] == name
