from __future__ import annotations

import pytest
from tests.integration.kubernetes_job.conftest import Runner
from tests.kubernetes_api.refusals import CONFLICT
from tests.kubernetes_api.server import FakeApiServer

from spincycle.job import State
from spincycle.kubernetes_jobs import container_run, kubernetes_jobs

MESSAGE = CONFLICT.format(quota="jobs-quota")


async def test_a_creation_that_conflicts_with_a_change_of_a_quota_is_retried(
    api: FakeApiServer, runner: Runner
) -> None:
    api.fails("POST", 409, times=3, message=MESSAGE, reason="Conflict")

    made = runner.start()
    await made.until_reported(f"Pending: {MESSAGE}; retried for 1m")
    await api.cluster.until(lambda: bool(api.cluster.created))
    api.cluster.run()
    api.cluster.end()

    assert (await made.end()).state is State.COMPLETE
    assert len(api.cluster.created) == 1


async def test_a_creation_that_conflicts_every_time_fails_the_try_after_the_limit(
    api: FakeApiServer, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_jobs, "CONFLICT_TIMEOUT", 0.2)
    api.fails("POST", 409, times=10**6, message=MESSAGE, reason="Conflict")

    returned = await runner.start().end()

    assert returned.state is State.FAIL
    assert f"in namespace jobs: {MESSAGE} (retried for " in returned.error
    assert api.cluster.created == []


async def test_a_full_quota_is_awaited_and_the_job_runs_once_there_is_room(
    api: FakeApiServer, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_jobs, "FIRST_QUOTA_RETRY", 0.05)
    api.cluster.quotas["jobs"] = ("jobs-quota", 1)
    first = runner.start(job="one1")
    await first.until_reported("Pending")

    second = runner.start(job="two2")
    await second.until_status(
        "Pending: no room in quota jobs-quota: requested: count/jobs.batch=1,"
        " used: count/jobs.batch=1, limited: count/jobs.batch=1"
    )
    api.cluster.remove_job()
    await api.cluster.until(lambda: len(api.cluster.created) == 2)
    api.cluster.run()
    api.cluster.end()

    assert (await second.end()).state is State.COMPLETE


async def test_a_quota_that_stays_full_fails_the_try_after_the_start_timeout(
    api: FakeApiServer, runner: Runner
) -> None:
    api.cluster.quotas["jobs"] = ("jobs-quota", 0)

    returned = await runner.start(startTimeout="1s").end()

    assert returned.state is State.FAIL
    assert returned.error == (
        "did not run within 1s: Pending: no room in quota jobs-quota: requested:"
        " count/jobs.batch=1, used: count/jobs.batch=0, limited: count/jobs.batch=0;"
        " raise the quota of namespace jobs, or start the job when other Kubernetes Jobs have ended"
    )
    assert api.cluster.created == []


async def test_a_stop_while_a_quota_is_full_ends_the_try_without_waiting_for_a_creation(
    api: FakeApiServer, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container_run, "CREATE_GRACE", 10.0**6)
    monkeypatch.setattr(kubernetes_jobs, "FIRST_QUOTA_RETRY", 10.0**6)
    monkeypatch.setattr(kubernetes_jobs, "LAST_QUOTA_RETRY", 10.0**6)
    api.cluster.quotas["jobs"] = ("jobs-quota", 0)
    made = runner.start(startTimeout="24h")
    await made.until_reported("no room in quota")

    returned = await made.stop()

    assert (returned.state, returned.error) == (State.STOPPED, "")
    assert api.cluster.created == []


async def test_a_job_that_fills_its_quota_is_adopted_by_the_next_try(
    api: FakeApiServer, runner: Runner
) -> None:
    api.cluster.quotas["jobs"] = ("jobs-quota", 1)
    first = runner.start()
    await first.until_reported("Pending")
    api.cluster.run()
    await first.until_reported("Running")
    await first.crash()

    second = runner.start(2, "1.1")
    await second.until_reported("Running")
    api.cluster.end()

    assert (await second.end()).state is State.COMPLETE
    assert len(api.cluster.created) == 1


async def test_a_job_whose_creation_had_no_response_is_adopted_although_it_fills_its_quota(
    api: FakeApiServer, runner: Runner
) -> None:
    api.cluster.quotas["jobs"] = ("jobs-quota", 1)
    api.loses_responses = 1

    made = runner.start()
    await made.until_reported("the API server is unavailable")
    await made.until_status("Pending")
    api.cluster.run()
    api.cluster.end()

    assert (await made.end()).state is State.COMPLETE
    assert len(api.cluster.created) == 1
