"""Finds, adopts, creates and deletes the Kubernetes Job of a try."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from spincycle.kubernetes_jobs.api import Api, events_path, jobs_path, pods_path, retry_unavailable
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

POLL_INTERVAL = 1.0
"""Seconds between two polls for a deletion."""


class KubernetesJobs:
    """Manages the Kubernetes Jobs of one Spin Cycle job; `report` receives status texts.

    Every method retries while the API server is unavailable, and raises ApiRefused if it rejects
    a call.
    """

    def __init__(
        self,
        api: Api,
        namespace: str,
        job_id: JobId,
        attempt: Attempt,
        report: Callable[[str], None],
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._job_id = job_id
        self._attempt = attempt
        self._report = report
        self.name = job_name(job_id, attempt.key)

    @property
    def path(self) -> str:
        """Path of this try's Kubernetes Job."""
        return jobs_path(self._namespace, self.name)

    async def obtain(self, container: Container, data: dict[str, Value]) -> Manifest:
        """Return this try's Kubernetes Job: an existing one, running or ended, or a new one.

        Raises:
            TakenOver: a later try owns it.
            ApiRefused: also if a Kubernetes Job of that name was not created by Spin Cycle.
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
        """Request the deletion of the Kubernetes Job, if it exists.

        Return when the API server has accepted the request; the deletion may take much longer.

        Raises:
            TakenOver: a later try owns it; it is not deleted.
        """
        while (job := await self._find()) is not None and not job["metadata"].get(
            "deletionTimestamp"
        ):
            if try_of(job) > self._attempt.number:
                raise TakenOver(self.name, try_of(job))
            if await self._delete(job):
                return

    async def wait_deleted(self, uid: str) -> None:
        """Wait until the Kubernetes Job with this uid no longer exists."""
        while (job := await self._find()) is not None and job["metadata"]["uid"] == uid:  # noqa: ASYNC110 - polls the API server
            await asyncio.sleep(POLL_INTERVAL)

    async def pod(self, job: Manifest) -> Manifest | None:
        """Return the current state of the Job's pod; None if it has none."""
        query = {"labelSelector": f"{NAME_LABEL}={self.name}"}
        found = await self._call("GET", pods_path(self._namespace), query=query)
        return newest_pod(job, found.get("items") or [])

    async def warning(self) -> str:
        """Return the cluster's last warning about the Job; empty if there is none or on errors."""
        query = {"fieldSelector": f"involvedObject.name={self.name},type=Warning"}
        try:
            found = await self._api.call("GET", events_path(self._namespace), query)
        except (ApiRefused, ApiUnavailable):
            return ""
        events = found.get("items") or ()
        last: Manifest = max(events, key=lambda event: event.get("lastTimestamp") or "", default={})
        return shortened(last.get("message") or "")

    async def _supersede(self) -> None:
        """Delete running Kubernetes Jobs of earlier tries and wait until they are gone."""
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
            self._report(f"Pending: waits for the Kubernetes Job {name} of an earlier try to end")
            await asyncio.sleep(POLL_INTERVAL)

    async def _adopt(self) -> Manifest | None:
        """Adopt the existing Kubernetes Job for this try; None if it no longer exists."""
        while (job := await self._find()) is not None:
            if not is_of(job, self._job_id):
                raise ApiRefused(
                    409,
                    "AlreadyExists",
                    f"a Kubernetes Job {self.name} exists that Spin Cycle did not create",
                )
            if try_of(job) > self._attempt.number:
                raise TakenOver(self.name, try_of(job))
            if job["metadata"].get("deletionTimestamp"):
                self._report(f"Pending: waits for the Kubernetes Job {self.name} to be deleted")
                await asyncio.sleep(POLL_INTERVAL)
                continue
            if has_ended(job) or try_of(job) == self._attempt.number:
                return job
            # Fails with 409 if the Job has changed, above all if another runner adopted it.
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
        """Delete a Kubernetes Job in its given version; return False if it has changed."""
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
        return await retry_unavailable(
            lambda: self._api.call(method, path, query, body), self._report
        )
