"""Validates and normalizes entries before they are stored."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from spincycle.errors import InvalidEntry
from spincycle.job.bounded_output import bounded_text
from spincycle.job_log.model import Row
from spincycle.model.journal_entry import JournalEntry
from spincycle.model.state import State
from spincycle.rpc.limits import ID_BYTES
from spincycle.text.shortening import shortened

_INT64 = 2**63
_ENDED = frozenset({State.COMPLETE, State.FAIL, State.STOPPED})
_NUL_MARK = "\N{SYMBOL FOR NULL}"


@dataclass(frozen=True, slots=True)
class Intake:
    """Converts entries to rows.

    Attributes:
        text_limit: maximum bytes of each text; a longer text is truncated in its middle.
        data_limit: maximum bytes of job data as JSON.
    """

    text_limit: int
    data_limit: int

    def row(self, entry: JournalEntry) -> Row:
        """Convert an entry to a row.

        Raises:
            InvalidEntry: the entry is invalid, or its data are too large.
        """
        problem = _problem(entry)
        if problem:
            raise InvalidEntry(_short(entry.request_id), _short(entry.job_id), problem)
        return Row(
            entry.request_id,
            entry.job_id,
            entry.try_,
            entry.position,
            entry.epoch,
            entry.started_at,
            entry.finished_at,
            entry.exit,
            entry.sequence_try,
            entry.state,
            entry.final,
            self._text(entry.name),
            self._text(entry.type),
            self._text(entry.sequence_id),
            self._text(entry.error),
            self._text(entry.stdout),
            self._text(entry.stderr),
            self._data(entry),
            self._text(entry.path),
        )

    def _text(self, text: str) -> str:
        # PostgreSQL cannot store NUL in a text.
        return bounded_text(text.replace("\0", _NUL_MARK), self.text_limit)

    def _data(self, entry: JournalEntry) -> str | None:
        if entry.data is None:
            return None
        # Sorted keys, so that a resent entry has the same text.
        encoded = orjson.dumps(entry.data, option=orjson.OPT_SORT_KEYS)
        if len(encoded) > self.data_limit:
            raise InvalidEntry(
                entry.request_id,
                entry.job_id,
                f"the job data have {len(encoded)} bytes; the limit is {self.data_limit}",
            )
        return encoded.decode()


def _problem(entry: JournalEntry) -> str:
    for field, value in (("request_id", entry.request_id), ("job_id", entry.job_id)):
        if not value:
            return f"{field} is empty"
        size = len(value.encode())
        if size > ID_BYTES:
            return f"{field} has {size} bytes; it may have at most {ID_BYTES}"
        if "\0" in value:
            return f"{field} contains a NUL character"
    if entry.position >= _INT64 or entry.epoch >= _INT64:
        return "position or epoch is 2^63 or more"
    if not (-_INT64 <= entry.started_at < _INT64 and -_INT64 <= entry.finished_at < _INT64):
        return "started_at or finished_at is not within the years 1678 to 2262"
    if entry.state in _ENDED and entry.try_:
        return ""
    if entry.position:
        return "try is 0" if entry.state in _ENDED else "state must be COMPLETE, FAIL or STOPPED"
    if entry.state in _ENDED or entry.state is State.UNKNOWN:
        return ""
    return "state must be COMPLETE, FAIL or STOPPED"


def _short(value: str) -> str:
    return shortened(value, ID_BYTES)
