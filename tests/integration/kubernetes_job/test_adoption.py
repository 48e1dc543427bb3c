from __future__ import annotations

from tests.integration.kubernetes_job.conftest import Runner
from tests.kubernetes_api.server import FakeApiServer

from spincycle.job import State


async def test_a_try_that_takes_the_place_of_an_interrupted_one_adopts_its_job(
    api: FakeApiServer, runner: Runner
) -> None:
    first = runner.begin(1, "1.1")
    await first.says("Pending")
    api.cluster.run()
    api.cluster.write("before\n")
    await first.says("Running")
    await first.die()

    second = runner.begin(2, "1.1")
    await second.says("Running")
    api.cluster.write("after\n")
    api.cluster.end()

    returned = await second.end()
    assert (returned.state, returned.stdout) == (State.COMPLETE, "before\nafter\n")
    assert len(api.cluster.created) == 1
    assert api.cluster.deletions == []


async def test_a_job_that_ended_while_nobody_looked_is_read_and_not_run_again(
    api: FakeApiServer, runner: Runner
) -> None:
    first = runner.begin(1, "1.1")
    await first.says("Pending")
    await first.die()
    api.cluster.run()
    api.cluster.write("done\n")
    api.cluster.end(4)

    returned = await runner.begin(2, "1.1").end()

    assert (returned.state, returned.exit, returned.stdout) == (State.FAIL, 4, "done\n")
    assert len(api.cluster.created) == 1


async def test_a_job_whose_pod_is_gone_is_told_without_its_log(
    api: FakeApiServer, runner: Runner
) -> None:
    first = runner.begin(1, "1.1")
    await first.says("Pending")
    await first.die()
    api.cluster.run()
    api.cluster.end(0, '{"n": 1}')
    api.cluster.remove_pod(api.cluster.pod())

    returned = await runner.begin(2, "1.1").end()

    assert returned.state is State.COMPLETE
    assert returned.stderr.startswith("the pod is gone")


async def test_a_retry_after_a_failed_try_has_a_job_of_its_own(
    api: FakeApiServer, runner: Runner
) -> None:
    first = runner.begin(1, "1.1")
    await first.says("Pending")
    api.cluster.run()
    api.cluster.end(1)
    assert (await first.end()).state is State.FAIL

    second = runner.begin(2, "1.2")
    await second.says("Pending")
    api.cluster.run()
    api.cluster.end(0)

    assert (await second.end()).state is State.COMPLETE
    assert len(set(api.cluster.created)) == 2
    assert api.cluster.deletions == []


async def test_a_retry_ends_what_an_earlier_try_left_running_before_it_begins(
    api: FakeApiServer, runner: Runner
) -> None:
    first = runner.begin(1, "1.1")
    await first.says("Pending")
    api.cluster.run()
    await first.says("Running")
    await first.die()
    left, pod = api.cluster.job(), api.cluster.pod()
    api.cluster.obeys = False

    second = runner.begin(2, "1.2")
    await second.says(f"waits for the Kubernetes Job {left['metadata']['name']}")
    assert api.cluster.created == [left["metadata"]["name"]]
    api.cluster.remove_pod(pod)
    await api.cluster.until(lambda: len(api.cluster.created) == 2)
    api.cluster.run()
    api.cluster.end()

    assert (await second.end()).state is State.COMPLETE


async def test_a_runner_that_comes_back_from_the_dead_leaves_the_adopted_job_alone(
    api: FakeApiServer, runner: Runner
) -> None:
    zombie = runner.begin(1, "1.1")
    await zombie.says("Pending")
    api.cluster.run()
    await zombie.says("Running")
    second = runner.begin(2, "1.1")
    await second.says("Running")

    returned = await zombie.stop()

    assert returned.state is State.STOPPED
    assert "try 2 has taken the Kubernetes Job" in returned.error
    assert api.cluster.deletions == []
    api.cluster.end()
    assert (await second.end()).state is State.COMPLETE


async def test_a_try_that_is_out_of_date_does_not_take_a_job_back(
    api: FakeApiServer, runner: Runner
) -> None:
    later = runner.begin(5, "1.1")
    await later.says("Pending")

    returned = await runner.begin(4, "1.1").end()

    assert returned.state is State.FAIL
    assert "try 5 has taken the Kubernetes Job" in returned.error
    api.cluster.run()
    api.cluster.end()
    assert (await later.end()).state is State.COMPLETE


async def test_a_job_that_is_being_deleted_is_awaited_and_then_made_anew(
    api: FakeApiServer, runner: Runner
) -> None:
    api.cluster.obeys = False
    first = runner.begin(1, "1.1")
    await first.says("Pending")
    api.cluster.run()
    await first.says("Running")
    await first.die()
    job, pod = api.cluster.job(), api.cluster.pod()
    api.cluster.delete_job(job, {})

    second = runner.begin(2, "1.1")
    await second.says("to be deleted")
    api.cluster.remove_pod(pod)
    await api.cluster.until(lambda: len(api.cluster.created) == 2)
    api.cluster.run()
    api.cluster.end()

    assert (await second.end()).state is State.COMPLETE
    assert len(set(api.cluster.created)) == 1


async def test_a_job_of_that_name_that_somebody_else_made_is_left_alone(
    api: FakeApiServer, runner: Runner
) -> None:
    made = runner.begin()
    await made.says("Pending")
    await made.die()
    strange = api.cluster.job()
    strange["metadata"]["labels"] = {}
    api.cluster._put("jobs", strange)

    returned = await runner.begin(2, "1.1").end()

    assert returned.state is State.FAIL
    assert "that Spin Cycle did not create" in returned.error
    assert api.cluster.deletions == []


async def test_a_try_that_is_handed_over_leaves_its_job_to_the_next_one(
    api: FakeApiServer, runner: Runner
) -> None:
    first = runner.begin(1, "1.1")
    await first.says("Pending")
    api.cluster.run()
    api.cluster.write("before\n")
    await first.says("Running")
    await first.job.hand_over()

    returned = await first.end()
    assert (returned.state, returned.stdout) == (State.STOPPED, "")
    assert "is left to the runner that goes on" in returned.error

    second = runner.begin(2, "1.1")
    await second.says("Running")
    api.cluster.end()

    assert (await second.end()).stdout == "before\n"
    assert (len(api.cluster.created), api.cluster.deletions) == (1, [])
