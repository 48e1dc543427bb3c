"""kubectl apply and the commands of the upgrade, against an API server that adds its defaults."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.manifests.api_server import ApiServer, Cluster, image_of
from tests.manifests.rendered import DIRECTORIES, REPOSITORY, SCRIPTS, render
from tests.manifests.variants import COMPONENTS, ON_TOP, Variant, write, write_image

PAGE = (REPOSITORY / "docs/how-to/operations.md").read_text()

CONFIG = """
apiVersion: v1
kind: Config
clusters: [{{name: fake, cluster: {{server: "{url}"}}}}]
contexts: [{{name: fake, context: {{cluster: fake}}}}]
current-context: fake
"""

Run = Callable[[str], str]
"""Runs a command line in a directory that has a copy of `k8s`, and returns its output."""


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as serving:
        yield serving


@pytest.fixture
def cluster(server: ApiServer) -> Cluster:
    return server.cluster


@pytest.fixture
def run(server: ApiServer, tmp_path: Path) -> Run:
    (tmp_path / "config").write_text(CONFIG.format(url=server.url))
    shutil.copytree(REPOSITORY / "k8s", tmp_path / "k8s")
    environment = {
        "HOME": str(tmp_path),
        "KUBECONFIG": str(tmp_path / "config"),
        "PATH": f"{SCRIPTS}:{os.environ['PATH']}",
    }

    def finish(command: str) -> str:
        # The time limit ends a wait for something that never happens.
        ended = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            check=False,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=20,
        )
        assert ended.returncode == 0, f"{command}\n{ended.stdout}{ended.stderr}"
        return ended.stdout

    return finish


def commands(section: str) -> list[str]:
    """Command lines of a section of the operations page, in order."""
    text = PAGE.partition(f"\n### {section}\n")[2]
    text = re.split(r"\n##", text)[0]
    lines = "\n".join(re.findall(r"```console\n(.*?)```", text, re.DOTALL))
    # A prompt begins a command, a backslash at its end continues it.
    return re.findall(r"\$ (kubectl (?:.*\\\n)*.*)", lines)


def migrations_of(cluster: Cluster, image: str) -> list[str]:
    """Names of the migration Jobs with an image."""
    return [name for name, stored in cluster.of("jobs") if image_of(stored) == image]


def images(cluster: Cluster) -> set[str]:
    """Images of the Deployments."""
    return {image_of(deployment) for _, deployment in cluster.of("deployments")}


@pytest.mark.parametrize("changed", ["overlays/prod", "overlays/on-top"])
def test_the_documented_lines_name_the_image_in_an_overlay_and_on_top_of_it(
    tmp_path: Path, changed: str
) -> None:
    root = shutil.copytree(REPOSITORY / "k8s", tmp_path / "k8s")
    on_top = write(Variant("prod", ON_TOP), root)
    (lines,) = re.findall(r"```yaml\n( *images:\n.*?)```", PAGE, re.DOTALL)
    with (root / changed / "kustomization.yaml").open("a") as file:
        file.write(textwrap.dedent(lines))

    manifests = render(on_top)

    used = {manifests.container(name)["image"] for name in manifests.pods()}
    assert used == {"registry.example.com/spincycle:0.1.0"}


@pytest.mark.parametrize("directory", [*DIRECTORIES, "overlays/on-top"])
def test_applying_the_same_again_changes_nothing_and_sends_only_disruption_budgets(
    run: Run, cluster: Cluster, tmp_path: Path, directory: str
) -> None:
    write(Variant("dev", ON_TOP, components=COMPONENTS), tmp_path / "k8s")
    run(f"kubectl apply -k k8s/{directory}")
    before = dict(cluster.objects)

    printed = run(f"kubectl apply -k k8s/{directory}").splitlines()

    # kubectl always sends the selector of a disruption budget: its patch strategy is "replace".
    changed = [line for line in printed if not line.endswith(" unchanged")]
    assert [line for line in changed if not line.startswith("poddisruptionbudget.policy/")] == []
    for (resource, name), patch in cluster.patches:
        selector = before[resource, name]["spec"]["selector"]
        assert patch == {"spec": {"selector": selector}}, (resource, name)
    assert len(printed) == len(before)


@pytest.mark.parametrize("section", ["Stop all, migrate, start", "One after the other"])
def test_the_documented_steps_upgrade_to_another_image_after_its_migration(
    run: Run, cluster: Cluster, tmp_path: Path, section: str
) -> None:
    overlay = tmp_path / "k8s/overlays/prod"
    write_image(overlay, "localhost:5000/team/spincycle:2.0.0")
    run("kubectl apply -k k8s/overlays/prod")
    run("kubectl -n spincycle rollout status deployment/request-manager")

    write_image(overlay, "spincycle:V2.0_RC.1")
    for command in commands(section):
        run(command)

    assert images(cluster) == {"spincycle:V2.0_RC.1"}
    assert len(migrations_of(cluster, "localhost:5000/team/spincycle:2.0.0")) == 1
    (job,) = migrations_of(cluster, "spincycle:V2.0_RC.1")
    assert cluster.objects["jobs", job]["status"]["conditions"][0]["type"] == "Complete"


def test_the_steps_that_stop_all_wait_for_the_new_job_only_and_run_it_without_any_pod(
    run: Run, cluster: Cluster, tmp_path: Path
) -> None:
    overlay = tmp_path / "k8s/overlays/prod"
    run("kubectl apply -k k8s/overlays/prod")
    run("kubectl -n spincycle rollout status deployment/request-manager")
    (failed,) = migrations_of(cluster, "spincycle:0.1.0")
    cluster.objects["jobs", failed]["status"] = {
        "failed": 7,
        "conditions": [{"type": "Failed", "status": "True"}],
    }
    cluster.watched.clear()

    write_image(overlay, "spincycle:2.0.0")
    for command in commands("Stop all, migrate, start"):
        run(command)

    (job,) = migrations_of(cluster, "spincycle:2.0.0")
    assert {name for kind, name in cluster.watched if kind == "jobs"} == {job}
    assert cluster.running_at_stop["request-manager"] == {"request-manager", "job-log"}
    assert cluster.pods_during_jobs[job] == 0
    assert {one["spec"]["replicas"] for _, one in cluster.of("deployments")} == {2}


def test_the_api_server_refuses_another_template_for_a_job_that_exists(
    run: Run, cluster: Cluster, tmp_path: Path
) -> None:
    run("kubectl apply -k k8s/overlays/prod")
    (job,) = migrations_of(cluster, "spincycle:0.1.0")
    rendered = run("kubectl kustomize k8s/overlays/prod")
    changed = tmp_path / "changed.yaml"
    changed.write_text(rendered.replace("spincycle:0.1.0", "spincycle:0.2.0"))

    with pytest.raises(AssertionError, match=f"{job}.*field is immutable"):
        run("kubectl apply -f changed.yaml")
