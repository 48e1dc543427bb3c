from __future__ import annotations

from tests.integration.kubernetes_job.conftest import Runner
from tests.kubernetes_api.server import FakeApiServer

from spincycle.job import State


async def test_a_try_that_replaces_an_interrupted_one_adopts_its_job(
    api: FakeApiServer, runner: Runner
) -> None:
    first = runner.start(1, "1.1")
    await first.until_reported("Pending")
    api.cluster.run()
    api.cluster.write("before\n")
    await first.until_reported("Running")
    await first.crash()

    second = runner.start(2, "1.1")
    await second.until_reported("Running")
    api.cluster.write("after\n")
    api.cluster.end()

    returned = await second.end()
    assert (returned.state, returned.stdout) == (State.COMPLETE, "before\nafter\n")
    assert len(api.cluster.created) == 1
    assert api.cluster.deletions == []


async def test_a_job_that_ended_without_a_runner_is_read_and_not_run_again(
    api: FakeApiServer, runner: Runner
) -> None:
    first = runner.start(1, "1.1")
    await first.until_reported("Pending")
    await first.crash()
    api.cluster.run()
    api.cluster.write("done\n")
    api.cluster.end(4)

    returned = await runner.start(2, "1.1").end()

    assert (returned.state, returned.exit, returned.stdout) == (State.FAIL, 4, "done\n")
    assert len(api.cluster.created) == 1


async def test_a_job_whose_pod_was_removed_completes_without_its_log(
    api: FakeApiServer, runner: Runner
) -> None:
    first = runner.start(1, "1.1")
    await first.until_reported("Pending")
    await first.crash()
    api.cluster.run()
    api.cluster.end(0, '{"n": 1}')
    api.cluster.remove_pod(api.cluster.pod())

    returned = await runner.start(2, "1.1").end()

    assert returned.state is State.COMPLETE
    assert returned.stderr.startswith("the pod was removed")


async def test_a_retry_after_a_failed_try_has_a_job_of_its_own(
    api: FakeApiServer, runner: Runner
) -> None:
    first = runner.start(1, "1.1")
    await first.until_reported("Pending")
    api.cluster.run()
    api.cluster.end(1)
    assert (await first.end()).state is State.FAIL

    second = runner.start(2, "1.2")
    await second.until_reported("Pending")
    api.cluster.run()
    api.cluster.end(0)

    assert (await second.end()).state is State.COMPLETE
    assert len(set(api.cluster.created)) == 2
    assert api.cluster.deletions == []


async def test_a_retry_deletes_a_running_job_of_an_earlier_try_before_it_starts(
    api: FakeApiServer, runner: Runner
) -> None:
    first = runner.start(1, "1.1")
    await first.until_reported("Pending")
    api.cluster.run()
    await first.until_reported("Running")
    await first.crash()
    orphan, pod = api.cluster.job(), api.cluster.pod()
    api.cluster.obeys = False

    second = runner.start(2, "1.2")
    await second.until_reported(f"waits for the Kubernetes Job {orphan['metadata']['name']}")
    assert api.cluster.created == [orphan["metadata"]["name"]]
    api.cluster.remove_pod(pod)
    await api.cluster.until(lambda: len(api.cluster.created) == 2)
    api.cluster.run()
    api.cluster.end()

    assert (await second.end()).state is State.COMPLETE


async def test_a_zombie_runner_leaves_the_adopted_job_alone(
    api: FakeApiServer, runner: Runner
) -> None:
    zombie = runner.start(1, "1.1")
    await zombie.until_reported("Pending")
    api.cluster.run()
    await zombie.until_reported("Running")
    second = runner.start(2, "1.1")
    await second.until_reported("Running")

    returned = await zombie.stop()

    assert returned.state is State.STOPPED
    assert "try 2 has taken over the Kubernetes Job" in returned.error
    assert api.cluster.deletions == []
    api.cluster.end()
    assert (await second.end()).state is State.COMPLETE


async def test_an_outdated_try_does_not_adopt_a_job(api: FakeApiServer, runner: Runner) -> None:
    later = runner.start(5, "1.1")
    await later.until_reported("Pending")

    returned = await runner.start(4, "1.1").end()

    assert returned.state is State.FAIL
    assert "try 5 has taken over the Kubernetes Job" in returned.error
    api.cluster.run()
    api.cluster.end()
    assert (await later.end()).state is State.COMPLETE


async def test_a_job_that_is_being_deleted_is_awaited_and_then_recreated(
    api: FakeApiServer, runner: Runner
) -> None:
    api.cluster.obeys = False
    first = runner.start(1, "1.1")
    await first.until_reported("Pending")
    api.cluster.run()
    await first.until_reported("Running")
    await first.crash()
    job, pod = api.cluster.job(), api.cluster.pod()
    api.cluster.delete_job(job, {})

    second = runner.start(2, "1.1")
    await second.until_reported("to be deleted")
    api.cluster.remove_pod(pod)
    await api.cluster.until(lambda: len(api.cluster.created) == 2)
    api.cluster.run()
    api.cluster.end()

    assert (await second.end()).state is State.COMPLETE
    assert len(set(api.cluster.created)) == 1


async def test_a_foreign_job_of_that_name_is_left_alone(api: FakeApiServer, runner: Runner) -> None:
    made = runner.start()
    await made.until_reported("Pending")
    await made.crash()
    strange = api.cluster.job()
    strange["metadata"]["labels"] = {}
    api.cluster._put("jobs", strange)

    returned = await runner.start(2, "1.1").end()

    assert returned.state is State.FAIL
    assert "that Spin Cycle did not create" in returned.error
    assert api.cluster.deletions == []


async def test_a_stop_leaves_a_foreign_job_of_that_name_alone(
    api: FakeApiServer, runner: Runner
) -> None:
    first = runner.start()
    await first.until_reported("Pending")
    await first.crash()
    strange = api.cluster.job()
    strange["metadata"]["labels"] = {}
    api.cluster._put("jobs", strange)
    api.fails("GET .*/jobs$", 503, times=10**6)
    second = runner.start(2, "1.1")
    await second.until_reported("the API server is unavailable")

    returned = await second.stop()

    assert returned.state is State.STOPPED
    assert api.cluster.deletions == []


async def test_a_try_that_is_handed_over_leaves_its_job_to_the_next_one(
    api: FakeApiServer, runner: Runner
) -> None:
    first = runner.start(1, "1.1")
    await first.until_reported("Pending")
    api.cluster.run()
    api.cluster.write("before\n")
    await first.until_reported("Running")
    await first.job.hand_over()

    returned = await first.end()
    assert (returned.state, returned.stdout) == (State.STOPPED, "")
    assert "is left to the next runner" in returned.error

    second = runner.start(2, "1.1")
    await second.until_reported("Running")
    api.cluster.end()

    assert (await second.end()).stdout == "before\n"
    assert (len(api.cluster.created), api.cluster.deletions) == (1, [])
