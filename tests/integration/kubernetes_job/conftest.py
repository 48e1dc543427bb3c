from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.kubernetes_api.server import FakeApiServer

from spincycle.job import Attempt, JobId, Return, Value
from spincycle.job.try_output import STDOUT, TryOutput
from spincycle.kubernetes_jobs import api_session, informer, kubernetes_jobs, pod_log
from spincycle.kubernetes_jobs.kubernetes_job import KubernetesJobFactory

REQUEST = "bsd4h2ab5ku0lml7v3b0"


class Printed(TryOutput):
    """Output that can be awaited."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = asyncio.Event()

    def write(self, stream: int, data: bytes) -> None:
        super().write(stream, data)
        self._changed.set()

    async def until(self, text: str) -> None:
        while self.text(STDOUT) != text:
            self._changed.clear()
            await self._changed.wait()


class Try:
    """One try of one job, as a runner executes it, and its status texts."""

    def __init__(
        self, factory: KubernetesJobFactory, number: int, key: str, job: str, **args: Value
    ) -> None:
        job_id = JobId("kubernetes/job", "Build It", job, REQUEST)
        created = factory.make(job_id)
        created.create({"image": "builder:1", **args})
        self.job = factory.make(job_id)
        self.job.deserialize(created.serialize())
        self.job.attempt = Attempt(number, key)
        self.job.output = self.printed = Printed()
        self.data: dict[str, Value] = {}
        self.texts: list[str] = []
        self._changed = asyncio.Condition()
        self.job.on_report(lambda progress: self._on_report(progress.text))
        self.running = asyncio.create_task(self.job.run(self.data))
        self.running.add_done_callback(lambda _: self._on_end())

    async def until_reported(self, text: str) -> None:
        """Wait until a status text has contained `text`."""
        await self._until(lambda: any(text in said for said in self.texts))

    async def until_status(self, text: str) -> None:
        """Wait until the current status text contains `text`."""
        await self._until(lambda: text in self.job.status())

    async def end(self) -> Return:
        return await self.running

    async def stop(self) -> Return:
        await self.job.stop()
        return await self.running

    async def crash(self) -> None:
        """End the try without a call to the cluster, as if its runner had crashed."""
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)

    def _on_report(self, text: str) -> None:
        self.texts.append(text)
        self._notifying = asyncio.ensure_future(self._notify())

    def _on_end(self) -> None:
        self._notifying = asyncio.ensure_future(self._notify())

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _until(self, happened: Callable[[], bool]) -> None:
        async with asyncio.timeout(30), self._changed:
            await self._changed.wait_for(lambda: happened() or self.running.done())
        assert happened(), f"the try ended: {self.running}"


class Runner:
    """Starts tries in one process."""

    def __init__(self) -> None:
        self.factory = KubernetesJobFactory()
        self.tries: list[Try] = []

    def start(self, number: int = 1, key: str = "1.1", job: str = "aB3d", **args: Value) -> Try:
        made = Try(self.factory, number, key, job, **args)
        self.tries.append(made)
        return made


@pytest.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeApiServer]:
    server = FakeApiServer()
    await server.start()
    monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path / "kubeconfig")))
    monkeypatch.setattr(kubernetes_jobs, "POLL_INTERVAL", 0.01)
    for retrying in (informer, kubernetes_jobs, pod_log):
        monkeypatch.setattr(retrying, "FIRST_RETRY", 0.02)
    yield server
    await server.stop()


@pytest.fixture
def refusals_are_final(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal of the runner is not retried."""
    monkeypatch.setattr(api_session, "REFUSAL_TIMEOUT", 0.0)


@pytest.fixture
async def runner(api: FakeApiServer) -> AsyncIterator[Runner]:
    made = Runner()
    yield made
    for started in made.tries:
        await started.crash()
