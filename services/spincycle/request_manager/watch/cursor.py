"""Cursors: the places from which any request manager can resume a stream of events.

The cursor of a stream of named requests is the last revision sent of each. The cursor of a stream
of all requests has two parts, each with its own order: a snapshot of the database for changes of
requests, and for each runner the offset of its last event.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, unquote

from spincycle.errors import InvalidInput

_SNAPSHOT = r"\d{1,18}:\d{1,18}:(?:\d{1,18}(?:,\d{1,18})*)?"
_FILTER_CURSOR = re.compile(
    rf"a(?P<snapshot>{_SNAPSHOT})(?P<offsets>(\.[^.=]{{1,200}}=\d{{1,18}})*)", re.ASCII
)
_ID_CURSOR = re.compile(r"\d{1,20}(,\d{1,20})*", re.ASCII)
_UINT64 = 2**64


@dataclass(frozen=True, slots=True)
class VisibleTransactions:
    """The transactions that a database snapshot shows; see `pg_visible_in_snapshot`.

    Attributes:
        first_running: id of the first transaction that was running.
        next_id: id of the first transaction that had not begun.
        running: ids between them of transactions that were running.
    """

    first_running: int
    next_id: int
    running: frozenset[int]

    def includes(self, transaction: int) -> bool:
        """Return whether the snapshot shows what a transaction wrote."""
        if transaction < self.first_running:
            return True
        return transaction < self.next_id and transaction not in self.running


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the stream of all requests.

    Attributes:
        db_snapshot: database snapshot as PostgreSQL writes one; every change that it shows comes
            before the cursor.
        offsets: offset of the last event before the cursor, by runner id.
    """

    db_snapshot: str
    offsets: dict[str, int]

    @property
    def text(self) -> str:
        """The cursor as clients get it."""
        offsets = (f".{_quoted(runner_id)}={offset}" for runner_id, offset in self.offsets.items())
        return f"a{self.db_snapshot}{''.join(offsets)}"

    @property
    def visible(self) -> VisibleTransactions:
        """The transactions that `db_snapshot` shows."""
        first_running, next_id, running = self.db_snapshot.split(":")
        ids = frozenset(int(part) for part in running.split(",") if part)
        return VisibleTransactions(int(first_running), int(next_id), ids)


def snapshot_before(transaction: int) -> str:
    """Return the database snapshot that shows exactly the transactions with lower ids."""
    return f"{transaction}:{transaction}:"


@lru_cache(maxsize=1000)
def _quoted(runner_id: str) -> str:
    return quote(runner_id, safe="").replace(".", "%2E")


def parse_cursor(text: str) -> Cursor:
    """Return the cursor of a stream of all requests.

    Raises:
        InvalidInput: the text is not such a cursor.
    """
    match = _FILTER_CURSOR.fullmatch(text)
    if match is None or not _is_snapshot(match["snapshot"]):
        raise _invalid("a stream of many requests")
    offsets = dict(part.split("=") for part in match["offsets"].split(".")[1:])
    return Cursor(
        match["snapshot"], {unquote(name): int(offset) for name, offset in offsets.items()}
    )


def parse_id_cursor(text: str, request_ids: Sequence[str]) -> dict[str, int]:
    """Return the last revision sent of each named request; empty for an empty cursor.

    Raises:
        InvalidInput: the text is not a cursor of a stream of these requests.
    """
    if not text:
        return {}
    if _ID_CURSOR.fullmatch(text) is None:
        raise _invalid("a stream of named requests")
    revisions = [int(part) for part in text.split(",")]
    if len(revisions) != len(request_ids) or max(revisions) >= _UINT64:
        raise _invalid("a stream of these requests")
    return dict(zip(request_ids, revisions, strict=True))


def _is_snapshot(text: str) -> bool:
    """Return whether PostgreSQL accepts the text as a snapshot."""
    first_running, next_id, running = text.split(":")
    ids = [int(part) for part in running.split(",") if part]
    ascending = [int(first_running), *ids, int(next_id)]
    is_sorted = ascending == sorted(ascending)
    return int(first_running) > 0 and is_sorted and int(next_id) not in ids


def _invalid(stream: str) -> InvalidInput:
    return InvalidInput(
        f"the cursor is not a cursor of {stream}; call Watch again without a cursor", "cursor"
    )
