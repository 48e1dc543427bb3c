from __future__ import annotations

import pytest
from tests.integration.kubernetes_job.conftest import Runner
from tests.kubernetes_api.server import FakeApiServer

from spincycle.job import State
from spincycle.kubernetes_jobs import start_deadline


async def test_an_image_that_cannot_be_pulled_fails_the_try_after_a_timeout(
    api: FakeApiServer, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = runner.start()
    await made.until_reported("Pending")
    api.cluster.waits("ErrImagePull", "manifest for builder:1 not found")
    await made.until_reported("Pending: ErrImagePull: manifest for builder:1 not found")
    monkeypatch.setattr(start_deadline.StartDeadline, "error_timeout", 0.0, raising=False)
    api.cluster.waits("ImagePullBackOff", 'Back-off pulling image "builder:1"')

    returned = await made.end()

    assert returned.state is State.FAIL
    assert 'ImagePullBackOff: Back-off pulling image "builder:1"' in returned.error
    assert api.cluster.things["jobs"] == {}


async def test_an_invalid_image_name_fails_at_once(api: FakeApiServer, runner: Runner) -> None:
    made = runner.start()
    await made.until_reported("Pending")
    api.cluster.waits("InvalidImageName", "could not parse it")

    returned = await made.end()

    assert (returned.state, returned.error) == (
        State.FAIL,
        "Pending: InvalidImageName: could not parse it",
    )
    assert api.cluster.things["jobs"] == {}


async def test_an_image_that_can_be_pulled_later_is_run(api: FakeApiServer, runner: Runner) -> None:
    made = runner.start()
    await made.until_reported("Pending")
    api.cluster.waits("ErrImagePull", "registry is away")
    await made.until_reported("registry is away")
    api.cluster.run()
    api.cluster.end()

    assert (await made.end()).state is State.COMPLETE


async def test_a_pod_that_is_not_scheduled_fails_the_try_after_the_start_timeout(
    api: FakeApiServer, runner: Runner
) -> None:
    made = runner.start(startTimeout="1s")
    await made.until_reported("Pending")
    api.cluster.unplaced("0/3 nodes are available: 3 Insufficient cpu.")

    returned = await made.end()

    assert returned.state is State.FAIL
    assert returned.error == (
        "did not run within 1s: Pending: not scheduled: 0/3 nodes are available:"
        " 3 Insufficient cpu."
    )
    assert api.cluster.things["jobs"] == {}


async def test_a_job_without_a_pod_fails_with_the_clusters_warning(
    api: FakeApiServer, runner: Runner
) -> None:
    api.cluster.makes_pods = False
    made = runner.start(startTimeout="1s")
    await made.until_reported("Pending: no pod yet")
    api.cluster.warn('pods "x" is forbidden: exceeded quota')

    returned = await made.end()

    assert returned.state is State.FAIL
    assert returned.error == (
        'did not run within 1s: Pending: no pod yet (pods "x" is forbidden: exceeded quota)'
    )


async def test_an_eviction_fails_the_try_with_the_reason(
    api: FakeApiServer, runner: Runner
) -> None:
    made = runner.start()
    await made.until_reported("Pending")
    api.cluster.run()
    api.cluster.evict("The node was low on resource: memory.")

    returned = await made.end()

    assert returned.state is State.FAIL
    assert returned.error == "evicted: The node was low on resource: memory."


async def test_a_preemption_fails_the_try_with_the_reason(
    api: FakeApiServer, runner: Runner
) -> None:
    made = runner.start()
    await made.until_reported("Pending")
    api.cluster.run()
    api.cluster.write("half\n")
    await made.until_reported("Running")
    api.cluster.preempt("preempting to accommodate a higher priority pod")

    returned = await made.end()

    assert returned.state is State.FAIL
    assert returned.error == (
        "removed from its node (PreemptionByScheduler):"
        " preempting to accommodate a higher priority pod"
    )
    assert returned.stdout == "half\n"


async def test_a_deadline_that_passed_fails_the_try(api: FakeApiServer, runner: Runner) -> None:
    made = runner.start(timeout="90s")
    await made.until_reported("Pending")
    api.cluster.run()
    await made.until_reported("Running")
    api.cluster.deadline()

    returned = await made.end()

    assert (returned.state, returned.error) == (
        State.FAIL,
        "took longer than 1m30s (DeadlineExceeded)",
    )


async def test_a_container_out_of_memory_fails_with_its_limit(
    api: FakeApiServer, runner: Runner
) -> None:
    made = runner.start(memory="64Mi")
    await made.until_reported("Pending")
    api.cluster.run()
    api.cluster.end(137, reason="OOMKilled")

    returned = await made.end()

    assert (returned.state, returned.exit) == (State.FAIL, 137)
    assert returned.error == "out of memory (OOMKilled): the limit is 64Mi"


async def test_a_job_that_is_deleted_externally_fails_the_try(
    api: FakeApiServer, runner: Runner
) -> None:
    made = runner.start()
    await made.until_reported("Pending")
    api.cluster.run()
    await made.until_reported("Running")
    api.cluster.remove_job()

    returned = await made.end()

    assert returned.state is State.FAIL
    assert returned.error.endswith("was deleted while it ran, not by Spin Cycle")
    assert len(api.cluster.created) == 1
