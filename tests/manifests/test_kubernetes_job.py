"""What lets runners run containers: a namespace with rights in it, and a component."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.manifests.rendered import OVERLAYS, REPOSITORY, SCRIPTS

from spincycle.kubernetes_jobs.connection import NAMESPACE_VARIABLE


def rendered(directory: Path) -> list[dict[str, Any]]:
    made = subprocess.run(
        [SCRIPTS / "kubectl", "kustomize", directory], check=True, capture_output=True
    )
    return list(yaml.safe_load_all(made.stdout))


def only(manifests: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    [found] = [m for m in manifests if (m["kind"], m["metadata"]["name"]) == (kind, name)]
    return found


@pytest.fixture
def rights() -> list[dict[str, Any]]:
    return rendered(REPOSITORY / "k8s" / "kubernetes-job")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_with_the_component_lets_its_runners_reach_the_api_server(
    overlay: str, tmp_path: Path, rights: list[dict[str, Any]]
) -> None:
    shutil.copytree(REPOSITORY / "k8s", tmp_path / "k8s")
    file = tmp_path / "k8s" / "overlays" / overlay / "kustomization.yaml"
    said = yaml.safe_load(file.read_text())
    said["components"].append("../../components/kubernetes-job")
    file.write_text(yaml.safe_dump(said))

    manifests = rendered(file.parent)

    pod = only(manifests, "Deployment", "job-runner")["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is True
    settings = {variable["name"]: variable.get("value") for variable in pod["containers"][0]["env"]}
    assert (
        settings[NAMESPACE_VARIABLE]
        == only(rights, "Namespace", "spincycle-jobs")["metadata"]["name"]
    )
    policy = only(manifests, "NetworkPolicy", "kubernetes-job")["spec"]
    assert policy["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "job-runner"}
    assert policy["policyTypes"] == ["Egress"], "the component must not open a port of the runner"
    [subject] = only(rights, "RoleBinding", "kubernetes-job")["subjects"]
    account = only(manifests, "ServiceAccount", pod["serviceAccountName"])["metadata"]
    assert (subject["name"], subject["namespace"]) == (account["name"], account["namespace"])
