"""The manifests as `kubectl apply -k` would send them, and what stands in them."""

from __future__ import annotations

import subprocess
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import yaml

from spincycle.gateway.config import GatewayConfig
from spincycle.job_log.config import JobLogConfig
from spincycle.job_runner.config import JobRunnerConfig
from spincycle.request_manager.config import RequestManagerConfig
from spincycle.runtime.config import Config, Section, load_config

REPOSITORY = Path(__file__).parents[2]
SCRIPTS = Path(sysconfig.get_path("scripts"))
OVERLAYS = tuple(sorted(path.name for path in (REPOSITORY / "k8s/overlays").iterdir()))

DIRECTORIES = ("kubernetes-job", *(f"overlays/{name}" for name in OVERLAYS))
"""The directories below k8s that an operator can apply."""

MODELS: dict[str, type[Config]] = {
    "request-manager": RequestManagerConfig,
    "job-runner": JobRunnerConfig,
    "job-log": JobLogConfig,
    "gateway": GatewayConfig,
}
"""The services, and what each reads."""

INTERNAL_SERVICES = {
    "request-manager": {
        "spincycle.internal.v1.ReadAccessService",
        "spincycle.internal.v1.RunnerCoordinationService",
        "spincycle.v1.AccessService",
        "spincycle.v1.AuditService",
        "spincycle.v1.RequestManagerService",
        "spincycle.v1.ServerService",
        "spincycle.v1.SpecService",
    },
    "job-runner": {"spincycle.internal.v1.JobRunnerService"},
    "job-log": {"spincycle.internal.v1.JournalService", "spincycle.v1.JobLogService"},
}
"""The gRPC services on the internal listener of each process; the gateway has none."""

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

    def ports(self, name: str) -> dict[str, int]:
        """Port numbers of a workload's container, by name."""
        return {port["name"]: port["containerPort"] for port in self.container(name)["ports"]}

    def mounts(self, name: str) -> dict[str, Manifest]:
        """The volumes that a workload's container mounts, by mount path."""
        volumes = {
            volume["name"]: volume for volume in self.pods()[name]["spec"].get("volumes", ())
        }
        return {
            mount["mountPath"]: volumes[mount["name"]]
            for mount in self.container(name).get("volumeMounts", ())
        }

    def secrets(self, name: str) -> dict[str, str]:
        """Names of the Secrets that a workload's container mounts, by mount path."""
        return {
            path: volume["secret"]["secretName"]
            for path, volume in self.mounts(name).items()
            if "secret" in volume
        }

    def certificates(self) -> dict[str, Manifest]:
        """The specifications of the certificates of cert-manager, by the Secret that gets them."""
        found = [one["spec"] for one in self.of_kind("Certificate").values()]
        return {spec["secretName"]: spec for spec in found}

    def configuration(self, name: str) -> Any:
        """The configuration that a service reads from its environment."""
        return load_config(MODELS[name], None, self.environment(name))

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


def listeners(config: Section) -> dict[str, str]:
    """Address of every listener in a configuration, by its key; without those that are off."""
    return {key: address for key, address in _listeners(config) if address}


def listen_settings(config: Section) -> set[str]:
    """The keys of all listeners in a configuration."""
    return {key for key, _ in _listeners(config)}


def _listeners(config: Section, path: str = "") -> Iterator[tuple[str, str]]:
    for field in msgspec.structs.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, Section):
            yield from _listeners(value, f"{path}{field.name}.")
        elif field.name.endswith("listen"):
            yield path + field.name, value


def port_of(address: str) -> int:
    """Port of an address, host:port."""
    return int(address.rpartition(":")[2])


def _from(source: Manifest) -> str:
    if "fieldRef" in source:
        return {"status.podIP": POD_IP}[source["fieldRef"]["fieldPath"]]
    assert source["secretKeyRef"]["name"] == "database"
    return {"dsn": DSN, "password": "secret"}[source["secretKeyRef"]["key"]]


@cache
def rendered(overlay: str) -> Manifests:
    """Return the manifests of an overlay of the repository."""
    return render(REPOSITORY / "k8s/overlays" / overlay)


def render(directory: Path) -> Manifests:
    """Return the manifests of a directory with a kustomization.

    Raises:
        subprocess.CalledProcessError: kustomize refuses it; the error is in its `stderr`.
    """
    made = subprocess.run(
        [SCRIPTS / "kubectl", "kustomize", directory], check=True, capture_output=True, text=True
    )
    return Manifests(tuple(yaml.load_all(made.stdout, yaml.CSafeLoader)))
