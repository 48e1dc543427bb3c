from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.integration.kubernetes_job.conftest import Runner
from tests.kubernetes_api.server import FakeApiServer

from spincycle.job import State
from spincycle.kubernetes_jobs.errors import ExtraNotInstalled, NoCluster
from spincycle.kubernetes_jobs.kubernetes_job import KubernetesJobFactory


async def test_an_unavailable_api_server_is_awaited_and_nothing_is_lost(
    api: FakeApiServer, runner: Runner
) -> None:
    made = runner.start()
    await made.until_reported("Pending")
    api.cluster.run()
    api.cluster.write("one\n")
    await made.until_reported("Running")

    await api.stop()
    await made.until_reported("the API server is unavailable")
    api.cluster.write("two\n")
    api.cluster.end(0, '{"n": 1}')
    await api.start()

    returned = await made.end()
    assert (returned.state, returned.stdout) == (State.COMPLETE, "one\ntwo\n")
    assert made.data == {"n": 1}
    assert len(api.cluster.created) == 1


async def test_an_api_server_that_is_unavailable_at_the_start_is_awaited(
    api: FakeApiServer, runner: Runner
) -> None:
    await api.stop()
    made = runner.start()
    await made.until_reported("the API server is unavailable")
    await api.start()
    await made.until_reported("Pending")
    api.cluster.run()
    api.cluster.end()

    assert (await made.end()).state is State.COMPLETE
    assert len(api.cluster.created) == 1


async def test_an_expired_watch_is_restarted(api: FakeApiServer, runner: Runner) -> None:
    made = runner.start()
    await made.until_reported("Pending")
    api.cluster.compact()
    api.cluster.run()
    await made.until_reported("Running")
    api.cluster.compact()
    api.cluster.end()

    assert (await made.end()).state is State.COMPLETE


async def test_broken_watches_are_restarted(api: FakeApiServer, runner: Runner) -> None:
    made = runner.start()
    await made.until_reported("Pending")
    api.cut("/jobs")
    api.cut("/pods")
    api.cluster.run()
    await made.until_reported("Running")
    api.cut()
    api.cluster.end()

    assert (await made.end()).state is State.COMPLETE


async def test_a_broken_log_stream_resumes_without_duplicate_lines(
    api: FakeApiServer, runner: Runner
) -> None:
    """A log can be requested only from whole seconds, so some lines are returned again."""
    second = "2026-11-25T22:00:07"
    made = runner.start()
    await made.until_reported("Pending")
    api.cluster.run()
    api.cluster.write("a\n", at="2026-11-25T22:00:06.9Z")
    api.cluster.write("b\n", "b\n", at=f"{second}.1Z")
    followed = "GET /api/v1/namespaces/jobs/pods/" + api.cluster.pod()["metadata"]["name"] + "/log"
    await made.printed.until("a\nb\nb\n")
    api.cut("/log")
    api.cluster.write("b\n", at=f"{second}.1Z")
    api.cluster.write("c\n", at=f"{second}.2Z")
    await made.printed.until("a\nb\nb\nb\nc\n")
    api.cut("/log")
    api.cluster.write("d\n", at="2026-11-25T22:00:08Z")
    api.cluster.end()

    assert (await made.end()).stdout == "a\nb\nb\nb\nc\nd\n"
    assert api.calls.count(followed) >= 3


async def test_an_expired_token_is_reread(
    api: FakeApiServer, runner: Runner, tmp_path: Path
) -> None:
    made = runner.start()
    await made.until_reported("Pending")
    api.token = "another-one"
    api.kubeconfig(tmp_path / "kubeconfig")
    api.cut()
    api.cluster.run()
    api.cluster.end()

    assert (await made.end()).state is State.COMPLETE


@pytest.mark.usefixtures("refusals_are_final")
async def test_rejected_credentials_fail_the_try(api: FakeApiServer, runner: Runner) -> None:
    api.token = "another-one"

    returned = await runner.start().end()

    assert returned.state is State.FAIL
    assert "the API server rejects the runner's credentials" in returned.error


async def test_one_client_serves_all_jobs_and_is_closed_after_the_last(
    api: FakeApiServer, runner: Runner
) -> None:
    first = runner.start(1, "1.1")
    await first.until_reported("Pending")
    second = runner.start(1, "1.1")
    second.job.id = first.job.id
    assert runner.factory._connection._opening is not None
    await first.crash()
    await second.crash()

    assert runner.factory._connection._opening is None
    assert runner.factory._connection._users == 0


async def test_without_the_extra_the_try_fails_and_the_error_has_the_install_command(
    api: FakeApiServer, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes_asyncio.client", None)

    with pytest.raises(ExtraNotInstalled, match=r"pip install 'spincycle\[kubernetes\]'"):
        await runner.start().end()


async def test_without_a_cluster_the_try_fails_and_the_error_names_kubeconfig(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    runner = Runner()
    runner.factory = KubernetesJobFactory()

    with pytest.raises(NoCluster, match="KUBECONFIG"):
        await runner.start().end()
