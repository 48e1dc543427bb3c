"""What pods may do, and how many of them there are."""

from __future__ import annotations

import pytest
from tests.manifests.rendered import MODELS, Manifests

NAME = "app.kubernetes.io/name"


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
