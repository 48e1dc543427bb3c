"""What lets runners run containers: a namespace with rights in it, and a component."""

from __future__ import annotations

import pytest
from tests.manifests.rendered import OVERLAYS, REPOSITORY, Manifests, render
from tests.manifests.variants import OWN, Variant, rendered_variant

from spincycle.kubernetes_jobs.connection import NAMESPACE_VARIABLE


@pytest.fixture
def rights() -> Manifests:
    return render(REPOSITORY / "k8s" / "kubernetes-job")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_with_the_component_lets_its_runners_reach_the_api_server(
    overlay: str, rights: Manifests
) -> None:
    manifests = rendered_variant(Variant(overlay, OWN, components=("kubernetes-job",)))

    pod = manifests.pods()["job-runner"]["spec"]
    assert pod["automountServiceAccountToken"] is True
    settings = {variable["name"]: variable.get("value") for variable in pod["containers"][0]["env"]}
    assert [settings[NAMESPACE_VARIABLE]] == list(rights.of_kind("Namespace"))
    policy = manifests.of_kind("NetworkPolicy")["kubernetes-job"]["spec"]
    assert policy["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "job-runner"}
    assert policy["policyTypes"] == ["Egress"], "the component must not open a port of the runner"
    [subject] = rights.of_kind("RoleBinding")["kubernetes-job"]["subjects"]
    account = manifests.of_kind("ServiceAccount")[pod["serviceAccountName"]]["metadata"]
    assert (subject["name"], subject["namespace"]) == (account["name"], account["namespace"])
