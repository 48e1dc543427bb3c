from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from spincycle.job import Job, JobId, JobsNotLoaded, JobTypes, Return, State, Value, load_jobs
from spincycle.job.loading import ENTRY_POINTS


class Quiet(Job):
    def run(self, data: dict[str, Value]) -> Return:
        return Return(State.COMPLETE)


def module(monkeypatch: pytest.MonkeyPatch, name: str, *types: str) -> None:
    made = ModuleType(name)
    jobs = JobTypes()
    for type_ in types:
        jobs.register(type_)(Quiet)
    setattr(made, "jobs", jobs)  # noqa: B010 - a module object declares no attributes
    monkeypatch.setitem(sys.modules, name, made)


def test_the_built_in_types_are_always_there() -> None:
    assert load_jobs().types() >= {"noop", "sleep", "shell-command", "kubernetes/job"}


def test_a_named_module_is_joined_with_or_without_its_attribute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module(monkeypatch, "drains", "drain")
    module(monkeypatch, "swaps", "swap")

    assert load_jobs(["drains:jobs", "swaps"], installed=[]).types() >= {"drain", "swap"}


def test_an_installed_distribution_is_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    module(monkeypatch, "drains", "drain")
    point = EntryPoint(name="drains", value="drains:jobs", group=ENTRY_POINTS)

    assert "drain" in load_jobs(installed=[point]).types()
    assert "drain" in load_jobs(["drains:jobs"], installed=[point]).types()


def test_a_named_type_replaces_a_built_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    module(monkeypatch, "own", "sleep")

    job = load_jobs(["own:jobs"], installed=[]).make(JobId("sleep", "n", "aaaa", "r"))

    assert isinstance(job, Quiet)


def test_a_named_type_replaces_a_shipped_plug_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module(monkeypatch, "own", "kubernetes/job")

    jobs = load_jobs(["own:jobs", "spincycle.kubernetes_jobs"])

    assert isinstance(jobs.make(JobId("kubernetes/job", "n", "aaaa", "r")), Quiet)


def test_two_sources_with_one_type_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    module(monkeypatch, "one", "drain")
    module(monkeypatch, "two", "drain")

    with pytest.raises(JobsNotLoaded, match='from two: job type "drain" is registered twice'):
        load_jobs(["one", "two"], installed=[])


@pytest.mark.parametrize(
    ("name", "says"),
    [("no_such_module:jobs", "No module named"), ("json:loads", "json.loads is not a JobTypes")],
)
def test_a_source_that_cannot_be_loaded_is_rejected_with_the_cause(name: str, says: str) -> None:
    with pytest.raises(JobsNotLoaded, match=says):
        load_jobs([name], installed=[])
