"""The Kubernetes Job of a try: found or created, and deleted, by the try that may."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from spincycle.kubernetes_jobs.api import Api, events_path, forever, jobs_path, pods_path
from spincycle.kubernetes_jobs.errors import ApiRefused, ApiUnavailable, TakenOver
from spincycle.kubernetes_jobs.manifest import (
    NAME_LABEL,
    TRY_ANNOTATION,
    Manifest,
    is_of,
    job_name,
    manifest,
    selector,
    try_of,
)
from spincycle.kubernetes_jobs.pod_state import has_ended, newest_pod, shortened

if TYPE_CHECKING:
    from collections.abc import Callable

    from spincycle.job.job import Attempt, JobId
    from spincycle.kubernetes_jobs.container import Container
    from spincycle.model.job_chain import Value

POLL = 1.0
"""Seconds between two looks at what is to vanish."""


class KubernetesJobs:
    """The Kubernetes Jobs of one job of Spin Cycle; `tell` hears what is being waited for.

    Every method waits for an API server that does not answer, and raises Refused if it says no.
    """

    def __init__(
        self,
        api: Api,
        namespace: str,
        job_id: JobId,
        attempt: Attempt,
        tell: Callable[[str], None],
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._job_id = job_id
        self._attempt = attempt
        self._tell = tell
        self.name = job_name(job_id, attempt.key)

    @property
    def path(self) -> str:
        """Where the Kubernetes Job of this try is."""
        return jobs_path(self._namespace, self.name)

    async def obtain(self, container: Container, data: dict[str, Value]) -> Manifest:
        """The Kubernetes Job of this try: the one that runs, or ran, or else a new one.

        Raises:
            TakenOver: a later try has it.
            Refused: also if a Kubernetes Job of that name is somebody else's.
        """
        await self._supersede()
        body = manifest(container, self._job_id, self._attempt, data)
        while True:
            try:
                return await self._call("POST", jobs_path(self._namespace), body)
            except ApiRefused as refused:
                if refused.reason != "AlreadyExists":
                    raise
            found = await self._adopt()
            if found is not None:
                return found

    async def delete(self) -> None:
        """Have the cluster stop and remove the Kubernetes Job; it need not be there.

        Answers when the cluster has accepted that, which may be long before it is done.

        Raises:
            TakenOver: a later try has it. It is left alone then.
        """
        while (job := await self._find()) is not None and not job["metadata"].get(
            "deletionTimestamp"
        ):
            if try_of(job) > self._attempt.number:
                raise TakenOver(self.name, try_of(job))
            if await self._delete(job):
                return

    async def gone(self, uid: str) -> None:
        """Return when nothing is left of the Kubernetes Job with this uid."""
        while (job := await self._find()) is not None and job["metadata"]["uid"] == uid:  # noqa: ASYNC110 - the API server wakes nobody
            await asyncio.sleep(POLL)

    async def pod(self, job: Manifest) -> Manifest | None:
        """Its pod, as it is by now."""
        query = {"labelSelector": f"{NAME_LABEL}={self.name}"}
        found = await self._call("GET", pods_path(self._namespace), query=query)
        return newest_pod(job, found.get("items") or [])

    async def warning(self) -> str:
        """What the cluster last warned of; empty if that cannot be known."""
        query = {"fieldSelector": f"involvedObject.name={self.name},type=Warning"}
        try:
            found = await self._api.call("GET", events_path(self._namespace), query)
        except (ApiRefused, ApiUnavailable):
            return ""
        events = found.get("items") or ()
        last: Manifest = max(events, key=lambda event: event.get("lastTimestamp") or "", default={})
        return shortened(last.get("message") or "")

    async def _supersede(self) -> None:
        """End what earlier tries left running, so that there are never two at once."""
        query = {"labelSelector": selector(self._job_id)}
        while True:
            found = await self._call("GET", jobs_path(self._namespace), query=query)
            others = [
                job
                for job in found.get("items") or ()
                if job["metadata"]["name"] != self.name and not has_ended(job)
            ]
            for job in others:
                if try_of(job) > self._attempt.number:
                    raise TakenOver(job["metadata"]["name"], try_of(job))
                if not job["metadata"].get("deletionTimestamp"):
                    await self._delete(job)
            if not others:
                return
            name = others[0]["metadata"]["name"]
            self._tell(f"Pending: waits for the Kubernetes Job {name} of an earlier try to end")
            await asyncio.sleep(POLL)

    async def _adopt(self) -> Manifest | None:
        """Make the Kubernetes Job that is there this try's own; None if it is gone."""
        while (job := await self._find()) is not None:
            if not is_of(job, self._job_id):
                raise ApiRefused(
                    409,
                    "AlreadyExists",
                    f"there is a Kubernetes Job {self.name} that Spin Cycle did not create",
                )
            if try_of(job) > self._attempt.number:
                raise TakenOver(self.name, try_of(job))
            if job["metadata"].get("deletionTimestamp"):
                self._tell(f"Pending: waits for the Kubernetes Job {self.name} to be deleted")
                await asyncio.sleep(POLL)
                continue
            if has_ended(job) or try_of(job) == self._attempt.number:
                return job
            # Fails if somebody else changed it meanwhile, another runner above all.
            claim = {
                "metadata": {
                    "resourceVersion": job["metadata"]["resourceVersion"],
                    "annotations": {TRY_ANNOTATION: str(self._attempt.number)},
                }
            }
            try:
                return await self._call("PATCH", self.path, claim)
            except ApiRefused as refused:
                if refused.status not in (404, 409):
                    raise
        return None

    async def _find(self) -> Manifest | None:
        try:
            return await self._call("GET", self.path)
        except ApiRefused as refused:
            if refused.status == 404:
                return None
            raise

    async def _delete(self, job: Manifest) -> bool:
        """Delete a Kubernetes Job as it is known; False if it has changed since."""
        known = job["metadata"]
        options = {
            "propagationPolicy": "Foreground",
            "preconditions": {"uid": known["uid"], "resourceVersion": known["resourceVersion"]},
        }
        try:
            await self._call("DELETE", jobs_path(self._namespace, known["name"]), options)
        except ApiRefused as refused:
            if refused.status == 404:
                return True
            if refused.status == 409:
                return False
            raise
        return True

    async def _call(
        self,
        method: str,
        path: str,
        body: Manifest | None = None,
        query: dict[str, str] | None = None,
    ) -> Manifest:
        return await forever(lambda: self._api.call(method, path, query, body), self._tell)
