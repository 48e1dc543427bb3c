"""One try of a kubernetes/job: obtains a Kubernetes Job and watches it to its end."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from spincycle.job.job import Return
from spincycle.job.try_output import STDOUT
from spincycle.kubernetes_jobs.api import jobs_path, pods_path
from spincycle.kubernetes_jobs.api_session import ApiSession
from spincycle.kubernetes_jobs.errors import ApiRefused, NotStarted, TakenOver
from spincycle.kubernetes_jobs.informer import Informer
from spincycle.kubernetes_jobs.kubernetes_jobs import POLL_INTERVAL, KubernetesJobs
from spincycle.kubernetes_jobs.manifest import NAME_LABEL, Manifest
from spincycle.kubernetes_jobs.pod_log import PodLog
from spincycle.kubernetes_jobs.pod_state import (
    container_status,
    has_ended,
    newest_pod,
    outcome,
    termination_data,
)
from spincycle.kubernetes_jobs.refusal import concerns_caller, describe_refusal
from spincycle.kubernetes_jobs.start_deadline import StartDeadline
from spincycle.model.state import State

if TYPE_CHECKING:
    from spincycle.job.job import Job
    from spincycle.kubernetes_jobs.connection import Cluster
    from spincycle.kubernetes_jobs.container import Container
    from spincycle.kubernetes_jobs.stop_signal import StopSignal
    from spincycle.model.job_chain import Value

STOP_TIMEOUT = 8.0
"""Seconds for a stop; must be less than the 10 s after which the runner cancels the try."""

CREATE_GRACE = 2.0
"""Seconds to wait for a pending creation when the try is stopped."""

WATCH_GRACE = 2.0
"""Seconds for which the watch of a pod may lag behind the watch of its Kubernetes Job."""

LOG_GRACE = 10.0
"""Seconds to read the rest of the log after the container has ended."""


class ContainerRun:
    """Runs a container to its end, or until `signal` requests a stop."""

    def __init__(
        self, cluster: Cluster, container: Container, job: Job, signal: StopSignal
    ) -> None:
        self._api = ApiSession(cluster.api)
        self._namespace = container.namespace or cluster.namespace
        self._container = container
        self._job = job
        self._signal = signal
        self._jobs = KubernetesJobs(self._api, self._namespace, job.id, job.attempt, self._report)
        self._changed = asyncio.Event()
        self._deadline = StartDeadline(container.start_timeout)
        self._log: PodLog | None = None
        self._log_task: asyncio.Task[None] | None = None
        self._pod: Manifest | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self, data: dict[str, Value]) -> Return:
        """Run the container; add the job data in its termination message to `data`."""
        name = f"the Kubernetes Job {self._jobs.name} in namespace {self._namespace}"
        try:
            job = await self._obtain(data)
        except (TakenOver, NotStarted) as not_obtained:
            return self._end(State.FAIL, 1, str(not_obtained))
        except ApiRefused as refused:
            error = describe_refusal(refused, f"create {name}")
            if concerns_caller(refused) and self._jobs.may_exist:
                return await self._abort(error)
            return self._end(State.FAIL, 1, error)
        if job is None:
            return await self._stop(None)
        return await self._watch(job, data)

    async def _obtain(self, data: dict[str, Value]) -> Manifest | None:
        """Return the Kubernetes Job; None if the try was stopped before it was created."""
        obtaining = asyncio.create_task(self._jobs.obtain(self._container, data, self._deadline))
        stopping = asyncio.create_task(self._signal.requested.wait())
        tasks: list[asyncio.Task[Manifest] | asyncio.Task[bool]] = [obtaining, stopping]
        try:
            await asyncio.wait({obtaining, stopping}, return_when=asyncio.FIRST_COMPLETED)
            # Let a pending creation complete, so that its Job can be deleted.
            pausing = asyncio.create_task(self._jobs.pausing.wait())
            tasks.append(pausing)
            await asyncio.wait(
                {obtaining, pausing}, timeout=CREATE_GRACE, return_when=asyncio.FIRST_COMPLETED
            )
            return await obtaining if obtaining.done() else None
        finally:
            await _cancel(*tasks)

    async def _watch(self, job: Manifest, data: dict[str, Value]) -> Return:
        of_job = {"fieldSelector": f"metadata.name={self._jobs.name}"}
        of_pods = {"labelSelector": f"{NAME_LABEL}={self._jobs.name}"}
        jobs = Informer(self._api, jobs_path(self._namespace), of_job, self._changed)
        pods = Informer(self._api, pods_path(self._namespace), of_pods, self._changed)
        self._tasks = [asyncio.create_task(jobs.run()), asyncio.create_task(pods.run())]
        for task in self._tasks:
            task.add_done_callback(lambda _: self._changed.set())
        stopping = asyncio.create_task(self._forward_stop())
        try:
            return await self._wait_until_ended(job, jobs, pods, data)
        except ApiRefused as refused:
            # Before the log is cancelled: its rest is read after the deletion.
            name = f"the Kubernetes Job {self._jobs.name} in namespace {self._namespace}"
            return await self._abort(describe_refusal(refused, f"watch {name}"))
        finally:
            await _cancel(stopping, *self._tasks)
            if self._log_task is not None:
                await _cancel(self._log_task)

    async def _wait_until_ended(
        self, job: Manifest, jobs: Informer, pods: Informer, data: dict[str, Value]
    ) -> Return:
        uid = job["metadata"]["uid"]
        while True:
            self._changed.clear()
            for task in self._tasks:
                if task.done():
                    task.result()
            job = jobs.latest(uid) or job
            self._update_pod(newest_pod(job, pods.objects), pods)
            if has_ended(job):
                return await self._finish(job, pods, data)
            if self._signal.requested.is_set():
                return await self._stop(uid)
            if jobs.synced and not jobs.has(uid):
                return await self._fail_deleted(f"the Kubernetes Job {self._jobs.name} was deleted")
            timeout = None
            if cause := jobs.unavailable or pods.unavailable:
                self._report(cause)
            elif jobs.synced and pods.synced:
                status = container_status(job, self._pod)
                self._report(status.text)
                error, timeout = self._deadline.check(status)
                if error:
                    return await self._abort(error)
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._changed.wait()

    def _update_pod(self, pod: Manifest | None, pods: Informer | None = None) -> None:
        """Store the last known state of the pod; follow its log once it has one."""
        if pod is None and pods is not None and self._pod is not None:
            pod = pods.latest(self._pod["metadata"]["uid"])
        if pod is None:
            return
        self._pod = pod
        status = container_status({"metadata": {}}, pod)
        if not status.has_log:
            return
        if self._log is None:
            self._log = PodLog(self._api, self._namespace, pod, self._job.prints)
            self._log_task = asyncio.create_task(self._log.follow())
        if status.ended or (pods is not None and not pods.has(pod["metadata"]["uid"])):
            self._log.container_ended()

    async def _finish(self, job: Manifest, pods: Informer, data: dict[str, Value]) -> Return:
        # Read the pod: its watch may lag behind the watch of the Kubernetes Job.
        pod = await self._jobs.pod(job)
        if pod is None:
            await self._wait_for_pod_deletion(pods)
        self._update_pod(pod, pods)
        self._report("Ended: reading the rest of the log")
        await self._read_remaining_log(LOG_GRACE, whole=True)
        end = outcome(job, self._pod, self._container)
        if not end.complete:
            error = await self._with_namespace(end.error) if end.deleted else end.error
            return self._end(State.FAIL, end.exit, error)
        try:
            left = termination_data(end.message)
        except ValueError as error:
            return self._end(State.FAIL, end.exit, str(error))
        data.update(left or {})
        note = "" if left is not None else end.message
        if self._pod is None:
            note = "the pod was removed; its log and its job data, if any, are lost"
        return self._end(State.COMPLETE, end.exit, "", stderr=note)

    async def _wait_for_pod_deletion(self, pods: Informer) -> None:
        """Wait for the deletion event, the only source of a removed pod's last state."""
        with suppress(TimeoutError):
            async with asyncio.timeout(WATCH_GRACE):
                while self._pod is not None and pods.has(self._pod["metadata"]["uid"]):
                    self._changed.clear()
                    await self._changed.wait()

    async def _stop(self, uid: str | None, *, failed: bool = False) -> Return:
        """Delete the Kubernetes Job; report it if its end is not confirmed."""
        name = f"the Kubernetes Job {self._jobs.name} in namespace {self._namespace}"
        if self._signal.hand_over and not failed:
            # The next try reads the log from its beginning.
            return Return(State.STOPPED, 0, f"{name} is left to the next runner")
        error, accepted = "", False
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                await self._jobs.delete()
                accepted = True
                if uid is not None:
                    await self._jobs.wait_deleted(uid)
        except TakenOver as taken:
            error, accepted = str(taken), True
        except TimeoutError:
            error = (
                f"{name} is being deleted; its container may still be running"
                if accepted
                else f"{name} could not be deleted in time and may still be running: {self._status}"
            )
        except ApiRefused as refused:
            error = f"{describe_refusal(refused, 'delete ' + name)}; it may still be running"
        await self._read_remaining_log(POLL_INTERVAL)
        state = State.STOPPED if accepted or not error else State.FAIL
        return self._end(state, 1 if error else 0, error)

    async def _abort(self, error: str) -> Return:
        warning = await self._jobs.warning()
        if warning and warning not in error:
            error = f"{error} ({warning})"
        stopped = await self._stop(None, failed=True)
        if stopped.error:
            error = f"{error}; {stopped.error}"
        return self._end(State.FAIL, 1, error)

    async def _fail_deleted(self, error: str) -> Return:
        await self._read_remaining_log(LOG_GRACE, whole=True)
        error = await self._with_namespace(f"{error} while it ran, not by Spin Cycle")
        return self._end(State.FAIL, 1, error)

    async def _with_namespace(self, error: str) -> str:
        if await self._jobs.namespace_is_deleted(self._container):
            return f"the namespace {self._namespace} is being deleted: {error}"
        return error

    async def _read_remaining_log(self, grace: float, *, whole: bool = False) -> None:
        """Read the rest of the log for `grace` seconds.

        With `whole`, also for as long as the server refuses it and may still accept the request;
        a stop ends that.
        """
        if self._log is None or self._log_task is None:
            return
        self._log.container_ended()
        await asyncio.wait({self._log_task}, timeout=grace)
        while whole and self._log.refusing and not self._log_task.done():
            if self._signal.requested.is_set():
                break
            await asyncio.wait({self._log_task}, timeout=POLL_INTERVAL)
        if self._log.refused:
            self._job.prints(f"[log incomplete: {self._log.refused}]\n")
        elif not self._log_task.done():
            self._job.prints(b"[log incomplete: the API server did not return the rest]\n")
        else:
            self._log_task.result()

    async def _forward_stop(self) -> None:
        await self._signal.requested.wait()
        self._changed.set()

    def _report(self, text: str) -> None:
        if text != self._job.progress.text:
            self._job.report(text)

    @property
    def _status(self) -> str:
        return self._job.progress.text

    def _end(self, state: State, exit_code: int, error: str, stderr: str = "") -> Return:
        printed = self._job.output
        stdout = "" if printed is None else printed.text(STDOUT)
        return Return(state, exit_code, error, stdout, stderr)


async def _cancel(
    *tasks: asyncio.Task[None] | asyncio.Task[bool] | asyncio.Task[Manifest],
) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
