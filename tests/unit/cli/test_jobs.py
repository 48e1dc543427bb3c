"""The jobs that a text stands for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, cast

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.cli_samples import FAIL, ID, RUNNING, entry, rolling_restart_chain, status

from spincycle.cli.jobs import FoundJob, JobSelection, find_jobs, select_jobs
from spincycle.cli.problem import Problem
from spincycle.cli.transport.backend import Backend, EntryFilter
from spincycle.errors import ServiceUnavailable
from spincycle.v1 import job_chain_pb2, job_log_pb2
from spincycle.v1 import request_manager_service_pb2 as rm

Jobs = Iterable[job_chain_pb2.Job]


class KnownJobs:
    """Backend that knows the jobs of one request, the running ones, and entries."""

    def __init__(
        self,
        jobs: Jobs,
        running: Iterable[str] = (),
        entries: Iterable[job_log_pb2.JobLog] = (),
        *,
        has_job_log: bool = True,
    ) -> None:
        self._jobs = list(jobs)
        self._running = list(running)
        self._entries = list(entries)
        self._has_job_log = has_job_log
        self.read = 0

    async def jobs(self, request_id: str) -> AsyncIterator[job_chain_pb2.Job]:
        assert request_id == ID
        self.read += 1
        for job in self._jobs:
            yield job

    async def running(self, _: str) -> rm.ListRunningJobsResponse:
        response = rm.ListRunningJobsResponse()
        response.status.jobs.extend(status(job_id, "", RUNNING) for job_id in self._running)
        return response

    async def entries(self, _: str, selected: EntryFilter) -> AsyncIterator[job_log_pb2.JobLog]:
        if not self._has_job_log:
            raise ServiceUnavailable("the job log", "127.0.0.1:1")
        for one in self._entries:
            if one.job_id == selected.job_id:
                yield one


def found(jobs: Jobs | KnownJobs, *texts: str) -> list[str]:
    known = jobs if isinstance(jobs, KnownJobs) else KnownJobs(jobs)
    return [job.id for job in asyncio.run(find_jobs(cast("Backend", known), ID, texts))]


def selected(jobs: Jobs, text: str) -> list[JobSelection]:
    return asyncio.run(select_jobs(cast("Backend", KnownJobs(jobs)), ID, [text]))


def problem(jobs: Jobs | KnownJobs, text: str) -> list[str]:
    with pytest.raises(Problem) as raised:
        found(jobs, text)
    return raised.value.lines()


def job(job_id: str, path: str, name: str = "", **fields: Any) -> job_chain_pb2.Job:
    name = name or path.rpartition(" / ")[2].partition(" ")[0]
    return job_chain_pb2.Job(id=job_id, path=path, name=name, **fields)


def rollout(hosts: int) -> list[job_chain_pb2.Job]:
    """An upgrade of some hosts, each with the jobs install and verify, then a report."""
    jobs = [job("Rq00", "(begin)", "request_rollout_begin", structural=True)]
    for host in range(1, hosts + 1):
        node = f"upgrade h{host:02}"
        jobs += [
            job(f"S{host:03}", f"{node} / (begin)", "sequence_upgrade_begin", structural=True),
            job(f"I{host:03}", f"{node} / install"),
            job(f"V{host:03}", f"{node} / verify"),
        ]
    return [*jobs, job("Rept", "report")]


@pytest.mark.parametrize(
    ("text", "job_id"),
    [
        ("V005", "V005"),
        ("upgrade h05 / verify", "V005"),
        ("UPGRADE h05/Verify", "V005"),
        ("upgrade  h05  /verify ", "V005"),
        ("h05 / verify", "V005"),
        ("h05/verify", "V005"),
        ("/h05/verify", "V005"),
        ("report", "Rept"),
        ("upgrade h05 / (begin)", "S005"),
        ("request_rollout_begin", "Rq00"),
    ],
)
def test_an_id_a_path_its_end_and_a_unique_name_stand_for_a_job(text: str, job_id: str) -> None:
    assert found(rollout(12), text) == [job_id]


def test_an_id_precedes_a_path_and_a_path_precedes_the_end_of_another() -> None:
    jobs = [
        job("Aaaa", "ping"),
        job("ping", "setup / install"),
        job("Bbbb", "install"),
        job("Cccc", "PING"),
    ]

    assert found(jobs, "ping") == ["ping"]
    assert found(jobs, "install") == ["Bbbb"]
    assert found(jobs[2:], "ping") == ["Cccc"]


def test_a_chain_without_paths_is_searched_by_name() -> None:
    chain = rolling_restart_chain(paths=False)

    assert found(chain.jobs, "report") == ["Rept"]
    assert problem(chain.jobs, "drain") == [
        f"error: 2 jobs of request {ID} match drain",
        "       D000  drain  PENDING",
        "       D001  drain  PENDING",
        "       give the id or the path of one",
    ]


def test_the_chain_is_read_once_for_several_texts() -> None:
    known = KnownJobs(rollout(3))

    assert found(known, "h01/verify", "report", "I002") == ["V001", "Rept", "I002"]
    assert known.read == 1


def test_part_of_a_word_stands_for_nothing() -> None:
    jobs = [job("Aaaa", "upgrade web11 / verify"), job("Bbbb", "upgrade web1 / check-verify")]

    assert found(jobs, "verify") == ["Aaaa"]
    assert problem(jobs, "b11/verify")[0] == f"error: request {ID} has no job b11/verify"
    assert problem(jobs, " ")[0].startswith(f"error: request {ID} has no job")


def test_an_element_and_a_name_in_common_are_ambiguous() -> None:
    jobs = [job("Aaaa", "setup / ping"), job("Bbbb", "ping h1"), job("Cccc", "ping h2")]

    assert problem(jobs, "ping")[0] == f"error: 3 jobs of request {ID} match ping"
    assert found(jobs, "h1") == ["Bbbb"]


def test_an_ambiguous_text_lists_candidates_with_their_states() -> None:
    entries = [entry("V001", "verify", FAIL), entry("V001", "verify", try_=2)]
    entries.append(entry("V002", "verify", FAIL))

    assert problem(KnownJobs(rollout(12), ["V003"], entries), "verify") == [
        f"error: 12 jobs of request {ID} match verify",
        "       V001  upgrade h01 / verify  COMPLETE",
        "       V002  upgrade h02 / verify  FAIL",
        "       V003  upgrade h03 / verify  RUNNING",
        *(f"       V{host:03}  upgrade h{host:02} / verify  PENDING" for host in range(4, 11)),
        "       and 2 more",
        "       give the id or the path of one",
    ]


def test_candidates_are_listed_without_states_if_the_job_log_does_not_respond() -> None:
    lines = problem(KnownJobs(rollout(2), has_job_log=False), "verify")

    assert lines[1:3] == ["       V001  upgrade h01 / verify", "       V002  upgrade h02 / verify"]


def test_a_sequence_is_no_job_and_its_jobs_are_listed() -> None:
    assert problem(rollout(12), "h05") == [
        f"error: h05 of request {ID} is a sequence, not a job",
        "       I005  upgrade h05 / install  PENDING",
        "       V005  upgrade h05 / verify   PENDING",
        "       give the id or the path of one of its jobs",
    ]


@pytest.mark.parametrize(
    ("text", "suggested"),
    [
        ("h05 / verfy", ["upgrade h05 / verify"]),
        ("upgrade h05 / instal", ["upgrade h05 / install"]),
        ("raport", ["report"]),
    ],
)
def test_an_unknown_text_suggests_the_nearest_paths(text: str, suggested: list[str]) -> None:
    message, first, *_, hint = problem(rollout(12), text)

    assert message.startswith(f"error: request {ID} has no job ")
    assert first == f'       did you mean "{suggested[0]}"?'
    assert hint == f"       run 'spinc log {ID}' to list the jobs that ran"


def test_entries_are_selected_by_the_rank_of_the_whole_chain() -> None:
    """Of the paths that end with the text, none counts if one path is the text."""
    jobs = [job("Aaaa", "report"), job("Bbbb", "upgrade h1 / report"), job("Cccc", "ping h1")]
    (exact,) = selected(jobs, "report")
    (several,) = selected(jobs[1:], "report")
    (host,) = asyncio.run(
        select_jobs(
            cast("Backend", KnownJobs([*jobs, job("Dddd", "x / ping h1")])), ID, ["ping h1"]
        )
    )
    entries = [entry(one.id, one.name, path=one.path) for one in jobs]

    assert [exact.includes(one) for one in entries] == [True, False, False]
    assert [several.includes(one) for one in entries] == [False, True, False]
    assert [host.includes(one) for one in entries] == [False, False, True]
    assert exact.only_job == FoundJob("report", "Aaaa")


# Few words, so that names, elements, ids and ends of paths coincide.
WORDS = st.sampled_from(["a", "b", "C", "aaaa", "h 1", "[2]", "東"])
NODES = st.builds(lambda name, element: f"{name} {element}".strip(), WORDS, st.just("") | WORDS)
PATHS = st.lists(NODES, min_size=1, max_size=3).map(" / ".join)
IDS = st.sampled_from(["aaaa", "bbbb", "a", "b"])
CHAINS = st.lists(PATHS, min_size=1, max_size=12, unique=True).map(
    lambda paths: [job(f"J{place:03}", path) for place, path in enumerate(paths)]
)


@given(CHAINS)
def test_every_path_of_a_chain_stands_for_its_job(jobs: list[job_chain_pb2.Job]) -> None:
    for one in jobs:
        assert found(jobs, one.path) == [one.id]


@given(CHAINS)
def test_every_id_stands_for_its_job_whatever_the_paths(jobs: list[job_chain_pb2.Job]) -> None:
    paths = [one.path for one in jobs]
    for one, path in zip(jobs, reversed(paths), strict=True):
        renamed = [job(path if other is one else other.id, other.path) for other in jobs]
        assume(len({other.id for other in renamed}) == len(renamed))
        assert found(renamed, path) == [path]


@given(CHAINS, st.data())
def test_an_end_or_a_name_that_several_jobs_share_never_stands_for_one(
    jobs: list[job_chain_pb2.Job], data: st.DataObject
) -> None:
    words = data.draw(st.sampled_from(jobs)).path.split(" ")
    text = " ".join(words[data.draw(st.integers(0, len(words) - 1)) :])
    plain = text.casefold().strip("/ ")
    assume(plain)
    same = [one.id for one in jobs if one.path.casefold() == plain]
    exact = [one.id for one in jobs if one.path == text]
    sharing = [
        one.id
        for one in jobs
        if f" {one.path.casefold()}".endswith(f" {plain}") or one.name.casefold() == plain
    ]
    expected = exact or same or sharing

    if len(expected) == 1:
        assert found(jobs, text) == expected
    else:
        assert problem(jobs, text)[0].startswith(f"error: {len(expected)} jobs of request")
