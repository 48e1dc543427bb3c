from __future__ import annotations

import asyncio

import pytest
from tests.integration.kubernetes_job.conftest import Runner
from tests.kubernetes_api.server import FakeApiServer
from tests.waiting import until

from spincycle.job import State
from spincycle.kubernetes_jobs import container_run


async def test_a_stop_deletes_the_job_with_its_pod_and_waits_until_they_are_gone(
    api: FakeApiServer, runner: Runner
) -> None:
    made = runner.start()
    await made.until_reported("Pending")
    api.cluster.run()
    api.cluster.write("so far\n")
    await made.until_reported("Running")
    job = api.cluster.job()["metadata"]

    returned = await made.stop()

    assert (returned.state, returned.error, returned.stdout) == (State.STOPPED, "", "so far\n")
    [deletion] = api.cluster.deletions
    assert deletion["propagationPolicy"] == "Foreground"
    assert deletion["preconditions"]["uid"] == job["uid"]
    assert api.cluster.things["jobs"] == api.cluster.things["pods"] == {}


async def test_a_stop_before_anything_was_created_creates_nothing(
    api: FakeApiServer, runner: Runner
) -> None:
    api.fails("GET .*/jobs$", 503, times=10**6)
    made = runner.start()
    await made.until_reported("the API server is unavailable")

    returned = await made.stop()

    assert returned.state is State.STOPPED
    assert api.cluster.created == []


async def test_a_container_that_ignores_its_stop_is_left_to_the_cluster(
    api: FakeApiServer, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container_run, "STOP_TIMEOUT", 0.2)
    api.cluster.obeys = False
    made = runner.start()
    await made.until_reported("Pending")
    api.cluster.run()
    await made.until_reported("Running")

    returned = await made.stop()

    assert returned.state is State.STOPPED
    assert "is being deleted; its container may still be running" in returned.error


async def test_a_stop_while_the_api_server_is_unavailable_reports_what_may_be_running(
    api: FakeApiServer, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container_run, "STOP_TIMEOUT", 0.2)
    made = runner.start()
    await made.until_reported("Pending")
    api.cluster.run()
    await made.until_reported("Running")
    api.fails("GET .*/jobs/", 503, times=10**6, message="restarting")

    returned = await made.stop()

    assert returned.state is State.FAIL
    assert "could not be deleted in time and may still be running" in returned.error
    assert "503: restarting" in returned.error


@pytest.mark.usefixtures("refusals_are_final")
async def test_a_forbidden_stop_reports_what_may_be_running(
    api: FakeApiServer, runner: Runner
) -> None:
    made = runner.start()
    await made.until_reported("Pending")
    api.cluster.run()
    await made.until_reported("Running")
    api.fails("DELETE", 403, message='User "runner" cannot delete "jobs"')

    returned = await made.stop()

    assert returned.state is State.FAIL
    assert 'User "runner" cannot delete "jobs"' in returned.error
    assert returned.error.endswith("it may still be running")


async def test_a_stop_that_conflicts_with_a_change_of_the_job_is_retried(
    api: FakeApiServer, runner: Runner
) -> None:
    made = runner.start()
    await made.until_reported("Pending")
    api.cluster.run()
    await made.until_reported("Running")
    api.fails("DELETE", 409, message="the resourceVersion in the precondition does not match")

    returned = await made.stop()

    assert (returned.state, returned.error) == (State.STOPPED, "")
    assert api.cluster.things["jobs"] == {}


async def test_a_stop_during_a_creation_that_is_retried_deletes_the_job_that_it_creates(
    api: FakeApiServer, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container_run, "CREATE_GRACE", 60.0)
    api.fails("POST", 503)
    api.creations.clear()
    made = runner.start()
    await until(lambda: sum(call.startswith("POST") for call in api.calls) == 2)

    await made.job.stop()
    ended, _ = await asyncio.wait({made.running}, timeout=0.1)
    api.creations.set()
    returned = await made.end()

    assert (returned.state, returned.error, ended) == (State.STOPPED, "", set())
    assert (len(api.cluster.created), len(api.cluster.deletions)) == (1, 1)
    assert api.cluster.things["jobs"] == {}
