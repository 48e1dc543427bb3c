"""Journal entries on the wire: spincycle.v1.JobLog, both ways."""

from __future__ import annotations

from spincycle.model.journal_entry import JournalEntry
from spincycle.v1 import job_log_pb2
from spincycle.wire.states import decode_state, encode_state
from spincycle.wire.times import get_nanoseconds, set_nanoseconds
from spincycle.wire.values import fill_struct, from_struct, has_more_values

_MANY_VALUES = 2000


def encode_entry(entry: JournalEntry) -> job_log_pb2.JobLog:
    """The entry as a message.

    Raises:
        ValueError: its data hold something that JSON does not know.
    """
    message = job_log_pb2.JobLog(
        request_id=entry.request_id,
        job_id=entry.job_id,
        name=entry.name,
        type=entry.type,
        state=encode_state(entry.state),
        sequence_id=entry.sequence_id,
        sequence_try_number=entry.sequence_try,
        position=entry.position,
        epoch=entry.epoch,
    )
    message.try_number = entry.try_
    if entry.started_at:
        set_nanoseconds(message.started_at, entry.started_at)
    if entry.finished_at:
        set_nanoseconds(message.finished_at, entry.finished_at)
    if entry.exit:
        message.exit = entry.exit
    if entry.error:
        message.error = entry.error
    if entry.stdout:
        message.stdout = entry.stdout
    if entry.stderr:
        message.stderr = entry.stderr
    if entry.data is not None:
        fill_struct(message.data, entry.data)
    if entry.final:
        message.final = True
    if entry.path:
        message.path = entry.path
    return message


def decode_entry(message: job_log_pb2.JobLog) -> JournalEntry:
    """The entry in a message."""
    return JournalEntry(
        message.request_id,
        message.job_id,
        message.try_number,
        message.name,
        message.type,
        get_nanoseconds(message.started_at) if message.HasField("started_at") else 0,
        get_nanoseconds(message.finished_at) if message.HasField("finished_at") else 0,
        decode_state(message.state),
        message.exit,
        message.error,
        message.stdout,
        message.stderr,
        message.sequence_id,
        message.sequence_try_number,
        message.position,
        message.epoch,
        from_struct(message.data) if message.HasField("data") else None,
        message.final,
        message.path,
    )


def holds_much_data(entry: JournalEntry) -> bool:
    """Whether encoding the entry takes milliseconds, by what its job data hold."""
    return entry.data is not None and has_more_values(entry.data, _MANY_VALUES)
