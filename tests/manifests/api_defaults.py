"""The fields that the API server of Kubernetes adds to an object, as far as the manifests need."""

from __future__ import annotations

import copy
import re
from fractions import Fraction
from typing import Any

from tests.manifests.rendered import Manifest

PROBE = {"failureThreshold": 3, "periodSeconds": 10, "successThreshold": 1, "timeoutSeconds": 1}

SPECS: dict[str, Manifest] = {
    "Deployment": {
        "progressDeadlineSeconds": 600,
        "replicas": 1,
        "revisionHistoryLimit": 10,
        "strategy": {},
    },
    "StatefulSet": {
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
        "podManagementPolicy": "OrderedReady",
        "revisionHistoryLimit": 10,
        "updateStrategy": {"rollingUpdate": {"partition": 0}, "type": "RollingUpdate"},
    },
    "Job": {"completionMode": "NonIndexed", "completions": 1, "parallelism": 1, "suspend": False},
    "CronJob": {
        "failedJobsHistoryLimit": 1,
        "successfulJobsHistoryLimit": 3,
        "suspend": False,
    },
    "Service": {
        "internalTrafficPolicy": "Cluster",
        "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack",
        "sessionAffinity": "None",
        "type": "ClusterIP",
    },
    "Namespace": {"finalizers": ["kubernetes"]},
}
"""Defaults of `spec`, by kind."""

MAPS: dict[str, Manifest] = {
    "strategy": {"type": "RollingUpdate"},
    "startupProbe": PROBE,
    "livenessProbe": PROBE,
    "readinessProbe": PROBE,
    "httpGet": {"scheme": "HTTP"},
    "grpc": {"service": ""},
    "fieldRef": {"apiVersion": "v1"},
    "configMap": {"defaultMode": 420},
    "scaleUp": {"selectPolicy": "Max", "stabilizationWindowSeconds": 0},
    "scaleDown": {"selectPolicy": "Max"},
}
"""Defaults of the map at a key, at any depth."""

ITEMS: dict[str, Manifest] = {
    "containers": {
        "imagePullPolicy": "IfNotPresent",
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
    },
    "ports": {"protocol": "TCP"},
    "volumeClaimTemplates": {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "spec": {"volumeMode": "Filesystem"},
        "status": {"phase": "Pending"},
    },
}
"""Defaults of each item of the list at a key, at any depth."""

POD = {
    "dnsPolicy": "ClusterFirst",
    "restartPolicy": "Always",
    "schedulerName": "default-scheduler",
    "terminationGracePeriodSeconds": 30,
}

QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(Ki|Mi|Gi|Ti|m|k|M|G|T|)")
UNITS = {
    "Ti": Fraction(2**40),
    "Gi": Fraction(2**30),
    "Mi": Fraction(2**20),
    "Ki": Fraction(2**10),
    "T": Fraction(10**12),
    "G": Fraction(10**9),
    "M": Fraction(10**6),
    "k": Fraction(10**3),
    "": Fraction(1),
    "m": Fraction(1, 1000),
}


def with_defaults(manifest: Manifest) -> Manifest:
    """Return an object as the API server would store it: with defaults, quantities rewritten."""
    stored: Manifest = _complete(manifest, manifest["kind"])
    if defaults := SPECS.get(stored["kind"]):
        stored["spec"] = _complete(_merged(defaults, stored.get("spec", {})), "spec")
    return stored


def _complete(value: Any, key: str) -> Any:
    """Add the defaults to the value at a key, and to all below."""
    if isinstance(value, dict):
        merged = _merged(MAPS.get(key, {}), value)
        if "containers" in merged:
            merged = _merged(POD, merged)
        return {inner: _complete(item, inner) for inner, item in merged.items()}
    if isinstance(value, list):
        defaults = ITEMS.get(key, {})
        return [
            _complete(_merged(defaults, item) if isinstance(item, dict) else item, "")
            for item in value
        ]
    if key in {"cpu", "memory", "ephemeral-storage", "storage", "sizeLimit"}:
        return canonical(str(value))
    return value


def _merged(defaults: Manifest, given: Manifest) -> Manifest:
    merged = copy.deepcopy(defaults)
    for key, value in given.items():
        present = merged.get(key)
        if isinstance(present, dict) and isinstance(value, dict):
            merged[key] = _merged(present, value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def canonical(quantity: str) -> str:
    """Return a quantity as the API server writes it: whole, with the largest possible suffix.

    Raises:
        ValueError: it is not a quantity.
    """
    if not (parsed := QUANTITY.fullmatch(quantity)):
        raise ValueError(f"{quantity} is not a quantity")
    amount = Fraction(parsed[1]) * UNITS[parsed[2]]
    binary = parsed[2].endswith("i")
    for suffix, unit in UNITS.items():
        if (suffix.endswith("i") == binary or suffix == "") and amount % unit == 0:
            return f"{amount / unit}{suffix}"
    raise ValueError(f"{quantity} has more than three decimals")
