"""Strategies for plain values that the wire must carry."""

from __future__ import annotations

from hypothesis import strategies as st

from spincycle.model.job_chain import (
    BackoffPolicy,
    ChainJob,
    JobChain,
    ParallelLimit,
    SuspendedJobChain,
    Value,
)
from spincycle.model.journal_entry import JournalEntry
from spincycle.model.state import State

numbers = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | numbers | st.text()
values: st.SearchStrategy[Value] = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10
)
objects = st.dictionaries(st.text(), values, max_size=3)

ids = st.text("abcXYZ019", min_size=4, max_size=4)
states = st.sampled_from(State)
counts = st.integers(0, 2**32 - 1)
bigcounts = st.integers(0, 2**64 - 1)
nanoseconds = st.integers(-62_135_596_800 * 10**9, 253_402_300_799 * 10**9).filter(bool)
seconds = st.integers(0, 10**9) | st.integers(0, 10**6).map(lambda millis: millis / 1000)
limits = st.none() | seconds

backoffs = st.builds(
    BackoffPolicy, factor=st.floats(1, 100), max_wait=limits, jitter=st.floats(0, 1)
)

jobs = st.builds(
    ChainJob,
    id=ids,
    name=st.text(),
    type=st.text(),
    bytes=st.binary(),
    state=states,
    args=st.none() | objects,
    data=objects,
    retry=counts,
    retry_wait=st.sampled_from(["", "10s", "1m30s"]),
    sequence_id=ids,
    sequence_retry=counts,
    sequence_retry_wait=st.sampled_from(["", "5s"]),
    structural=st.booleans(),
    timeout=limits,
    sequence_timeout=limits,
    backoff=st.none() | backoffs,
    fail_if_interrupted=st.booleans(),
    parent_sequence_id=st.just("") | ids,
    secret_args=st.lists(st.text(), max_size=2).map(tuple),
    path=st.text(),
)

chains = st.builds(
    JobChain,
    request_id=st.text(),
    jobs=st.lists(jobs, unique_by=lambda job: job.id, max_size=5).map(
        lambda listed: {job.id: job for job in listed}
    ),
    next_jobs=st.dictionaries(ids, st.lists(ids, min_size=1, max_size=3), max_size=4),
    state=states,
    finished_jobs=counts,
    required_features=st.lists(st.text(), max_size=3).map(tuple),
    parallel_limits=st.lists(
        st.builds(
            ParallelLimit,
            limit=st.integers(1, 100),
            elements=st.lists(st.tuples(ids, ids), max_size=3).map(tuple),
        ),
        max_size=2,
    ),
    timeout=limits,
)

tries = st.dictionaries(ids, counts, max_size=4)
suspended_chains = st.builds(
    SuspendedJobChain,
    request_id=st.text(),
    job_chain=chains,
    total_job_tries=tries,
    latest_run_job_tries=tries,
    sequence_tries=tries,
    epoch=bigcounts,
    journal_position=bigcounts,
)

entries = st.builds(
    JournalEntry,
    request_id=st.text(),
    job_id=ids,
    try_=counts,
    name=st.text(),
    type=st.text(),
    started_at=st.just(0) | nanoseconds,
    finished_at=st.just(0) | nanoseconds,
    state=states,
    exit=st.integers(-(2**63), 2**63 - 1),
    error=st.text(),
    stdout=st.text(),
    stderr=st.text(),
    sequence_id=ids,
    sequence_try=counts,
    position=bigcounts,
    epoch=bigcounts,
    data=st.none() | objects,
    final=st.booleans(),
    path=st.text(),
)
