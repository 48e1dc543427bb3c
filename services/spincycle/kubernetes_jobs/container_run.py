"""One try: a Kubernetes Job obtained, watched to its end, and told as a Return."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from spincycle.job.bounded_output import BoundedOutput
from spincycle.job.job import Return
from spincycle.kubernetes_jobs.api import jobs_path, pods_path
from spincycle.kubernetes_jobs.errors import ApiRefused, TakenOver, in_words
from spincycle.kubernetes_jobs.informer import Informer
from spincycle.kubernetes_jobs.kubernetes_jobs import POLL, KubernetesJobs
from spincycle.kubernetes_jobs.manifest import NAME_LABEL, Manifest
from spincycle.kubernetes_jobs.pod_log import PodLog
from spincycle.kubernetes_jobs.pod_state import (
    has_ended,
    left_data,
    newest_pod,
    outcome,
    standing,
)
from spincycle.kubernetes_jobs.start_deadline import StartDeadline
from spincycle.model.state import State

if TYPE_CHECKING:
    from spincycle.job.job import Job
    from spincycle.kubernetes_jobs.connection import Cluster
    from spincycle.kubernetes_jobs.container import Container
    from spincycle.kubernetes_jobs.stop_signal import StopSignal
    from spincycle.model.job_chain import Value

STOP_PATIENCE = 8.0
"""Seconds in which a stop must have come about; the runner cancels the try after ten."""

CREATE_GRACE = 2.0
"""Seconds that a creation under way is given when the try is to end."""

WATCH_GRACE = 2.0
"""Seconds that the watch of a pod may be behind that of its Kubernetes Job."""

LOG_GRACE = 10.0
"""Seconds in which the rest of the log must have come after the container's end."""


class ContainerRun:
    """Sees a container to its end; `wish` tells when it is to end early."""

    def __init__(self, cluster: Cluster, container: Container, job: Job, wish: StopSignal) -> None:
        self._cluster = cluster
        self._namespace = container.namespace or cluster.namespace
        self._container = container
        self._job = job
        self._wish = wish
        self._jobs = KubernetesJobs(cluster.api, self._namespace, job.id, job.attempt, self._tell)
        self._output = BoundedOutput()
        self._changed = asyncio.Event()
        self._patience = StartDeadline(container.start_timeout)
        self._log: PodLog | None = None
        self._following: asyncio.Task[None] | None = None
        self._pod: Manifest | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def to_end(self, data: dict[str, Value]) -> Return:
        """Run the container; what it leaves as its termination message goes into `data`."""
        name = f"the Kubernetes Job {self._jobs.name} in namespace {self._namespace}"
        try:
            job = await self._obtained(data)
        except TakenOver as taken:
            return self._end(State.FAIL, 1, str(taken))
        except ApiRefused as refused:
            return self._end(State.FAIL, 1, in_words(refused, f"create {name}"))
        if job is None:
            return await self._stopped(None)
        try:
            return await self._watched(job, data)
        except ApiRefused as refused:
            return await self._given_up(in_words(refused, f"watch {name}"))

    async def _obtained(self, data: dict[str, Value]) -> Manifest | None:
        """The Kubernetes Job; None if the try was stopped before there was one."""
        obtaining = asyncio.create_task(self._jobs.obtain(self._container, data))
        stopping = asyncio.create_task(self._wish.told.wait())
        try:
            await asyncio.wait({obtaining, stopping}, return_when=asyncio.FIRST_COMPLETED)
            # What is just being created is better known before it is deleted.
            await asyncio.wait({obtaining}, timeout=CREATE_GRACE)
            return await obtaining if obtaining.done() else None
        finally:
            await _cancelled(obtaining, stopping)

    async def _watched(self, job: Manifest, data: dict[str, Value]) -> Return:
        of_job = {"fieldSelector": f"metadata.name={self._jobs.name}"}
        of_pods = {"labelSelector": f"{NAME_LABEL}={self._jobs.name}"}
        api = self._cluster.api
        jobs = Informer(api, jobs_path(self._namespace), of_job, self._changed)
        pods = Informer(api, pods_path(self._namespace), of_pods, self._changed)
        self._tasks = [asyncio.create_task(jobs.run()), asyncio.create_task(pods.run())]
        for task in self._tasks:
            task.add_done_callback(lambda _: self._changed.set())
        stopping = asyncio.create_task(self._pass_on_stop())
        try:
            return await self._until_ended(job, jobs, pods, data)
        finally:
            await _cancelled(stopping, *self._tasks)
            if self._following is not None:
                await _cancelled(self._following)

    async def _until_ended(
        self, job: Manifest, jobs: Informer, pods: Informer, data: dict[str, Value]
    ) -> Return:
        uid = job["metadata"]["uid"]
        while True:
            self._changed.clear()
            for task in self._tasks:
                if task.done():
                    task.result()
            job = jobs.last(uid) or job
            self._look_at(newest_pod(job, pods.objects), pods)
            if has_ended(job):
                return await self._ended(job, pods, data)
            if self._wish.told.is_set():
                return await self._stopped(uid)
            if jobs.known and not jobs.has(uid):
                return await self._lost(f"the Kubernetes Job {self._jobs.name} was deleted")
            patience = None
            if jobs.away or pods.away:
                self._tell(f"the API server does not answer: {jobs.away or pods.away}; waiting")
            elif jobs.known and pods.known:
                now = standing(job, self._pod)
                self._tell(now.text)
                lost, patience = self._patience.lost(now)
                if lost:
                    return await self._given_up(lost)
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._changed.wait()

    def _look_at(self, pod: Manifest | None, pods: Informer | None = None) -> None:
        """Keep the last that was seen of the pod, and follow its log as soon as it has one."""
        if pod is None and pods is not None and self._pod is not None:
            pod = pods.last(self._pod["metadata"]["uid"])
        if pod is None:
            return
        self._pod = pod
        now = standing({"metadata": {}}, pod)
        if not now.has_log:
            return
        if self._log is None:
            self._log = PodLog(self._cluster.api, self._namespace, pod, self._print)
            self._following = asyncio.create_task(self._log.follow())
        if now.ended or (pods is not None and not pods.has(pod["metadata"]["uid"])):
            self._log.container_ended()

    async def _ended(self, job: Manifest, pods: Informer, data: dict[str, Value]) -> Return:
        # Read once more: the watch of the pod may be behind that of the Kubernetes Job.
        pod = await self._jobs.pod(job)
        if pod is None:
            await self._until_told_gone(pods)
        self._look_at(pod, pods)
        self._tell("Ended: reads the rest of the log")
        await self._rest_of_log(LOG_GRACE)
        end = outcome(job, self._pod, self._container)
        if not end.complete:
            return self._end(State.FAIL, end.exit, end.error)
        try:
            left = left_data(end.message)
        except ValueError as error:
            return self._end(State.FAIL, end.exit, str(error))
        data.update(left or {})
        said = "" if left is not None else end.message
        if self._pod is None:
            said = "the pod is gone, and with it its log and the data that it may have left"
        return self._end(State.COMPLETE, end.exit, "", stderr=said)

    async def _until_told_gone(self, pods: Informer) -> None:
        """Only the watch of a pod that is gone tells how it was then, and why it went."""
        with suppress(TimeoutError):
            async with asyncio.timeout(WATCH_GRACE):
                while self._pod is not None and pods.has(self._pod["metadata"]["uid"]):
                    self._changed.clear()
                    await self._changed.wait()

    async def _stopped(self, uid: str | None, *, failed: bool = False) -> Return:
        """Have it deleted, and tell what is not known to be over."""
        name = f"the Kubernetes Job {self._jobs.name} in namespace {self._namespace}"
        if self._wish.leave and not failed:
            # The next try reads all of the log, so none of it is journalled twice.
            return Return(State.STOPPED, 0, f"{name} is left to the runner that goes on")
        error, accepted = "", False
        try:
            async with asyncio.timeout(STOP_PATIENCE):
                await self._jobs.delete()
                accepted = True
                if uid is not None:
                    await self._jobs.gone(uid)
        except TakenOver as taken:
            error, accepted = str(taken), True
        except TimeoutError:
            error = (
                f"{name} is being deleted, its container may not have ended"
                if accepted
                else f"{name} could not be deleted in time and may be running: {self._told}"
            )
        except ApiRefused as refused:
            error = f"{in_words(refused, 'delete ' + name)}; it may be running"
        await self._rest_of_log(POLL)
        state = State.STOPPED if accepted or not error else State.FAIL
        return self._end(state, 1 if error else 0, error)

    async def _given_up(self, error: str) -> Return:
        warning = await self._jobs.warning()
        if warning and warning not in error:
            error = f"{error} ({warning})"
        stopped = await self._stopped(None, failed=True)
        if stopped.error:
            error = f"{error}; {stopped.error}"
        return self._end(State.FAIL, 1, error)

    async def _lost(self, error: str) -> Return:
        await self._rest_of_log(LOG_GRACE)
        return self._end(State.FAIL, 1, f"{error} while it ran, not by Spin Cycle")

    async def _rest_of_log(self, grace: float) -> None:
        if self._log is None or self._following is None:
            return
        self._log.container_ended()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await asyncio.shield(self._following)
        if self._log.refused:
            self._output.write(f"[the log breaks off: {self._log.refused}]\n".encode())
        elif not self._following.done():
            self._output.write(b"[the log breaks off: the API server does not give the rest]\n")

    async def _pass_on_stop(self) -> None:
        await self._wish.told.wait()
        self._changed.set()

    def _print(self, part: bytes) -> None:
        self._output.write(part)
        self._job.prints(stdout=part)

    def _tell(self, text: str) -> None:
        if text != self._job.progress.text:
            self._job.report(text)

    @property
    def _told(self) -> str:
        return self._job.progress.text

    def _end(self, state: State, exit_code: int, error: str, stderr: str = "") -> Return:
        return Return(state, exit_code, error, self._output.text(), stderr)


async def _cancelled(
    *tasks: asyncio.Task[None] | asyncio.Task[bool] | asyncio.Task[Manifest],
) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
