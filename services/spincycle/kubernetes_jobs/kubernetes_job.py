"""The job type kubernetes/job, as the request manager and the runner see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spincycle.job.job import Job, JobId, Return
from spincycle.kubernetes_jobs.arguments import read_container
from spincycle.kubernetes_jobs.connection import Connection
from spincycle.kubernetes_jobs.container import Container
from spincycle.kubernetes_jobs.stop_signal import StopSignal

if TYPE_CHECKING:
    from spincycle.model.job_chain import Value


class KubernetesJob(Job):
    """Runs a container to its end, as a Kubernetes Job."""

    def __init__(self, job_id: JobId, connection: Connection) -> None:
        self.id = job_id
        self._connection = connection
        self._container = Container("")
        self._wish = StopSignal()

    def create(self, args: dict[str, Value]) -> None:
        """Read the arguments; see docs/how-to/kubernetes-job.md."""
        self._container = read_container(args)

    def serialize(self) -> bytes:
        """The container."""
        return self._container.to_bytes()

    def deserialize(self, data: bytes) -> None:
        """Read the container back."""
        self._container = Container.from_bytes(data)

    async def run(self, data: dict[str, Value]) -> Return:
        """Find or create the Kubernetes Job of this attempt and see it to its end."""
        async with self._connection.use() as cluster:
            # What it imports is there by now.
            from spincycle.kubernetes_jobs.container_run import ContainerRun

            run = ContainerRun(cluster, self._container, self, self._wish)
            return await run.to_end(data)

    async def stop(self) -> None:
        """Have the cluster stop the container and delete the Kubernetes Job."""
        self._wish.told.set()

    async def hand_over(self) -> None:
        """Leave the Kubernetes Job as it is: the next try will find it."""
        self._wish.leave = True
        self._wish.told.set()


class KubernetesJobFactory:
    """Makes the jobs of a process, which share a connection."""

    def __init__(self) -> None:
        self._connection = Connection()

    def make(self, job_id: JobId) -> KubernetesJob:
        """A new job object."""
        return KubernetesJob(job_id, self._connection)
