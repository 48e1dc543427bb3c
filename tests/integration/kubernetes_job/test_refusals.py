from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.integration.kubernetes_job.conftest import Runner, Try
from tests.kubernetes_api.server import FakeApiServer
from tests.waiting import until

from spincycle.job import State
from spincycle.kubernetes_jobs import api_session, container_run

HINT = "docs/how-to/kubernetes-job.md"
REFUSES = "the API server refuses: "


async def running_try(api: FakeApiServer, runner: Runner, job: str = "aB3d") -> Try:
    """Start a try and return it when its container runs and its log is followed."""
    made = runner.start(job=job)
    await made.until_reported("Pending")
    api.cluster.run()
    api.cluster.write("before\n")
    await made.until_reported("Running")
    await made.printed.until("before\n")
    return made


async def test_running_tries_survive_a_restart_of_the_api_server_that_forbids_all_calls_at_first(
    api: FakeApiServer, runner: Runner
) -> None:
    tries: dict[str, Try] = {}
    for number in range(10):
        made = await running_try(api, runner, f"job{number}")
        tries[api.cluster.pod()["metadata"]["name"]] = made

    await api.stop()
    for made in tries.values():
        await made.until_reported("the API server is unavailable")
    for name in tries:
        api.cluster.write("meanwhile\n", pod_name=name)
    api.rbac_loaded.clear()
    await api.start()
    for made in tries.values():
        await made.until_status(f'{REFUSES}jobs.batch is forbidden: User "system:serviceaccount:')
        assert made.job.status().endswith("; retried for 30s")
    api.rbac_loaded.set()
    for name, made in tries.items():
        await made.until_status("Running")
        api.cluster.write("after\n", pod_name=name)
        api.cluster.end(pod_name=name)

    ends = [await made.end() for made in tries.values()]
    assert [(end.state, end.error) for end in ends] == [(State.COMPLETE, "")] * 10
    assert {end.stdout for end in ends} == {"before\nmeanwhile\nafter\n"}
    assert (len(api.cluster.created), api.cluster.deletions) == (10, [])


@pytest.mark.parametrize("call", ["GET .*/jobs$", "POST", "GET .*/pods$", r"GET .*/jobs\?watch"])
async def test_a_call_of_a_new_try_that_is_refused_for_a_moment_is_retried(
    api: FakeApiServer, runner: Runner, call: str
) -> None:
    api.forbids(call, times=2)

    made = runner.start()
    await made.until_reported(REFUSES)
    await made.until_status("Pending")
    api.cluster.run()
    api.cluster.end()

    assert (await made.end()).state is State.COMPLETE
    assert (len(api.cluster.created), api.cluster.deletions) == (1, [])


@pytest.mark.parametrize("call", ["GET .*/jobs/", "PATCH"])
async def test_an_adoption_that_is_refused_for_a_moment_is_retried(
    api: FakeApiServer, runner: Runner, call: str
) -> None:
    first = await running_try(api, runner)
    await first.crash()
    api.forbids(call, times=2)

    second = runner.start(2, "1.1")
    await second.until_reported(REFUSES)
    await second.until_status("Running")
    api.cluster.end()

    assert (await second.end()).state is State.COMPLETE
    assert (len(api.cluster.created), api.cluster.deletions) == (1, [])


async def test_a_deletion_that_is_refused_for_a_moment_is_retried(
    api: FakeApiServer, runner: Runner
) -> None:
    made = await running_try(api, runner)
    api.forbids("DELETE", times=2)

    returned = await made.stop()

    assert (returned.state, returned.error) == (State.STOPPED, "")
    assert api.cluster.things["jobs"] == {}


async def test_a_log_that_is_refused_for_a_moment_is_read_whole(
    api: FakeApiServer, runner: Runner
) -> None:
    made = await running_try(api, runner)
    closed = api.forbids("GET .*/log", times=3)
    api.cut("/log")
    api.cluster.write("after\n")
    api.cluster.end()

    returned = await made.end()

    assert (returned.state, returned.stdout) == (State.COMPLETE, "before\nafter\n")
    assert closed.times == 0


async def test_a_log_that_is_refused_for_longer_than_its_grace_is_still_read_whole(
    api: FakeApiServer, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container_run, "LOG_GRACE", 0.0)
    made = await running_try(api, runner)
    closed = api.forbids("GET .*/log", times=100)
    api.cut("/log")
    await until(lambda: closed.times <= 98)
    api.cluster.write("after\n")
    api.cluster.end()
    await made.until_reported("Ended: reading the rest of the log")
    closed.times = 0

    assert (await made.end()).stdout == "before\nafter\n"


async def test_a_log_that_stays_refused_is_reported_as_incomplete(
    api: FakeApiServer, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_session, "REFUSAL_TIMEOUT", 0.2)
    made = await running_try(api, runner)
    api.forbids("GET .*/log")
    api.cut("/log")
    api.cluster.end()

    returned = await made.end()

    assert returned.state is State.COMPLETE
    assert returned.stdout.startswith("before\n[log incomplete: pods ")
    assert 'cannot get resource "pods/log"' in returned.stdout


@pytest.mark.parametrize("status", [401, 403, 410, 429, 500])
@pytest.mark.parametrize("kind", ["jobs", "pods"])
async def test_an_error_event_in_a_watch_restarts_the_watch(
    api: FakeApiServer, runner: Runner, kind: str, status: int
) -> None:
    made = await running_try(api, runner)
    ended = api.ends_watch(f".*/{kind}", status, times=2, message="not now")
    api.cut(f"/{kind}")
    await until(lambda: ended.times == 0 or made.running.done())
    api.cluster.write("after\n")
    api.cluster.end()

    returned = await made.end()

    assert (returned.state, returned.error) == (State.COMPLETE, "")
    assert returned.stdout == "before\nafter\n"
    assert api.cluster.deletions == []


async def test_a_watch_that_accepts_and_refuses_in_turn_fails_the_try_in_the_end(
    api: FakeApiServer, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await running_try(api, runner)
    monkeypatch.setattr(api_session, "REFUSAL_TIMEOUT", 0.2)
    api.ends_watch(".*/pods", 403, times=10**6, message="no pods for you")
    api.cut("/pods")

    returned = await made.end()

    assert returned.state is State.FAIL
    assert "in namespace jobs: no pods for you (retried for " in returned.error


async def test_a_permission_that_is_missing_fails_the_try_after_the_limit(
    api: FakeApiServer, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_session, "REFUSAL_TIMEOUT", 0.2)
    api.forbids("POST")
    made = runner.start()
    await made.until_reported(f"{REFUSES}jobs.batch is forbidden: ")

    returned = await made.end()

    assert returned.state is State.FAIL
    assert 'cannot create resource "jobs" in API group "batch"' in returned.error
    assert HINT in returned.error
    assert "may still be running" not in returned.error


async def test_a_decision_about_the_job_fails_the_try_at_once_and_does_not_blame_the_role(
    api: FakeApiServer, runner: Runner
) -> None:
    denial = 'admission webhook "policy.example.org" denied the request: image is not signed'
    api.fails("POST", 403, times=10**6, message=denial, reason="Forbidden")

    made = runner.start()
    returned = await made.end()

    assert returned.state is State.FAIL
    assert returned.error.endswith(f"in namespace jobs: {denial}")
    assert made.texts == []


async def test_a_watch_that_is_refused_while_the_log_is_followed_leaves_output_reason_and_note(
    api: FakeApiServer, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await running_try(api, runner)
    monkeypatch.setattr(api_session, "REFUSAL_TIMEOUT", 0.0)
    api.forbids("GET .*/pods$")
    api.forbids("DELETE")
    api.cut("/pods")

    returned = await made.end()

    assert (returned.state, returned.exit) == (State.FAIL, 1)
    assert returned.stdout.startswith("before\n")
    assert "cannot watch the Kubernetes Job build-it-" in returned.error
    assert 'cannot list resource "pods"' in returned.error
    assert returned.error.endswith("it may still be running")


async def test_a_stop_while_the_log_is_refused_ends_with_the_output_so_far(
    api: FakeApiServer, runner: Runner
) -> None:
    made = await running_try(api, runner)
    closed = api.forbids("GET .*/log")
    api.cut("/log")
    await made.until_status("Running")

    returned = await made.stop()

    assert returned.state is State.STOPPED
    assert returned.stdout.startswith("before\n")
    assert closed.times < 10**6


async def test_a_cancelled_try_ends_as_cancelled_and_leaves_no_task(
    api: FakeApiServer, runner: Runner
) -> None:
    before = asyncio.all_tasks()
    made = await running_try(api, runner)
    started = {made.running, *asyncio.all_tasks()} - before
    made.running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await made.running

    alive = {task for task in started if not task.done()}
    assert [task for task in alive if "spincycle" in repr(task.get_coro())] == []


async def test_a_try_that_is_cancelled_while_it_deletes_its_job_ends_as_cancelled(
    api: FakeApiServer, runner: Runner
) -> None:
    made = await running_try(api, runner)
    api.forbids("DELETE")
    await made.job.stop()
    await made.until_reported(REFUSES)
    made.running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await made.running


async def test_rejected_credentials_are_retried_until_a_fresher_token_is_found(
    api: FakeApiServer, runner: Runner, tmp_path: Path
) -> None:
    made = await running_try(api, runner)
    api.token = "another-one"
    api.cut()
    await made.until_reported(f"{REFUSES}Unauthorized; retried for 30s")
    api.kubeconfig(tmp_path / "kubeconfig")
    await made.until_status("Running")
    api.cluster.write("after\n")
    api.cluster.end()

    returned = await made.end()

    assert (returned.state, returned.stdout) == (State.COMPLETE, "before\nafter\n")


async def test_credentials_that_stay_rejected_fail_the_try_and_report_what_may_be_running(
    api: FakeApiServer, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await running_try(api, runner)
    monkeypatch.setattr(api_session, "REFUSAL_TIMEOUT", 0.2)
    api.token = "another-one"
    api.cut()

    returned = await made.end()

    assert returned.state is State.FAIL
    assert returned.stdout.startswith("before\n")
    assert "the API server rejects the runner's credentials: Unauthorized" in returned.error
    assert returned.error.endswith("it may still be running")


async def test_an_adoption_that_stays_refused_reports_what_may_be_running(
    api: FakeApiServer, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await running_try(api, runner)
    await first.crash()
    monkeypatch.setattr(api_session, "REFUSAL_TIMEOUT", 0.2)
    api.token = "another-one"

    returned = await runner.start(2, "1.1").end()

    assert returned.state is State.FAIL
    assert "cannot create the Kubernetes Job build-it-" in returned.error
    assert returned.error.endswith("it may still be running")
