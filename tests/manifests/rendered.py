"""The manifests as `kubectl apply -k` would send them, and what stands in them."""

from __future__ import annotations

import subprocess
import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from spincycle.config import Config
from spincycle.gateway.config import GatewayConfig
from spincycle.job_log.config import JobLogConfig
from spincycle.job_runner.config import JobRunnerConfig
from spincycle.request_manager.config import RequestManagerConfig

REPOSITORY = Path(__file__).parents[2]
SCRIPTS = Path(sysconfig.get_path("scripts"))
OVERLAYS = tuple(sorted(path.name for path in (REPOSITORY / "k8s/overlays").iterdir()))

MODELS: dict[str, type[Config]] = {
    "request-manager": RequestManagerConfig,
    "job-runner": JobRunnerConfig,
    "job-log": JobLogConfig,
    "gateway": GatewayConfig,
}
"""The services, and what each reads."""

PREFIXES = {name: model.prefix for name, model in MODELS.items()}

POD_IP = "10.1.2.3"
DSN = "postgresql://spincycle@127.0.0.1:1/spincycle"

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Manifests:
    """Everything that one overlay makes."""

    all: tuple[Manifest, ...]

    def of_kind(self, kind: str) -> dict[str, Manifest]:
        """By name."""
        return {one["metadata"]["name"]: one for one in self.all if one["kind"] == kind}

    def deployment(self, name: str) -> Manifest:
        """The deployment of a service."""
        return self.of_kind("Deployment")[name]

    def pods(self) -> dict[str, Manifest]:
        """Every pod template by the name of what makes pods of it."""
        templates = {
            one["metadata"]["name"]: one["spec"]["template"]
            for one in self.all
            if one["kind"] in {"Deployment", "StatefulSet", "Job"}
        }
        for name, one in self.of_kind("CronJob").items():
            templates[name] = one["spec"]["jobTemplate"]["spec"]["template"]
        return templates

    def container(self, name: str) -> Manifest:
        """The only container of a workload."""
        (container,) = self.pods()[name]["spec"]["containers"]
        assert isinstance(container, dict)
        return container

    def environment(self, name: str) -> dict[str, str]:
        """What the process of a workload finds in its environment."""
        container = self.container(name)
        said: dict[str, str] = {}
        for source in container.get("envFrom", ()):
            said |= self.of_kind("ConfigMap")[source["configMapRef"]["name"]]["data"]
        for one in container.get("env", ()):
            said[one["name"]] = one["value"] if "value" in one else _from(one["valueFrom"])
        for key, value in said.items():
            for other in said:
                value = value.replace(f"$({other})", said[other])
            said[key] = value
        return said


def _from(source: Manifest) -> str:
    if "fieldRef" in source:
        return {"status.podIP": POD_IP}[source["fieldRef"]["fieldPath"]]
    assert source["secretKeyRef"]["name"] == "database"
    return {"dsn": DSN, "password": "secret"}[source["secretKeyRef"]["key"]]


@cache
def rendered(overlay: str) -> Manifests:
    """What an overlay makes."""
    made = subprocess.run(
        [SCRIPTS / "kubectl", "kustomize", REPOSITORY / "k8s/overlays" / overlay],
        check=True,
        capture_output=True,
        text=True,
    )
    return Manifests(tuple(yaml.safe_load_all(made.stdout)))
