"""Interprets the state of a Kubernetes Job and its pod: status text and outcome."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from spincycle.kubernetes_jobs.manifest import CONTAINER, Manifest
from spincycle.model.duration import format_duration

if TYPE_CHECKING:
    from spincycle.kubernetes_jobs.container import Container
    from spincycle.model.job_chain import Value

PERMANENT_ERRORS = frozenset({"InvalidImageName", "ErrImageNeverPull"})
"""Reasons of a waiting container that never resolve."""

TRANSIENT_ERRORS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "ImageInspectError",
        "RegistryUnavailable",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    }
)
"""Reasons of a waiting container that may resolve, but usually do not."""

_LONGEST = 300


@dataclass(frozen=True, slots=True)
class ContainerStatus:
    """Status of a Kubernetes Job that has not ended.

    Attributes:
        text: status text for display.
        error_reason: Kubernetes' reason why the container does not run; empty: none.
        waiting: whether the container has not started yet.
        has_log: whether the container has or had a log.
        ended: whether the container has ended.
    """

    text: str
    error_reason: str = ""
    waiting: bool = True
    has_log: bool = False
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a Kubernetes Job ended.

    Attributes:
        error: why it failed; empty if it is complete.
        message: the container's termination message.
        deleted: whether its pod was deleted from outside before the container had ended.
    """

    complete: bool
    exit: int
    error: str
    message: str
    deleted: bool = False


def condition(resource: Manifest, type_: str) -> Manifest | None:
    """Return the condition of this type if it is true of a Kubernetes Job or pod, else None."""
    for candidate in (resource.get("status") or {}).get("conditions") or ():
        if candidate.get("type") == type_ and candidate.get("status") == "True":
            found: Manifest = candidate
            return found
    return None


def has_ended(job: Manifest) -> bool:
    """Return whether a Kubernetes Job is complete or has failed."""
    return bool(condition(job, "Complete") or condition(job, "Failed"))


def newest_pod(job: Manifest, pods: list[Manifest]) -> Manifest | None:
    """Return the newest pod of a Kubernetes Job; None if it has none."""
    uid = job["metadata"]["uid"]
    own = [pod for pod in pods if uid in _owners(pod)]
    return max(own, key=lambda pod: str(pod["metadata"].get("creationTimestamp")), default=None)


def container_status(job: Manifest, pod: Manifest | None) -> ContainerStatus:
    """Return the status of a Kubernetes Job that has not ended."""
    if condition(job, "Suspended"):
        return ContainerStatus("Pending: suspended by the cluster")
    if pod is None:
        return ContainerStatus("Pending: no pod yet", error_reason="NoPod")
    state = _state_of_container(pod)
    if "terminated" in state:
        text = f"Ended: exit code {state['terminated'].get('exitCode', 0)}"
        return ContainerStatus(text, waiting=False, has_log=True, ended=True)
    if "running" in state:
        node = (pod.get("spec") or {}).get("nodeName")
        text = "Terminating" if pod["metadata"].get("deletionTimestamp") else "Running"
        return ContainerStatus(f"{text} on {node}" if node else text, waiting=False, has_log=True)
    phase = (pod.get("status") or {}).get("phase", "Pending")
    waiting = state.get("waiting")
    if waiting is not None:
        return _waiting(waiting, pod)
    unschedulable = _unschedulable(pod)
    if phase == "Pending" and unschedulable:
        return ContainerStatus(f"Pending: {unschedulable}", error_reason="Unschedulable")
    return ContainerStatus(phase, waiting=phase == "Pending")


def outcome(job: Manifest, pod: Manifest | None, container: Container) -> Outcome:
    """Return how a Kubernetes Job ended; `pod` is the last known state of its pod."""
    terminated = _state_of_container(pod).get("terminated") if pod else None
    code = int((terminated or {}).get("exitCode", 0))
    message = str((terminated or {}).get("message") or "")
    if condition(job, "Complete"):
        return Outcome(complete=True, exit=code, error="", message=message)
    failed = condition(job, "Failed") or {}
    error = _failure(failed, pod, terminated, container)
    deleted = pod is None or _deleted_while_it_ran(pod, terminated)
    return Outcome(complete=False, exit=code or 1, error=error, message=message, deleted=deleted)


def termination_data(message: str) -> dict[str, Value] | None:
    """Return the job data in a termination message; None if it does not start with "{".

    Raises:
        ValueError: it starts with "{" but is not valid JSON.
    """
    if not message.lstrip().startswith("{"):
        return None
    try:
        value: dict[str, Value] = json.loads(message)
    except ValueError as error:
        cut = " (Kubernetes keeps 4096 bytes of it)" if len(message.encode()) >= 4096 else ""
        raise ValueError(f"the termination message is not valid JSON: {error}{cut}") from error
    return value


def _failure(
    failed: Manifest, pod: Manifest | None, terminated: Manifest | None, container: Container
) -> str:
    detail = shortened(": ".join(filter(None, (failed.get("reason"), failed.get("message")))))
    if failed.get("reason") == "DeadlineExceeded":
        return f"took longer than {format_duration(container.timeout)} (DeadlineExceeded)"
    if pod is None:
        return f"its pod was removed: {detail}" if detail else "its pod was removed"
    status = pod.get("status") or {}
    if status.get("reason") == "Evicted":
        return f"evicted: {shortened(status.get('message') or '')}"
    disruption = condition(pod, "DisruptionTarget")
    if disruption:
        cause = shortened(disruption.get("message") or "")
        return f"removed from its node ({disruption.get('reason')}): {cause}"
    if _deleted_while_it_ran(pod, terminated):
        if terminated is None:
            return "the pod was deleted before it ended, not by Spin Cycle"
        code = terminated.get("exitCode", 0)
        return f"the pod was deleted while it ran, not by Spin Cycle (exit code {code})"
    if terminated is None:
        return shortened(status.get("message") or "") or detail or "failed for an unknown reason"
    code = terminated.get("exitCode", 0)
    if terminated.get("reason") == "OOMKilled":
        limit = f" {container.memory}" if container.memory else ""
        return f"out of memory (OOMKilled): the limit is{limit or ' the default of its namespace'}"
    error = f"exit code {code}"
    reason = terminated.get("reason")
    if reason not in (None, "Error", "Completed"):
        error += f" ({reason})"
    message = terminated.get("message")
    return f"{error}: {shortened(message)}" if message else error


def _deleted_while_it_ran(pod: Manifest, terminated: Manifest | None) -> bool:
    metadata = pod["metadata"]
    if not metadata.get("deletionTimestamp"):
        return False
    ended = (terminated or {}).get("finishedAt")
    if not ended:
        return True
    # The time stamp is the end of the grace period, which began with the deletion.
    grace = timedelta(seconds=metadata.get("deletionGracePeriodSeconds") or 0)
    deleted = datetime.fromisoformat(metadata["deletionTimestamp"]) - grace
    return datetime.fromisoformat(ended) >= deleted


def _waiting(waiting: Manifest, pod: Manifest) -> ContainerStatus:
    reason = waiting.get("reason") or "ContainerCreating"
    detail = shortened(waiting.get("message") or "")
    if reason in PERMANENT_ERRORS | TRANSIENT_ERRORS:
        return ContainerStatus(
            f"Pending: {reason}: {detail}" if detail else f"Pending: {reason}", reason
        )
    unschedulable = _unschedulable(pod)
    if unschedulable:
        return ContainerStatus(f"Pending: {unschedulable}", error_reason="Unschedulable")
    image = next((c.get("image") for c in pod["spec"].get("containers", ())), "")
    return ContainerStatus(
        f"Pending: {reason}, image pull of {image}" if image else f"Pending: {reason}"
    )


def _unschedulable(pod: Manifest) -> str:
    for candidate in (pod.get("status") or {}).get("conditions") or ():
        if candidate.get("type") == "PodScheduled" and candidate.get("status") == "False":
            detail = candidate.get("message") or candidate.get("reason") or ""
            return f"not scheduled: {shortened(detail)}"
    return ""


def _state_of_container(pod: Manifest) -> Manifest:
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        if status.get("name") == CONTAINER:
            state: Manifest = status.get("state") or {}
            return state
    return {}


def _owners(pod: Manifest) -> list[str]:
    return [owner.get("uid", "") for owner in pod["metadata"].get("ownerReferences") or ()]


def shortened(text: str) -> str:
    """Shorten a text of the cluster to one status line."""
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
