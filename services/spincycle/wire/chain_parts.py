"""Chains in parts, for those that are too large for one message.

A message is the merge of any pieces that it is cut into between two of its fields. So a stored
chain is cut without being read, and the receiver decodes each part as it arrives.
"""

from __future__ import annotations

from collections.abc import Iterator

from spincycle.errors import InvalidChain
from spincycle.model.job_chain import JobChain, SuspendedJobChain
from spincycle.model.state import State
from spincycle.v1 import job_chain_pb2, suspended_job_chain_pb2
from spincycle.wire.chain import decode_chain, decode_periods, decode_starts

PART_BYTES = 1024 * 1024
"""Size after which a part takes no further job."""

WHOLE_UP_TO = 16 * 1024 * 1024
"""Largest chain that travels whole."""

_CHAIN_WITHIN_SUSPENDED = 2


def cut_chain(serialized: bytes) -> Iterator[job_chain_pb2.JobChain]:
    """Parts of a serialized JobChain, in order."""
    for start, end in _pieces(serialized, 0, len(serialized)):
        yield job_chain_pb2.JobChain.FromString(serialized[start:end])


def cut_suspended_chain(serialized: bytes) -> Iterator[suspended_job_chain_pb2.SuspendedJobChain]:
    """Parts of a serialized SuspendedJobChain, in order."""
    rest = bytearray()
    for start, payload, end, number in _fields(serialized, 0, len(serialized)):
        if number != _CHAIN_WITHIN_SUSPENDED:
            rest += serialized[start:end]
            if len(rest) >= PART_BYTES:
                yield suspended_job_chain_pb2.SuspendedJobChain.FromString(bytes(rest))
                rest.clear()
            continue
        for first, last in _pieces(serialized, payload, end):
            part = suspended_job_chain_pb2.SuspendedJobChain.FromString(bytes(rest))
            part.job_chain.MergeFromString(serialized[first:last])
            yield part
            rest.clear()
    if rest:
        yield suspended_job_chain_pb2.SuspendedJobChain.FromString(bytes(rest))


def parts_of_chain(chain: job_chain_pb2.JobChain) -> Iterator[job_chain_pb2.JobChain]:
    """Parts of a chain for people: each has some jobs and the edges from them.

    The last one also has what is said once a chain.
    """
    edges = {adjacent.job_id: adjacent for adjacent in chain.adjacency_list}
    part = job_chain_pb2.JobChain(request_id=chain.request_id)
    size = 0
    for job in chain.jobs:
        if size >= PART_BYTES:
            yield part
            part, size = job_chain_pb2.JobChain(request_id=chain.request_id), 0
        part.jobs.append(job)
        size += job.ByteSize()
        if job.id in edges:
            part.adjacency_list.append(edges[job.id])
            size += edges[job.id].ByteSize()
    part.state = chain.state
    part.finished_jobs = chain.finished_jobs
    part.parallel_limits.extend(chain.parallel_limits)
    if chain.HasField("timeout"):
        part.timeout.CopyFrom(chain.timeout)
    part.required_features.extend(chain.required_features)
    yield part


class ChainParts:
    """Puts a chain together from its parts, which may come in any number and size."""

    def __init__(self) -> None:
        self.chain = JobChain("", state=State.UNKNOWN)

    def add(self, part: job_chain_pb2.JobChain) -> None:
        """Take the next part.

        Raises:
            InvalidChain: two jobs have the same id.
        """
        chain, more = self.chain, decode_chain(part)
        chain.request_id = more.request_id or chain.request_id
        twice = chain.jobs.keys() & more.jobs.keys()
        if twice:
            raise InvalidChain(chain.request_id, f'two jobs have the id "{min(twice)}"')
        chain.jobs.update(more.jobs)
        for job_id, following in more.next_jobs.items():
            chain.next_jobs.setdefault(job_id, []).extend(following)
        chain.parallel_limits += more.parallel_limits
        chain.finished_jobs = more.finished_jobs or chain.finished_jobs
        chain.state = more.state or chain.state
        if more.timeout is not None:
            chain.timeout = more.timeout
        chain.required_features += more.required_features


class SuspendedParts:
    """Puts a suspended chain together from its parts."""

    def __init__(self) -> None:
        self._parts = ChainParts()
        self.suspended = SuspendedJobChain("", self._parts.chain)

    def add(self, part: suspended_job_chain_pb2.SuspendedJobChain) -> None:
        """Take the next part.

        Raises:
            InvalidChain: two jobs have the same id.
        """
        suspended = self.suspended
        self._parts.add(part.job_chain)
        suspended.request_id = part.request_id or suspended.request_id
        suspended.total_job_tries.update(part.total_job_tries)
        suspended.latest_run_job_tries.update(part.latest_run_job_tries)
        suspended.sequence_tries.update(part.sequence_tries)
        suspended.epoch = part.epoch or suspended.epoch
        suspended.journal_position = part.journal_position or suspended.journal_position
        suspended.sequence_started_at.update(decode_starts(part))
        suspended.suspended_periods += decode_periods(part)


def _pieces(data: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """(start, end) of runs of whole fields, each as large as a part should be."""
    first = last = start
    for _, _, last, _ in _fields(data, start, end):
        if last - first >= PART_BYTES:
            yield first, last
            first = last
    if first < last:
        yield first, last


def _fields(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(start, start of the payload, end, number) of each field of a serialized message."""
    while start < end:
        tag, payload = _varint(data, start)
        match tag & 7:
            case 0:
                _, after = _varint(data, payload)
            case 1:
                after = payload + 8
            case 2:
                length, payload = _varint(data, payload)
                after = payload + length
            case 5:
                after = payload + 4
            case kind:
                raise ValueError(f"no field begins with wire type {kind}")
        yield start, payload, after, tag >> 3
        start = after


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
