"""Job class and factory of the job type kubernetes/job."""

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
    """Runs a container as a Kubernetes Job."""

    def __init__(self, job_id: JobId, connection: Connection) -> None:
        self.id = job_id
        self._connection = connection
        self._container = Container("")
        self._signal = StopSignal()

    def create(self, args: dict[str, Value]) -> None:
        """Read the arguments; see docs/how-to/kubernetes-job.md."""
        self._container = read_container(args)

    def serialize(self) -> bytes:
        """Encode the container."""
        return self._container.to_bytes()

    def deserialize(self, data: bytes) -> None:
        """Decode the container."""
        self._container = Container.from_bytes(data)

    async def run(self, data: dict[str, Value]) -> Return:
        """Find or create the Kubernetes Job of this attempt and wait for its end."""
        async with self._connection.use() as cluster:
            # `use` has imported the extra's packages, which this module needs.
            from spincycle.kubernetes_jobs.container_run import ContainerRun

            run = ContainerRun(cluster, self._container, self, self._signal)
            return await run.run(data)

    async def stop(self) -> None:
        """Stop the container and delete the Kubernetes Job."""
        self._signal.requested.set()

    async def hand_over(self) -> None:
        """Leave the Kubernetes Job running: the next try adopts it."""
        self._signal.hand_over = True
        self._signal.requested.set()


class KubernetesJobFactory:
    """Creates the jobs of a process, which share a connection."""

    def __init__(self) -> None:
        self._connection = Connection()

    def make(self, job_id: JobId) -> KubernetesJob:
        """Return a new job object."""
        return KubernetesJob(job_id, self._connection)
