from __future__ import annotations

import pytest

from spincycle.job import (
    DuplicateJobType,
    Job,
    JobId,
    JobTypes,
    Return,
    State,
    UnknownJobType,
    Value,
    WrongJobId,
)


class Quiet(Job):
    def run(self, data: dict[str, Value]) -> Return:
        return Return(State.COMPLETE)


def job_id(type_: str = "quiet") -> JobId:
    return JobId(type=type_, name="n", id="aaaa", request_id="r")


def test_a_registered_class_creates_jobs_with_their_id() -> None:
    jobs = JobTypes()
    jobs.register("quiet")(Quiet)

    job = jobs.make(job_id())

    assert isinstance(job, Quiet)
    assert job.id == job_id()


def test_an_unregistered_type_is_rejected_by_name() -> None:
    with pytest.raises(UnknownJobType, match='unknown job type "quiet"'):
        JobTypes().make(job_id())


def test_the_original_text_of_an_unknown_type_is_kept() -> None:
    assert str(UnknownJobType()) == "unknown job type"


def test_registering_a_type_twice_is_refused() -> None:
    jobs = JobTypes()
    jobs.register("quiet")(Quiet)

    with pytest.raises(DuplicateJobType, match="quiet"):
        jobs.register("quiet")(Quiet)


def test_a_factory_that_sets_another_id_is_rejected() -> None:
    jobs = JobTypes()

    def make(requested: JobId) -> Job:
        job = Quiet()
        job.id = JobId(requested.type, requested.name, "bbbb", requested.request_id)
        return job

    jobs.add("quiet", make)

    with pytest.raises(WrongJobId, match=r"wrong job\.Id"):
        jobs.make(job_id())


def test_a_factory_that_sets_no_id_is_rejected() -> None:
    jobs = JobTypes()
    jobs.add("quiet", lambda requested: Quiet())

    with pytest.raises(WrongJobId):
        jobs.make(job_id())


def test_factories_combine_unless_they_clash() -> None:
    one, two = JobTypes(), JobTypes()
    one.register("a")(Quiet)
    two.register("b", interruption="fail")(Quiet)

    joined = JobTypes.combine(one, two)

    assert joined.types() == {"a", "b"}
    assert joined.interruption("a") == "run-again"
    assert joined.interruption("b") == "fail"
    with pytest.raises(DuplicateJobType):
        joined.merge(one)


def test_a_report_reaches_the_listener_and_stays_readable() -> None:
    job = Quiet()
    reports: list[tuple[str, int | None]] = []
    job.on_report(lambda progress: reports.append((progress.text, progress.percent)))

    job.report("copying", 41.9)
    job.report("copied", 250)
    job.report("checking", 0)
    job.report("copied")

    assert reports == [("copying", 41), ("copied", 100), ("checking", 0), ("copied", None)]
    assert job.status() == "copied"
