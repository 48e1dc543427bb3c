"""Finds, adopts, creates and deletes the Kubernetes Job of a try."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from spincycle.kubernetes_jobs.api import events_path, jobs_path, pods_path
from spincycle.kubernetes_jobs.errors import (
    ApiRefused,
    ApiRefusing,
    ApiUnavailable,
    NotStarted,
    TakenOver,
)
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
from spincycle.kubernetes_jobs.pod_state import (
    ContainerStatus,
    has_ended,
    newest_pod,
    shortened,
)
from spincycle.kubernetes_jobs.refusal import NOT_FOUND, lacking_room, namespace_is_deleted
from spincycle.model.duration import format_duration
from spincycle.runtime.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable

    from spincycle.job.job import Attempt, JobId
    from spincycle.kubernetes_jobs.api_session import ApiSession
    from spincycle.kubernetes_jobs.container import Container
    from spincycle.kubernetes_jobs.start_deadline import StartDeadline
    from spincycle.model.job_chain import Value

POLL_INTERVAL = 1.0
"""Longest interval in seconds between two polls for a deletion."""

FIRST_RETRY = 0.25
LAST_RETRY = 10.0
"""Seconds before an unavailable server is called again: doubled from first to last."""

FIRST_QUOTA_RETRY = 1.0
LAST_QUOTA_RETRY = 10.0
"""Seconds before a creation that a full quota refused is tried again."""

FIRST_CONFLICT_RETRY = 0.1
LAST_CONFLICT_RETRY = 5.0
CONFLICT_TIMEOUT = 60.0
"""Seconds for which a creation that conflicts with others in a quota is retried."""

NAMESPACE_TIMEOUT = 5.0
"""Seconds to find out whether the namespace is being deleted."""


class KubernetesJobs:
    """Manages the Kubernetes Jobs of one Spin Cycle job; `report` receives status texts.

    Every method retries while the API server is unavailable, and raises ApiRefused if it rejects
    a call.

    Attributes:
        name: name of this try's Kubernetes Job.
        pausing: set while no call is pending, because a retry or a poll is not due yet.
        may_exist: whether the Kubernetes Job exists, or might: an earlier try may have created it,
            or its creation had no response.
    """

    def __init__(
        self,
        api: ApiSession,
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
        self.pausing = asyncio.Event()
        self.may_exist = attempt.number > 1

    @property
    def path(self) -> str:
        """Path of this try's Kubernetes Job."""
        return jobs_path(self._namespace, self.name)

    async def obtain(
        self, container: Container, data: dict[str, Value], deadline: StartDeadline
    ) -> Manifest:
        """Return this try's Kubernetes Job: an existing one, running or ended, or a new one.

        Raises:
            TakenOver: a later try owns it.
            NotStarted: a quota had no room for it until the deadline.
            ApiRefused: also if a Kubernetes Job of that name was not created by Spin Cycle.
        """
        await self._supersede()
        body = manifest(container, self._job_id, self._attempt, data)
        while True:
            # First an existing one: a full quota refuses a second one before names are compared.
            job = await self._adopt() if self.may_exist else None
            job = job or await self._create(body, deadline)
            if job is not None:
                return job
            await self._poll()

    async def delete(self) -> None:
        """Request the deletion of the Kubernetes Job, if it exists.

        Return when the API server has accepted the request; the deletion may take much longer.

        Raises:
            TakenOver: a later try owns it; it is not deleted.
        """
        while (job := await self._find()) is not None and not job["metadata"].get(
            "deletionTimestamp"
        ):
            if not is_of(job, self._job_id):
                return
            if try_of(job) > self._attempt.number:
                raise TakenOver(self.name, try_of(job))
            if await self._delete(job):
                return
            await self._poll()

    async def wait_deleted(self, uid: str) -> None:
        """Wait until the Kubernetes Job with this uid no longer exists."""
        while (job := await self._find()) is not None and job["metadata"]["uid"] == uid:
            await self._poll()

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

    async def namespace_is_deleted(self, container: Container) -> bool:
        """Return whether the namespace is being deleted; False if that is unknown.

        The role of the runner does not include namespaces, so a creation that is not carried out
        (dry run) finds out.
        """
        body = manifest(container, self._job_id, self._attempt, {})
        try:
            async with asyncio.timeout(NAMESPACE_TIMEOUT):
                await self._api.call("POST", jobs_path(self._namespace), {"dryRun": "All"}, body)
        except ApiRefused as refused:
            return refused.status == NOT_FOUND or namespace_is_deleted(refused)
        except (ApiUnavailable, TimeoutError):
            return False
        return False

    async def _create(self, body: Manifest, deadline: StartDeadline) -> Manifest | None:
        """Create the Kubernetes Job; return None if one of its name exists or might exist.

        Creations that race in one quota conflict with each other although it has room: such a
        conflict is retried for CONFLICT_TIMEOUT. A full quota is awaited until the deadline.
        """
        now = asyncio.get_running_loop().time
        conflicts = Backoff(FIRST_CONFLICT_RETRY, LAST_CONFLICT_RETRY)
        quota = Backoff(FIRST_QUOTA_RETRY, LAST_QUOTA_RETRY)
        conflict_since = None
        while True:
            try:
                return await self._call("POST", jobs_path(self._namespace), body)
            except ApiRefused as refused:
                if refused.reason == "AlreadyExists":
                    self.may_exist = True
                    return None
                if refused.reason == "Conflict":
                    conflict_since = now() if conflict_since is None else conflict_since
                    if now() - conflict_since >= CONFLICT_TIMEOUT:
                        refused.retried_for = CONFLICT_TIMEOUT
                        raise
                    limit = format_duration(CONFLICT_TIMEOUT)
                    self._report(f"Pending: {shortened(str(refused))}; retried for {limit}")
                    await self._pause(conflicts.next())
                elif lacking := lacking_room(refused):
                    if self.may_exist:
                        return None
                    conflict_since = None
                    status = ContainerStatus(f"Pending: {shortened(lacking)}", "QuotaExceeded")
                    self._report(status.text)
                    error, remaining = deadline.check(status)
                    if remaining is None:
                        raise NotStarted(
                            f"{error}; raise the quota of namespace {self._namespace}, or start"
                            " the job when other Kubernetes Jobs have ended"
                        ) from refused
                    await self._pause(min(quota.next(), remaining))
                else:
                    raise

    async def _supersede(self) -> None:
        """Delete running Kubernetes Jobs of earlier tries and wait until they are gone."""
        query = {"labelSelector": selector(self._job_id)}
        while True:
            found = await self._call("GET", jobs_path(self._namespace), query=query)
            jobs = found.get("items") or ()
            self.may_exist = any(job["metadata"]["name"] == self.name for job in jobs)
            others = [
                job for job in jobs if job["metadata"]["name"] != self.name and not has_ended(job)
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
            await self._poll()

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
                await self._poll()
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
            await self._poll()
        self.may_exist = False
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
        backoff = Backoff(FIRST_RETRY, LAST_RETRY)
        while True:
            try:
                return await self._api.call(method, path, query, body)
            except ApiUnavailable as unavailable:
                if method == "POST" and not isinstance(unavailable, ApiRefusing):
                    self.may_exist = True
                self._report(unavailable.status_text())
                await self._pause(unavailable.retry_after + backoff.next())

    async def _poll(self) -> None:
        await self._pause(Backoff(POLL_INTERVAL, POLL_INTERVAL).next())

    async def _pause(self, seconds: float) -> None:
        self.pausing.set()
        try:
            await asyncio.sleep(seconds)
        finally:
            self.pausing.clear()
