"""What a Kubernetes Job and its pod say of themselves, in words and as the end of a try."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spincycle.kubernetes_jobs.manifest import CONTAINER, Manifest
from spincycle.model.duration import format_duration

if TYPE_CHECKING:
    from spincycle.kubernetes_jobs.container import Container
    from spincycle.model.job_chain import Value

HOPELESS = frozenset({"InvalidImageName", "ErrImageNeverPull"})
"""Reasons of a waiting container that no waiting helps against."""

DOUBTFUL = frozenset(
    {
        "ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable",
        "CreateContainerConfigError", "CreateContainerError", "RunContainerError",
    }
)  # fmt: skip
"""Reasons that may pass, and mostly do not."""

_LONGEST = 300


@dataclass(frozen=True, slots=True)
class Standing:
    """How a Kubernetes Job that has not ended is.

    Attributes:
        text: for people.
        trouble: reason, as Kubernetes names it, why the container does not run; empty: none.
        waits: the container does not run yet.
        has_log: the container has, or had, a log.
        ended: the container has ended.
    """

    text: str
    trouble: str = ""
    waits: bool = True
    has_log: bool = False
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a Kubernetes Job ended.

    Attributes:
        error: why it failed; empty if it is complete.
        message: what the container left at its termination message path.
    """

    complete: bool
    exit: int
    error: str
    message: str


def condition(thing: Manifest, type_: str) -> Manifest | None:
    """A condition that holds for a Kubernetes Job or a pod."""
    for known in (thing.get("status") or {}).get("conditions") or ():
        if known.get("type") == type_ and known.get("status") == "True":
            found: Manifest = known
            return found
    return None


def has_ended(job: Manifest) -> bool:
    """Whether the cluster has nothing more to do for a Kubernetes Job."""
    return bool(condition(job, "Complete") or condition(job, "Failed"))


def newest_pod(job: Manifest, pods: list[Manifest]) -> Manifest | None:
    """The pod of a Kubernetes Job; the last one made, should there be several."""
    uid = job["metadata"]["uid"]
    own = [pod for pod in pods if uid in _owners(pod)]
    return max(own, key=lambda pod: str(pod["metadata"].get("creationTimestamp")), default=None)


def standing(job: Manifest, pod: Manifest | None) -> Standing:
    """How a Kubernetes Job is that has not ended."""
    if condition(job, "Suspended"):
        return Standing("Pending: suspended by the cluster")
    if pod is None:
        return Standing("Pending: no pod yet", trouble="NoPod")
    state = _state_of_container(pod)
    if "terminated" in state:
        text = f"Ended: exit code {state['terminated'].get('exitCode', 0)}"
        return Standing(text, waits=False, has_log=True, ended=True)
    if "running" in state:
        node = (pod.get("spec") or {}).get("nodeName")
        text = "Terminating" if pod["metadata"].get("deletionTimestamp") else "Running"
        return Standing(f"{text} on {node}" if node else text, waits=False, has_log=True)
    phase = (pod.get("status") or {}).get("phase", "Pending")
    waiting = state.get("waiting")
    if waiting is not None:
        return _waiting(waiting, pod)
    unplaced = _unplaced(pod)
    if phase == "Pending" and unplaced:
        return Standing(f"Pending: {unplaced}", trouble="Unschedulable")
    return Standing(phase, waits=phase == "Pending")


def outcome(job: Manifest, pod: Manifest | None, container: Container) -> Outcome:
    """How a Kubernetes Job ended; `pod` is as it was last seen."""
    terminated = _state_of_container(pod).get("terminated") if pod else None
    code = int((terminated or {}).get("exitCode", 0))
    message = str((terminated or {}).get("message") or "")
    if condition(job, "Complete"):
        return Outcome(True, code, "", message)
    failed = condition(job, "Failed") or {}
    return Outcome(False, code or 1, _why(failed, pod, terminated, container), message)


def left_data(message: str) -> dict[str, Value] | None:
    """The job data in a termination message; None if there is none in it.

    Raises:
        ValueError: it begins as an object of JSON and is not one.
    """
    if not message.lstrip().startswith("{"):
        return None
    try:
        value: dict[str, Value] = json.loads(message)
    except ValueError as error:
        cut = " (Kubernetes keeps 4096 bytes of it)" if len(message.encode()) >= 4096 else ""
        raise ValueError(f"the termination message is not JSON: {error}{cut}") from error
    return value


def _why(
    failed: Manifest, pod: Manifest | None, terminated: Manifest | None, container: Container
) -> str:
    said = shortened(": ".join(filter(None, (failed.get("reason"), failed.get("message")))))
    if failed.get("reason") == "DeadlineExceeded":
        return f"took longer than {format_duration(container.timeout)} (DeadlineExceeded)"
    if pod is None:
        return f"its pod is gone: {said}" if said else "its pod is gone"
    status = pod.get("status") or {}
    if status.get("reason") == "Evicted":
        return f"evicted: {shortened(status.get('message') or '')}"
    disruption = condition(pod, "DisruptionTarget")
    if disruption:
        cause = shortened(disruption.get("message") or "")
        return f"taken off its node ({disruption.get('reason')}): {cause}"
    if terminated is None:
        return shortened(status.get("message") or "") or said or "failed for no known reason"
    code = terminated.get("exitCode", 0)
    if terminated.get("reason") == "OOMKilled":
        limit = f" {container.memory}" if container.memory else ""
        return f"out of memory (OOMKilled): the limit is{limit or ' that of its namespace'}"
    error = f"exit code {code}"
    reason = terminated.get("reason")
    if reason not in (None, "Error", "Completed"):
        error += f" ({reason})"
    message = terminated.get("message")
    return f"{error}: {shortened(message)}" if message else error


def _waiting(waiting: Manifest, pod: Manifest) -> Standing:
    reason = waiting.get("reason") or "ContainerCreating"
    said = shortened(waiting.get("message") or "")
    if reason in HOPELESS | DOUBTFUL:
        return Standing(f"Pending: {reason}: {said}" if said else f"Pending: {reason}", reason)
    unplaced = _unplaced(pod)
    if unplaced:
        return Standing(f"Pending: {unplaced}", trouble="Unschedulable")
    image = next((c.get("image") for c in pod["spec"].get("containers", ())), "")
    return Standing(f"Pending: {reason}, image pull of {image}" if image else f"Pending: {reason}")


def _unplaced(pod: Manifest) -> str:
    for known in (pod.get("status") or {}).get("conditions") or ():
        if known.get("type") == "PodScheduled" and known.get("status") == "False":
            return f"not scheduled: {shortened(known.get('message') or known.get('reason') or '')}"
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
    """A text of the cluster, short enough for a status line."""
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
