from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.integration.kubernetes_job.conftest import Printed, Runner
from tests.kubernetes_api.server import FakeApiServer

from spincycle.job import State
from spincycle.kubernetes_jobs.errors import ExtraNotInstalled, NoCluster
from spincycle.kubernetes_jobs.kubernetes_job import KubernetesJobFactory


async def test_an_api_server_that_is_away_is_awaited_and_nothing_is_lost(
    api: FakeApiServer, runner: Runner
) -> None:
    made = runner.begin()
    await made.says("Pending")
    api.cluster.run()
    api.cluster.write("one\n")
    await made.says("Running")

    await api.stop()
    await made.says("the API server does not answer")
    api.cluster.write("two\n")
    api.cluster.end(0, '{"n": 1}')
    await api.start()

    returned = await made.end()
    assert (returned.state, returned.stdout) == (State.COMPLETE, "one\ntwo\n")
    assert made.data == {"n": 1}
    assert len(api.cluster.created) == 1


async def test_an_api_server_that_is_away_at_the_beginning_is_awaited(
    api: FakeApiServer, runner: Runner
) -> None:
    await api.stop()
    made = runner.begin()
    await made.says("the API server does not answer")
    await api.start()
    await made.says("Pending")
    api.cluster.run()
    api.cluster.end()

    assert (await made.end()).state is State.COMPLETE
    assert len(api.cluster.created) == 1


async def test_a_watch_that_has_expired_is_begun_anew(api: FakeApiServer, runner: Runner) -> None:
    made = runner.begin()
    await made.says("Pending")
    api.cluster.compact()
    api.cluster.run()
    await made.says("Running")
    api.cluster.compact()
    api.cluster.end()

    assert (await made.end()).state is State.COMPLETE


async def test_watches_that_break_are_begun_anew(api: FakeApiServer, runner: Runner) -> None:
    made = runner.begin()
    await made.says("Pending")
    api.cut("/jobs")
    api.cut("/pods")
    api.cluster.run()
    await made.says("Running")
    api.cut()
    api.cluster.end()

    assert (await made.end()).state is State.COMPLETE


async def test_a_log_that_breaks_off_goes_on_without_a_line_twice(
    api: FakeApiServer, runner: Runner, printed: Printed
) -> None:
    """Whole seconds are all that a log can be asked for from, so what was read comes again."""
    second = "2026-11-25T22:00:07"
    made = runner.begin()
    await made.says("Pending")
    api.cluster.run()
    api.cluster.write("a\n", at="2026-11-25T22:00:06.9Z")
    api.cluster.write("b\n", "b\n", at=f"{second}.1Z")
    followed = "GET /api/v1/namespaces/jobs/pods/" + api.cluster.pod()["metadata"]["name"] + "/log"
    await printed.until("a\nb\nb\n")
    api.cut("/log")
    api.cluster.write("b\n", at=f"{second}.1Z")
    api.cluster.write("c\n", at=f"{second}.2Z")
    await printed.until("a\nb\nb\nb\nc\n")
    api.cut("/log")
    api.cluster.write("d\n", at="2026-11-25T22:00:08Z")
    api.cluster.end()

    assert (await made.end()).stdout == "a\nb\nb\nb\nc\nd\n"
    assert api.calls.count(followed) >= 3


async def test_a_token_that_ran_out_is_read_anew(
    api: FakeApiServer, runner: Runner, tmp_path: Path
) -> None:
    made = runner.begin()
    await made.says("Pending")
    api.token = "another-one"
    api.kubeconfig(tmp_path / "kubeconfig")
    api.cut()
    api.cluster.run()
    api.cluster.end()

    assert (await made.end()).state is State.COMPLETE


async def test_credentials_that_are_not_taken_fail_the_try(
    api: FakeApiServer, runner: Runner
) -> None:
    api.token = "another-one"

    returned = await runner.begin().end()

    assert returned.state is State.FAIL
    assert "the API server does not take the runner's credentials" in returned.error


async def test_one_client_serves_all_jobs_and_is_closed_after_the_last(
    api: FakeApiServer, runner: Runner
) -> None:
    first = runner.begin(1, "1.1")
    await first.says("Pending")
    second = runner.begin(1, "1.1")
    second.job.id = first.job.id
    assert runner.factory._connection._opening is not None
    await first.die()
    await second.die()

    assert runner.factory._connection._opening is None
    assert runner.factory._connection._users == 0


async def test_without_the_extra_the_try_fails_and_says_what_to_install(
    api: FakeApiServer, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes_asyncio.client", None)

    with pytest.raises(ExtraNotInstalled, match=r"pip install 'spincycle\[kubernetes\]'"):
        await runner.begin().end()


async def test_without_a_cluster_the_try_fails_and_says_where_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    lonely = Runner()
    lonely.factory = KubernetesJobFactory()

    with pytest.raises(NoCluster, match="KUBECONFIG"):
        await lonely.begin().end()
