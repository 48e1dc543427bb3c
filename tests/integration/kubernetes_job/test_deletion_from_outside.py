from __future__ import annotations

import pytest
from tests.integration.kubernetes_job.conftest import Runner, Try
from tests.kubernetes_api.server import FakeApiServer

from spincycle.job import State

DELETED = "the pod was deleted while it ran, not by Spin Cycle (exit code 143)"


@pytest.fixture
async def made(api: FakeApiServer, runner: Runner) -> Try:
    """A try whose container runs."""
    made = runner.start()
    await made.until_reported("Pending")
    api.cluster.run()
    api.cluster.write("half\n")
    await made.until_reported("Running")
    return made


async def test_a_namespace_that_is_deleted_fails_the_try_with_that_reason(
    api: FakeApiServer, made: Try
) -> None:
    api.cluster.delete_namespace()

    returned = await made.end()

    assert (returned.state, returned.exit, returned.stdout) == (State.FAIL, 143, "half\n")
    assert returned.error == f"the namespace jobs is being deleted: {DELETED}"
    assert len(api.cluster.created) == 1


async def test_a_job_that_goes_with_its_namespace_fails_the_try_with_that_reason(
    api: FakeApiServer, made: Try
) -> None:
    api.cluster.terminating.add("jobs")
    api.cluster.empty_namespace()

    returned = await made.end()

    assert returned.state is State.FAIL
    assert returned.error.startswith("the namespace jobs is being deleted: the Kubernetes Job ")
    assert returned.error.endswith(" was deleted while it ran, not by Spin Cycle")


async def test_a_pod_that_is_deleted_from_outside_fails_the_try_with_that_reason(
    api: FakeApiServer, made: Try
) -> None:
    api.cluster.delete_pod(api.cluster.pod())

    returned = await made.end()

    assert (returned.state, returned.error) == (State.FAIL, DELETED)
    assert len(api.cluster.created) == 1


async def test_a_pod_that_is_deleted_without_a_view_of_its_namespace_fails_the_try_all_the_same(
    api: FakeApiServer, made: Try
) -> None:
    api.forbids("POST")
    api.cluster.delete_namespace()

    assert (await made.end()).error == DELETED


async def test_a_container_that_failed_before_its_pod_was_deleted_keeps_its_own_reason(
    api: FakeApiServer, runner: Runner
) -> None:
    first = runner.start()
    await first.until_reported("Pending")
    await first.crash()
    api.cluster.run()
    pod = api.cluster.pod()
    ended = {"exitCode": 3, "reason": "Error", "finishedAt": "2026-11-25T22:00:00Z"}
    pod["status"]["containerStatuses"] = [{"name": "main", "state": {"terminated": ended}}]
    api.cluster.delete_pod(pod)

    returned = await runner.start(2, "1.1").end()

    assert (returned.state, returned.error) == (State.FAIL, "exit code 3")


async def test_a_creation_in_a_namespace_that_is_being_deleted_fails_at_once(
    api: FakeApiServer, runner: Runner
) -> None:
    api.cluster.terminating.add("jobs")

    made = runner.start()
    returned = await made.end()

    assert returned.state is State.FAIL
    assert "because it is being terminated" in returned.error
    assert "docs/how-to" not in returned.error
    assert made.texts == []
