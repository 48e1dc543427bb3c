from __future__ import annotations

import json

import pytest
from tests.integration.kubernetes_job.conftest import REQUEST, Runner
from tests.kubernetes_api.server import FakeApiServer

from spincycle.job import State


async def test_a_container_runs_to_its_end_and_leaves_its_log_and_data(
    api: FakeApiServer, runner: Runner
) -> None:
    made = runner.start()
    await made.until_reported("Pending")
    api.cluster.waits("ContainerCreating")
    await made.until_reported("Pending: ContainerCreating, image pull of builder:1")
    api.cluster.run()
    api.cluster.write("one\n", "two\n")
    await made.until_reported("Running on node-1")
    await made.printed.until("one\ntwo\n")
    api.cluster.end(0, json.dumps({"artifact": "a.tar", "size": 7}))

    returned = await made.end()

    assert returned.state is State.COMPLETE
    assert (returned.exit, returned.error, returned.stdout) == (0, "", "one\ntwo\n")
    assert made.data == {"artifact": "a.tar", "size": 7}


async def test_the_job_has_one_pod_that_the_cluster_never_restarts(
    api: FakeApiServer, runner: Runner
) -> None:
    made = runner.start(timeout="10m", memory="64Mi", host="web1")
    await made.until_reported("Pending")
    job = api.cluster.job()

    assert job["metadata"]["name"].startswith("build-it-")
    assert job["metadata"]["labels"]["spincycle/request-id"] == REQUEST
    assert job["metadata"]["labels"]["spincycle/job-id"] == "aB3d"
    spec = job["spec"]
    assert (spec["backoffLimit"], spec["template"]["spec"]["restartPolicy"]) == (0, "Never")
    assert (spec["ttlSecondsAfterFinished"], spec["activeDeadlineSeconds"]) == (3600, 600)
    assert {"name": "host", "value": "web1"} in spec["template"]["spec"]["containers"][0]["env"]


async def test_a_nonzero_exit_code_fails_the_try_with_the_termination_message(
    api: FakeApiServer, runner: Runner
) -> None:
    made = runner.start()
    await made.until_reported("Pending")
    api.cluster.run()
    api.cluster.write("disk full\n")
    api.cluster.end(3, "no room on /data")

    returned = await made.end()

    assert (returned.state, returned.exit) == (State.FAIL, 3)
    assert returned.error == "exit code 3: no room on /data"
    assert returned.stdout == "disk full\n"
    assert made.data == {}


async def test_a_termination_message_that_is_broken_json_fails_the_try(
    api: FakeApiServer, runner: Runner
) -> None:
    made = runner.start()
    await made.until_reported("Pending")
    api.cluster.run()
    api.cluster.end(0, '{"artifact": ')

    returned = await made.end()

    assert returned.state is State.FAIL
    assert returned.error.startswith("the termination message is not valid JSON")


async def test_a_termination_message_that_is_text_is_kept_beside_the_output(
    api: FakeApiServer, runner: Runner
) -> None:
    made = runner.start()
    await made.until_reported("Pending")
    api.cluster.run()
    api.cluster.end(0, "all well")

    returned = await made.end()

    assert (returned.state, returned.stderr) == (State.COMPLETE, "all well")


async def test_large_output_is_truncated_in_the_middle(api: FakeApiServer, runner: Runner) -> None:
    made = runner.start()
    await made.until_reported("Pending")
    api.cluster.run()
    api.cluster.write("first\n", *["x" * 9_999 + "\n"] * 1_000, "last\n")
    api.cluster.end()

    returned = await made.end()

    assert returned.stdout.startswith("first\n")
    assert returned.stdout.endswith("last\n")
    assert "bytes cut" in returned.stdout
    assert len(returned.stdout) < 300_000


async def test_a_rejected_job_fails_with_the_clusters_message(
    api: FakeApiServer, runner: Runner
) -> None:
    api.fails("POST", 422, message='Job "x" is invalid: spec.template: no')

    returned = await runner.start().end()

    assert returned.state is State.FAIL
    assert "cannot create the Kubernetes Job build-it-" in returned.error
    assert 'in namespace jobs: Job "x" is invalid: spec.template: no' in returned.error


@pytest.mark.usefixtures("refusals_are_final")
async def test_without_permission_to_create_jobs_the_error_names_the_remedy(
    api: FakeApiServer, runner: Runner
) -> None:
    api.fails("POST", 403, message='User "runner" cannot create resource "jobs"')

    returned = await runner.start().end()

    assert returned.state is State.FAIL
    assert 'User "runner" cannot create resource "jobs"' in returned.error
    assert "docs/how-to/kubernetes-job.md" in returned.error


@pytest.mark.usefixtures("refusals_are_final")
async def test_without_permission_to_watch_pods_nothing_is_left_running(
    api: FakeApiServer, runner: Runner
) -> None:
    api.fails("GET .*/pods", 403, times=100, message='User "runner" cannot list "pods"')

    returned = await runner.start().end()

    assert returned.state is State.FAIL
    assert "cannot watch the Kubernetes Job" in returned.error
    assert api.cluster.things["jobs"] == {}


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_call_to_an_overloaded_api_server_is_retried(
    api: FakeApiServer, runner: Runner, status: int
) -> None:
    api.fails("POST", status, times=2, message="try later", Retry_After="0")

    made = runner.start()
    await made.until_reported(f"the API server is unavailable: {status}: try later; retrying")
    await made.until_reported("Pending")
    api.cluster.run()
    api.cluster.end()

    assert (await made.end()).state is State.COMPLETE
    assert len(api.cluster.created) == 1
