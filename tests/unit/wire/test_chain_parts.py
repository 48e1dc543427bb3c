"""A chain that is cut into parts and joined again by the receiver is the same chain."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.wire.plain import chains, suspended_chains

from spincycle.errors import InvalidChain
from spincycle.model.job_chain import ChainJob, JobChain, SuspendedJobChain
from spincycle.v1 import suspended_job_chain_pb2
from spincycle.wire import chain_parts
from spincycle.wire.chain import (
    decode_suspended_chain,
    encode_chain,
    encode_suspended_chain,
)
from spincycle.wire.chain_parts import (
    ChainParts,
    SuspendedParts,
    cut_chain,
    cut_suspended_chain,
    parts_of_chain,
)

sizes = st.integers(1, 400)
few = settings(max_examples=25)


@few
@given(chains, sizes)
def test_a_stored_chain_is_the_sum_of_its_parts(chain: JobChain, size: int) -> None:
    parts = ChainParts()
    with patch.object(chain_parts, "PART_BYTES", size):
        for part in cut_chain(encode_chain(chain).SerializeToString()):
            parts.add(part)

    assert parts.chain == chain


@few
@given(suspended_chains, sizes)
def test_so_is_a_suspended_one(suspended: SuspendedJobChain, size: int) -> None:
    parts = SuspendedParts()
    with patch.object(chain_parts, "PART_BYTES", size):
        for part in cut_suspended_chain(encode_suspended_chain(suspended).SerializeToString()):
            parts.add(part)

    assert parts.suspended == suspended


@few
@given(suspended_chains, sizes)
def test_the_bytes_of_the_parts_joined_are_the_message(
    suspended: SuspendedJobChain, size: int
) -> None:
    whole = encode_suspended_chain(suspended)
    with patch.object(chain_parts, "PART_BYTES", size):
        joined = b"".join(
            part.SerializeToString() for part in cut_suspended_chain(whole.SerializeToString())
        )

    message = suspended_job_chain_pb2.SuspendedJobChain.FromString(joined)
    assert decode_suspended_chain(message) == suspended


@few
@given(chains, sizes)
def test_parts_for_people_merge_to_the_chain_and_hold_the_edges_of_their_jobs(
    chain: JobChain, size: int
) -> None:
    merged = ChainParts()
    with patch.object(chain_parts, "PART_BYTES", size):
        for part in parts_of_chain(encode_chain(chain)):
            jobs = {job.id for job in part.jobs}
            assert all(adjacent.job_id in jobs for adjacent in part.adjacency_list)
            merged.add(part)

    known = {
        job_id: following for job_id, following in chain.next_jobs.items() if job_id in chain.jobs
    }
    assert merged.chain.jobs == chain.jobs
    assert merged.chain.next_jobs == known


def test_no_part_is_much_larger_than_it_should_be() -> None:
    chain = JobChain("r", {f"j{n:03}": ChainJob(f"j{n:03}", "n" * 90, "noop") for n in range(500)})
    with patch.object(chain_parts, "PART_BYTES", 1000):
        sizes = [part.ByteSize() for part in cut_chain(encode_chain(chain).SerializeToString())]

    assert len(sizes) > 30
    assert max(sizes) < 1200


def test_a_job_that_comes_twice_is_refused_also_in_two_parts() -> None:
    chain = encode_chain(JobChain("r", {"aaaa": ChainJob("aaaa", "n", "noop")}))
    parts = ChainParts()
    parts.add(chain)

    with pytest.raises(InvalidChain, match="aaaa"):
        parts.add(chain)
