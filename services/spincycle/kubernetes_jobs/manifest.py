"""The Kubernetes Job for one try: its name, its labels, and all that the API server is told.

The name is made of the request, the job and the key of the attempt. A try that takes the place
of an interrupted one has the same key, so it comes to the same name and finds the Job that
runs; the API server itself then refuses a second one. A retry has another key, and so a Job of
its own, whatever is left of the one before. Nothing has to be remembered for that but what the
journal holds anyway.

The number of the try stands in an annotation. It only grows, so of two runners that both
believe a Job to be theirs the one with the lower number can tell that it is out of date.
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

MOST_DATA = 100 * 1024
"""Bytes of job data that a container can be given; Linux has a limit for a variable."""

_SLUG_LENGTH = 40
_NOT_DNS = re.compile(r"[^a-z0-9]+")
_NOT_LABEL = re.compile(r"[^A-Za-z0-9]")


def job_name(job_id: JobId, key: str) -> str:
    """Name of the Kubernetes Job: readable, and the same for the same request, job and key."""
    slug = _NOT_DNS.sub("-", job_id.name.lower())[:_SLUG_LENGTH].strip("-")
    digest = sha256("\0".join((job_id.request_id, job_id.id, key)).encode()).hexdigest()[:16]
    return f"{slug}-{digest}" if slug else f"spincycle-{digest}"


def selector(job_id: JobId) -> str:
    """Selects the Kubernetes Jobs of all tries of a job."""
    labels = _labels(job_id)
    return ",".join(f"{key}={labels[key]}" for key in (REQUEST_LABEL, JOB_LABEL))


def is_of(job: Manifest, job_id: JobId) -> bool:
    """Whether a Kubernetes Job was made for a job of Spin Cycle."""
    labels = job["metadata"].get("labels") or {}
    return all(labels.get(key) == value for key, value in _labels(job_id).items())


def try_of(job: Manifest) -> int:
    """Number of the try that a Kubernetes Job belongs to."""
    text = (job["metadata"].get("annotations") or {}).get(TRY_ANNOTATION, "")
    return int(text) if text.isdecimal() else 0


def manifest(
    container: Container, job_id: JobId, attempt: Attempt, data: dict[str, Value]
) -> Manifest:
    """The Kubernetes Job to create; `data` is the job data that the container is told.

    The pod is never begun again by the cluster: retries belong to Spin Cycle, which
    journals them.
    """
    name = job_name(job_id, attempt.key)
    labels = {**container.labels, **_labels(job_id), "app.kubernetes.io/managed-by": "spincycle"}
    annotations = {
        TRY_ANNOTATION: str(attempt.number),
        "spincycle/request": job_id.request_id,
        "spincycle/job": f"{job_id.name} ({job_id.id})",
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
                    # A node that is scaled down would take a running pod's work with it.
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
    told = {
        "SPINCYCLE_REQUEST_ID": job_id.request_id,
        "SPINCYCLE_JOB_ID": job_id.id,
        "SPINCYCLE_JOB_NAME": job_id.name,
    }
    known = json.dumps(data)
    if data and len(known) <= MOST_DATA:
        told["SPINCYCLE_DATA"] = known
    requests = {"cpu": container.cpu, "memory": container.memory}
    made: Manifest = {
        "name": CONTAINER,
        "image": container.image,
        "env": [
            {"name": name, "value": value}
            if isinstance(value, str)
            else {"name": name, "valueFrom": value}
            for name, value in {**told, **container.env}.items()
        ],
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
    }
    if container.command:
        made["command"] = list(container.command)
    if container.args:
        made["args"] = list(container.args)
    if any(requests.values()):
        made["resources"] = {"requests": {key: value for key, value in requests.items() if value}}
        if container.memory:
            made["resources"]["limits"] = {"memory": container.memory}
    if container.restricted:
        made["securityContext"] = {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
    return made
