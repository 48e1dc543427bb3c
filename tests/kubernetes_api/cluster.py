"""A cluster as its API server presents it: Jobs, their pods and logs, and every change."""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

Thing = dict[str, Any]

KINDS = {"jobs": "Job", "pods": "Pod", "events": "Event"}


@dataclass(slots=True)
class Change:
    """One event of a watch."""

    version: int
    kind: str
    type: str
    thing: Thing


@dataclass(slots=True)
class PodLog:
    """What a container wrote: lines with the time of each."""

    lines: list[tuple[str, bytes]] = field(default_factory=list)
    ended: bool = False


class FakeCluster:
    """Does what the API server, the Job controller and a kubelet do; a test says when.

    Attributes:
        created: names of all Jobs that were ever created.
        deletions: what each deletion of a Job was asked with.
        obeys: containers end as soon as their pod is deleted.
        quotas: name and maximum number of Jobs of the quota of a namespace.
        terminating: namespaces that are being deleted.
    """

    def __init__(self) -> None:
        self.things: dict[str, dict[tuple[str, str], Thing]] = {kind: {} for kind in KINDS}
        self.logs: dict[str, PodLog] = {}
        self.created: list[str] = []
        self.deletions: list[Thing] = []
        self.obeys = True
        self.quotas: dict[str, tuple[str, int]] = {}
        self.terminating: set[str] = set()
        self.makes_pods = True
        self.changes: list[Change] = []
        self.compacted = 0
        self._version = 100
        self._numbers = itertools.count(1)
        self._news = asyncio.Condition()

    # What the API server does

    @property
    def version(self) -> int:
        return self._version

    def create_job(self, namespace: str, job: Thing) -> Thing:
        name = job["metadata"]["name"]
        self.created.append(name)
        made = copy.deepcopy(job)
        made["metadata"] |= {"namespace": namespace, "uid": f"job-{next(self._numbers)}"}
        made["status"] = {}
        self._put("jobs", made, "ADDED")
        if self.makes_pods:
            self.make_pod(made)
        return self.things["jobs"][namespace, name]

    def full_quota(self, namespace: str) -> tuple[str, int, int] | None:
        """Name, used and limit of the namespace's quota of Jobs if it has no room."""
        quota, limit = self.quotas.get(namespace, ("", 10**6))
        used = sum(of == namespace for of, _ in self.things["jobs"])
        return (quota, used, limit) if used >= limit else None

    def patch_job(self, job: Thing, patch: Thing) -> Thing:
        job = copy.deepcopy(job)
        metadata = patch.get("metadata", {})
        job["metadata"].setdefault("annotations", {}).update(metadata.get("annotations", {}))
        return self._put("jobs", job)

    def delete_job(self, job: Thing, options: Thing) -> None:
        """As asked with propagation policy Foreground: the Job goes when its pods are gone."""
        self.deletions.append(options)
        job = copy.deepcopy(job)
        job["metadata"]["deletionTimestamp"] = now()
        self._put("jobs", job)
        for pod in self.pods_of(job):
            pod["metadata"]["deletionTimestamp"] = now()
            self._put("pods", pod)
            if self.obeys or "running" not in state_of(pod):
                self.remove_pod(pod)
        self._finish_deletion(job)

    def select(self, kind: str, namespace: str, labels: str, fields: str) -> Iterator[Thing]:
        for (of, _), thing in self.things[kind].items():
            if of == namespace and matches(thing, labels, fields):
                yield thing

    async def changes_after(self, version: int) -> list[Change]:
        """Changes after a version, as soon as there are any."""
        async with self._news:
            await self._news.wait_for(lambda: self._version > version)
            return [change for change in self.changes if change.version > version]

    async def more_log(self, name: str, position: int) -> PodLog:
        """The log of a pod, once there is more of it than `position` lines, or it has ended."""
        log = self.logs[name]
        async with self._news:
            await self._news.wait_for(lambda: len(log.lines) > position or log.ended)
        return log

    async def until(self, happened: Callable[[], bool]) -> None:
        """Return when something is so."""
        async with self._news:
            await self._news.wait_for(happened)

    def compact(self) -> None:
        """Forget the past, so that watches of it are answered 410."""
        self._version += 1
        self.compacted = self._version
        self.changes.clear()

    # What the controller and the kubelet do

    def job(self, name: str = "") -> Thing:
        """A copy of the Job of that name, or of the only one."""
        found = [t for (_, n), t in self.things["jobs"].items() if not name or n == name]
        assert len(found) == 1, found
        return copy.deepcopy(found[0])

    def pod(self, name: str = "") -> Thing:
        """A copy of the pod of that name, or of the newest one."""
        found = [t for (_, n), t in self.things["pods"].items() if not name or n == name]
        return copy.deepcopy(found[-1])

    def pods_of(self, job: Thing) -> list[Thing]:
        uid = job["metadata"]["uid"]
        pods = self.things["pods"].values()
        return [copy.deepcopy(p) for p in pods if p["metadata"]["ownerReferences"][0]["uid"] == uid]

    def make_pod(self, job: Thing) -> Thing:
        number = next(self._numbers)
        name = f"{job['metadata']['name']}-{number:05}"
        template = copy.deepcopy(job["spec"]["template"])
        pod = {
            "metadata": {
                **template["metadata"],
                "name": name,
                "namespace": job["metadata"]["namespace"],
                "uid": f"pod-{number}",
                "creationTimestamp": now(),
                "ownerReferences": [{"kind": "Job", "uid": job["metadata"]["uid"]}],
            },
            "spec": template["spec"],
            "status": {"phase": "Pending"},
        }
        self.logs[name] = PodLog()
        return self._put("pods", pod, "ADDED")

    def waits(self, reason: str, message: str = "") -> None:
        """The container waits."""
        self._container({"waiting": {"reason": reason, "message": message}}, "Pending")

    def unplaced(self, message: str) -> None:
        """No node takes the pod."""
        pod = self.pod()
        pod["status"]["conditions"] = [
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": message,
            }
        ]
        self._put("pods", pod)

    def run(self, pod_name: str = "") -> None:
        """The container runs."""
        pod = self.pod(pod_name)
        pod["spec"]["nodeName"] = "node-1"
        pod["status"]["conditions"] = [{"type": "PodScheduled", "status": "True"}]
        self._put("pods", pod)
        self._container({"running": {"startedAt": now()}}, "Running", pod_name)

    def write(self, *lines: str, at: str = "", pod_name: str = "") -> None:
        """The container prints lines; the last may lack its end."""
        log = self.logs[self.pod(pod_name)["metadata"]["name"]]
        for line in lines:
            log.lines.append((at or precise_now(), line.encode()))
        self._notify_watchers()

    def end(self, code: int = 0, message: str = "", reason: str = "", pod_name: str = "") -> None:
        """The container ends, and the Job with it."""
        reason = reason or ("Error" if code else "Completed")
        ended = {"exitCode": code, "reason": reason, "message": message, "finishedAt": now()}
        state = {"terminated": ended}
        self._container(state, "Failed" if code else "Succeeded", pod_name)
        self.logs[self.pod(pod_name)["metadata"]["name"]].ended = True
        reason = "BackoffLimitExceeded" if code else ""
        self.conclude("Failed" if code else "Complete", reason, pod_name=pod_name)

    def conclude(self, type_: str, reason: str = "", message: str = "", pod_name: str = "") -> None:
        """The controller has done with the Job of that pod, or of the newest one."""
        uid = self.pod(pod_name)["metadata"]["ownerReferences"][0]["uid"]
        job = next(j for j in self.things["jobs"].values() if j["metadata"]["uid"] == uid)
        job = copy.deepcopy(job)
        ended = {"type": type_, "status": "True", "reason": reason, "message": message}
        job["status"]["conditions"] = [ended]
        self._put("jobs", job)

    def evict(self, message: str) -> None:
        """The kubelet throws the pod out, for want of something."""
        pod = self.pod()
        pod["status"] |= {"phase": "Failed", "reason": "Evicted", "message": message}
        self._put("pods", pod)
        self.logs[pod["metadata"]["name"]].ended = True
        self.conclude("Failed", "BackoffLimitExceeded")

    def preempt(self, message: str) -> None:
        """The scheduler takes the pod off for one that matters more."""
        pod = self.pod()
        pod["status"]["conditions"] = [
            {
                "type": "DisruptionTarget",
                "status": "True",
                "reason": "PreemptionByScheduler",
                "message": message,
            }
        ]
        self._put("pods", pod)
        self.remove_pod(pod)
        self.conclude_job("Failed", "BackoffLimitExceeded")

    def deadline(self) -> None:
        """activeDeadlineSeconds are over: the pod is deleted, the Job has failed."""
        self.remove_pod(self.pod())
        self.conclude_job("Failed", "DeadlineExceeded", "Job was active longer than specified")

    def conclude_job(self, type_: str, reason: str, message: str = "") -> None:
        """The controller has done with the only Job, whose pod is gone."""
        job = self.job()
        ended = {"type": type_, "status": "True", "reason": reason, "message": message}
        job["status"]["conditions"] = [ended]
        self._put("jobs", job)

    def remove_pod(self, pod: Thing) -> None:
        """The pod is no more, and neither is a Job that waited for that to be deleted."""
        name = pod["metadata"]["name"]
        if name in self.logs:
            self.logs[name].ended = True
        self._delete("pods", pod)
        for job in list(self.things["jobs"].values()):
            if job["metadata"]["uid"] == pod["metadata"]["ownerReferences"][0]["uid"]:
                self._finish_deletion(job)

    def remove_job(self) -> None:
        """Somebody deletes the Job and its pod, and that is done at once."""
        job = self.job()
        for pod in self.pods_of(job):
            self.remove_pod(pod)
        self._delete("jobs", job)

    def delete_namespace(self, namespace: str = "jobs") -> None:
        """Somebody deletes the namespace: its pods are deleted first, and their containers end.

        Each object stays until the controllers have done with it; see `empty_namespace`.
        """
        self.terminating.add(namespace)
        for (of, _), pod in list(self.things["pods"].items()):
            if of == namespace:
                self.delete_pod(copy.deepcopy(pod))

    def empty_namespace(self, namespace: str = "jobs") -> None:
        """What is left of a namespace that is being deleted is removed."""
        for kind in ("jobs", "pods"):
            for (of, _), thing in list(self.things[kind].items()):
                if of == namespace:
                    self._delete(kind, thing)
        for log in self.logs.values():
            log.ended = True

    def delete_pod(self, pod: Thing) -> None:
        """Somebody deletes the pod: a running container gets SIGTERM, and the Job has failed."""
        grace = pod["spec"]["terminationGracePeriodSeconds"]
        gone = datetime.now(UTC) + timedelta(seconds=grace)
        pod["metadata"]["deletionTimestamp"] = gone.strftime("%Y-%m-%dT%H:%M:%SZ")
        pod["metadata"]["deletionGracePeriodSeconds"] = grace
        pod["status"]["phase"] = "Failed"
        if "running" in state_of(pod):
            ended = {"exitCode": 143, "reason": "Error", "finishedAt": now()}
            pod["status"]["containerStatuses"] = [{"name": "main", "state": {"terminated": ended}}]
        self._put("pods", pod)
        self.logs[pod["metadata"]["name"]].ended = True
        self.conclude("Failed", "BackoffLimitExceeded", pod_name=pod["metadata"]["name"])

    def warn(self, message: str) -> None:
        """The cluster complains of the only Job."""
        job = self.job()
        self._put(
            "events",
            {
                "metadata": {"name": "e1", "namespace": job["metadata"]["namespace"], "uid": "e1"},
                "involvedObject": {"name": job["metadata"]["name"]},
                "type": "Warning",
                "message": message,
                "lastTimestamp": now(),
            },
        )

    def _container(self, state: Thing, phase: str, pod_name: str = "") -> None:
        pod = self.pod(pod_name)
        pod["status"]["phase"] = phase
        pod["status"]["containerStatuses"] = [{"name": "main", "state": state}]
        self._put("pods", pod)

    def _finish_deletion(self, job: Thing) -> None:
        if job["metadata"].get("deletionTimestamp") and not self.pods_of(job):
            self._delete("jobs", job)

    def _put(self, kind: str, thing: Thing, type_: str = "MODIFIED") -> Thing:
        self._version += 1
        thing = {**thing, "kind": KINDS[kind]}
        thing["metadata"] = {**thing["metadata"], "resourceVersion": str(self._version)}
        self.things[kind][key_of(thing)] = thing
        self._changed(kind, type_, thing)
        return thing

    def _delete(self, kind: str, thing: Thing) -> None:
        last = self.things[kind].pop(key_of(thing), None)
        if last is not None:
            self._version += 1
            self._changed(kind, "DELETED", last)

    def _changed(self, kind: str, type_: str, thing: Thing) -> None:
        self.changes.append(Change(self._version, kind, type_, copy.deepcopy(thing)))
        self._notify_watchers()

    def _notify_watchers(self) -> None:
        async def notify() -> None:
            async with self._news:
                self._news.notify_all()

        self._notifying = asyncio.ensure_future(notify())


def key_of(thing: Thing) -> tuple[str, str]:
    return thing["metadata"]["namespace"], thing["metadata"]["name"]


def state_of(pod: Thing) -> Thing:
    statuses = pod["status"].get("containerStatuses") or [{"state": {}}]
    state: Thing = statuses[0]["state"]
    return state


def matches(thing: Thing, labels: str, fields: str) -> bool:
    """Whether an equality selector of each sort takes a thing."""
    for term in filter(None, labels.split(",")):
        key, _, value = term.partition("=")
        if (thing["metadata"].get("labels") or {}).get(key) != value:
            return False
    for term in filter(None, fields.split(",")):
        key, _, value = term.partition("=")
        found: Any = thing
        for step in key.split("."):
            found = found.get(step, {})
        if found != value:
            return False
    return True


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def precise_now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
