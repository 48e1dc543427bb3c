from __future__ import annotations

from dataclasses import fields, replace

import pytest
from hypothesis import given
from tests.unit.wire.plain import chains, jobs, suspended_chains

from spincycle.errors import InvalidChain
from spincycle.model.job_chain import ChainJob, JobChain, SuspendedJobChain
from spincycle.model.state import State
from spincycle.v1 import job_chain_pb2, suspended_job_chain_pb2
from spincycle.wire.chain import (
    decode_chain,
    decode_jobs,
    decode_suspended_chain,
    encode_chain,
    encode_jobs,
    encode_periods,
    encode_suspended_chain,
)


@given(chains)
def test_a_chain_comes_back_as_it_went_out(chain: JobChain) -> None:
    wire = encode_chain(chain).SerializeToString()

    assert decode_chain(job_chain_pb2.JobChain.FromString(wire)) == chain


@given(suspended_chains)
def test_a_suspended_chain_comes_back_as_it_went_out(suspended: SuspendedJobChain) -> None:
    wire = encode_suspended_chain(suspended).SerializeToString()

    assert (
        decode_suspended_chain(suspended_job_chain_pb2.SuspendedJobChain.FromString(wire))
        == suspended
    )


@given(suspended_chains)
def test_periods_that_are_put_before_a_stored_chain_are_part_of_it(
    suspended: SuspendedJobChain,
) -> None:
    stored = encode_suspended_chain(replace(suspended, suspended_periods=[])).SerializeToString()

    sent = encode_periods(suspended.suspended_periods) + stored

    message = suspended_job_chain_pb2.SuspendedJobChain.FromString(sent)
    assert decode_suspended_chain(message) == suspended


@given(jobs)
def test_jobs_travel_without_their_chain_as_well(job: ChainJob) -> None:
    part = job_chain_pb2.JobChain()
    encode_jobs(part.jobs, [job])

    assert decode_jobs("", part.jobs) == {job.id: job}


def test_the_order_of_the_jobs_is_kept() -> None:
    chain = JobChain(
        "r", jobs={name: ChainJob(name, name, "noop") for name in ("zzzz", "aaaa", "mmmm")}
    )

    assert list(decode_chain(encode_chain(chain)).jobs) == ["zzzz", "aaaa", "mmmm"]


def test_no_arguments_and_empty_arguments_are_distinguished() -> None:
    chain = JobChain(
        "r", jobs={"aaaa": ChainJob("aaaa", "", ""), "bbbb": ChainJob("bbbb", "", "", args={})}
    )

    back = decode_chain(encode_chain(chain)).jobs

    assert (back["aaaa"].args, back["bbbb"].args) == (None, {})


def test_no_limit_and_a_limit_of_no_time_are_distinguished() -> None:
    chain = JobChain("r", jobs={"aaaa": ChainJob("aaaa", "", "", timeout=0.0)})

    back = decode_chain(encode_chain(chain))

    assert (back.timeout, back.jobs["aaaa"].timeout) == (None, 0.0)


def test_edges_of_one_job_that_come_in_two_parts_are_joined() -> None:
    message = job_chain_pb2.JobChain()
    message.adjacency_list.add(job_id="aaaa", next_job_ids=["bbbb"])
    message.adjacency_list.add(job_id="aaaa", next_job_ids=["cccc"])

    assert decode_chain(message).next_jobs == {"aaaa": ["bbbb", "cccc"]}


def test_two_jobs_with_one_id_are_refused() -> None:
    message = job_chain_pb2.JobChain(request_id="r")
    message.jobs.add(id="aaaa")
    message.jobs.add(id="aaaa")

    with pytest.raises(InvalidChain, match='two jobs have the id "aaaa"'):
        decode_chain(message)


def test_a_state_of_a_newer_version_is_one_that_nothing_takes() -> None:
    message = job_chain_pb2.JobChain()
    message.MergeFromString(b"\x20\x63")

    assert decode_chain(message).state is State.RESERVED


def test_every_field_of_the_contract_has_its_plain_counterpart() -> None:
    sent = {field.name for field in job_chain_pb2.Job.DESCRIPTOR.fields}
    kept = {field.name for field in fields(ChainJob)}

    assert sent - kept == {"interruption"}
    assert kept - sent == {"fail_if_interrupted"}
