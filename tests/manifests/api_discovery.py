"""The documents by which kubectl learns the resources of an API server."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.manifests.rendered import Manifest

RESOURCES: dict[str, dict[str, str]] = {
    "v1": {
        "configmaps": "ConfigMap",
        "namespaces": "Namespace",
        "pods": "Pod",
        "secrets": "Secret",
        "serviceaccounts": "ServiceAccount",
        "services": "Service",
    },
    "apps/v1": {"deployments": "Deployment", "statefulsets": "StatefulSet"},
    "autoscaling/v2": {"horizontalpodautoscalers": "HorizontalPodAutoscaler"},
    "batch/v1": {"cronjobs": "CronJob", "jobs": "Job"},
    "cert-manager.io/v1": {"certificates": "Certificate", "issuers": "Issuer"},
    "networking.k8s.io/v1": {"networkpolicies": "NetworkPolicy"},
    "policy/v1": {"poddisruptionbudgets": "PodDisruptionBudget"},
    "rbac.authorization.k8s.io/v1": {"rolebindings": "RoleBinding", "roles": "Role"},
}
"""The resources of each version of the API, and their kinds."""


def discovery(path: str) -> Manifest | None:
    """Return the document at a path that lists versions, resources or their schemas."""
    groups = [version for version in RESOURCES if "/" in version]
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        return {
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": [
                {
                    "name": version.partition("/")[0],
                    "versions": [{"groupVersion": version, "version": version.rpartition("/")[2]}],
                }
                for version in groups
            ],
        }
    if path == "/openapi/v3":
        paths = [f"{'apis' if '/' in version else 'api'}/{version}" for version in RESOURCES]
        return {"paths": {each: {"serverRelativeURL": f"/openapi/v3/{each}"} for each in paths}}
    version = re.sub(r"^(/openapi/v3)?/apis?/", "", path)
    if path.startswith("/openapi") and version in RESOURCES:
        return _schema(version)
    if version in RESOURCES:
        return {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": version,
            "resources": list(_resources(version)),
        }
    return None


def _resources(version: str) -> Iterator[Manifest]:
    verbs = ["create", "delete", "get", "list", "patch", "watch"]
    for resource, kind in RESOURCES[version].items():
        common = {"namespaced": resource != "namespaces", "verbs": verbs}
        yield {"name": resource, "singularName": kind.lower(), "kind": kind, **common}
        if version == "apps/v1":
            scale = {"group": "autoscaling", "version": "v1", "kind": "Scale"}
            yield {"name": f"{resource}/scale", "singularName": "", **scale, **common}


def _schema(version: str) -> Manifest:
    """Return the part of an OpenAPI document that says that the server validates fields."""
    group, _, number = version.rpartition("/")
    patches = {
        f"/{resource}/{{name}}": {
            "patch": {
                "parameters": [{"name": "fieldValidation", "in": "query"}],
                "x-kubernetes-group-version-kind": {
                    "group": group,
                    "version": number,
                    "kind": kind,
                },
            }
        }
        for resource, kind in RESOURCES[version].items()
    }
    return {"openapi": "3.0.0", "info": {"title": "", "version": ""}, "paths": patches}
