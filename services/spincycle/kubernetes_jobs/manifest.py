"""Manifest of the Kubernetes Job for one try: name, labels and specification.

The name is derived from the request, the job and the key of the attempt. A try that replaces an
interrupted one has the same key, so it computes the same name and finds the running Job; the API
server rejects a second one. A retry has another key and therefore a Job of its own. No state
beyond the journal is needed.

An annotation has the number of the try, which only increases: if two runners claim a Job, the one
with the lower number detects that it is outdated.
"""

from __future__ import annotations

import json
import re
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from spincycle.job.job import Attempt, JobId
    from spincycle.kubernetes_jobs.container import Container
    from spincycle.model.job_chain import Value

Manifest: TypeAlias = dict[str, Any]

CONTAINER = "main"
"""Name of the one container of the pod."""

REQUEST_LABEL = "spincycle/request-id"
JOB_LABEL = "spincycle/job-id"
NAME_LABEL = "spincycle/job-name"
TRY_ANNOTATION = "spincycle/try"

MAX_DATA = 100 * 1024
"""Maximum size in bytes of the job data in an environment variable, whose size Linux limits."""

_SLUG_LENGTH = 40
_NOT_DNS = re.compile(r"[^a-z0-9]+")
_NOT_LABEL = re.compile(r"[^A-Za-z0-9]")


def job_name(job_id: JobId, key: str) -> str:
    """Return the name of the Kubernetes Job: readable, and determined by request, job and key."""
    slug = _NOT_DNS.sub("-", job_id.name.lower())[:_SLUG_LENGTH].strip("-")
    digest = sha256("\0".join((job_id.request_id, job_id.id, key)).encode()).hexdigest()[:16]
    return f"{slug}-{digest}" if slug else f"spincycle-{digest}"


def selector(job_id: JobId) -> str:
    """Return the label selector of the Kubernetes Jobs of all tries of a job."""
    labels = _labels(job_id)
    return ",".join(f"{key}={labels[key]}" for key in (REQUEST_LABEL, JOB_LABEL))


def is_of(job: Manifest, job_id: JobId) -> bool:
    """Return whether a Kubernetes Job was created for this job of Spin Cycle."""
    labels = job["metadata"].get("labels") or {}
    return all(labels.get(key) == value for key, value in _labels(job_id).items())


def try_of(job: Manifest) -> int:
    """Return the number of the try that owns a Kubernetes Job; 0 if it is not annotated."""
    text = (job["metadata"].get("annotations") or {}).get(TRY_ANNOTATION, "")
    return int(text) if text.isdecimal() else 0


def manifest(
    container: Container, job_id: JobId, attempt: Attempt, data: dict[str, Value]
) -> Manifest:
    """Return the Kubernetes Job to create; `data` is passed to the container as SPINCYCLE_DATA.

    The cluster never restarts the pod: Spin Cycle retries the job and journals each try.
    """
    name = job_name(job_id, attempt.key)
    labels = {**container.labels, **_labels(job_id), "app.kubernetes.io/managed-by": "spincycle"}
    annotations = {
        TRY_ANNOTATION: str(attempt.number),
        "spincycle/request": job_id.request_id,
        "spincycle/job": f"{job_id.display_name} ({job_id.id})",
    }
    spec: Manifest = {
        "backoffLimit": 0,
        "completions": 1,
        "parallelism": 1,
        "ttlSecondsAfterFinished": container.ttl,
        "template": {
            "metadata": {
                "labels": {**labels, NAME_LABEL: name},
                "annotations": {
                    # Scaling down the node would lose the work of the running pod.
                    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false"
                },
            },
            "spec": _pod(container, job_id, data),
        },
    }
    if container.timeout:
        spec["activeDeadlineSeconds"] = container.timeout
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels, "annotations": annotations},
        "spec": spec,
    }


def _labels(job_id: JobId) -> dict[str, str]:
    return {
        REQUEST_LABEL: _NOT_LABEL.sub("-", job_id.request_id)[:63],
        JOB_LABEL: _NOT_LABEL.sub("-", job_id.id)[:63],
    }


def _pod(container: Container, job_id: JobId, data: dict[str, Value]) -> Manifest:
    pod: Manifest = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": container.grace,
        "enableServiceLinks": False,
        "automountServiceAccountToken": bool(container.service_account),
        "containers": [_container(container, job_id, data)],
    }
    if container.service_account:
        pod["serviceAccountName"] = container.service_account
    if container.node_selector:
        pod["nodeSelector"] = container.node_selector
    if container.restricted:
        pod["securityContext"] = {
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
    return pod


def _container(container: Container, job_id: JobId, data: dict[str, Value]) -> Manifest:
    variables = {
        "SPINCYCLE_REQUEST_ID": job_id.request_id,
        "SPINCYCLE_JOB_ID": job_id.id,
        "SPINCYCLE_JOB_NAME": job_id.name,
    }
    encoded = json.dumps(data)
    if data and len(encoded) <= MAX_DATA:
        variables["SPINCYCLE_DATA"] = encoded
    requests = {"cpu": container.cpu, "memory": container.memory}
    spec: Manifest = {
        "name": CONTAINER,
        "image": container.image,
        "env": [
            {"name": name, "value": value}
            if isinstance(value, str)
            else {"name": name, "valueFrom": value}
            for name, value in {**variables, **container.env}.items()
        ],
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
    }
    if container.command:
        spec["command"] = list(container.command)
    if container.args:
        spec["args"] = list(container.args)
    if any(requests.values()):
        spec["resources"] = {"requests": {key: value for key, value in requests.items() if value}}
        if container.memory:
            spec["resources"]["limits"] = {"memory": container.memory}
    if container.restricted:
        spec["securityContext"] = {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
    return spec
