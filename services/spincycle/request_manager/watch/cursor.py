"""Cursors: where a stream of changes can be taken up again, at any request manager.

That of named requests is the revision of each that was seen last. That of all requests has two
parts, since two things are put in order by themselves: changes of requests by the database, as a
snapshot of it, and what runners tell by each runner, as the order of its last event.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, unquote

from spincycle.errors import InvalidInput

_SNAPSHOT = r"\d{1,18}:\d{1,18}:(?:\d{1,18}(?:,\d{1,18})*)?"
_ALL = re.compile(
    rf"a(?P<snapshot>{_SNAPSHOT})(?P<orders>(\.[^.=]{{1,200}}=\d{{1,18}})*)", re.ASCII
)
_NAMED = re.compile(r"\d{1,20}(,\d{1,20})*", re.ASCII)
_UINT64 = 2**64


@dataclass(frozen=True, slots=True)
class CursorSnapshot:
    """Which transactions are visible, as `pg_visible_in_snapshot` decides.

    Attributes:
        first: the first transaction that was running.
        last: the first one that had not begun.
        running: those between them that were running.
    """

    first: int
    last: int
    running: frozenset[int]

    def shows(self, transaction: int) -> bool:
        """Whether what a transaction wrote is visible."""
        if transaction < self.first:
            return True
        return transaction < self.last and transaction not in self.running


@dataclass(frozen=True, slots=True)
class Cursor:
    """Of a stream of all requests.

    Attributes:
        seen: snapshot of the database: what is visible in it was told.
        orders: by runner id, the order of its last event that was told.
    """

    seen: str
    orders: dict[str, int]

    @property
    def text(self) -> str:
        """The cursor as it is told."""
        orders = (f".{_name(runner_id)}={order}" for runner_id, order in self.orders.items())
        return f"a{self.seen}{''.join(orders)}"

    @property
    def snapshot(self) -> CursorSnapshot:
        """What `seen` shows."""
        first, last, running = self.seen.split(":")
        between = frozenset(int(part) for part in running.split(",") if part)
        return CursorSnapshot(int(first), int(last), between)


def before(transaction: int) -> str:
    """Return the snapshot that shows what all transactions before one wrote, and nothing else."""
    return f"{transaction}:{transaction}:"


@lru_cache(maxsize=1000)
def _name(runner_id: str) -> str:
    return quote(runner_id, safe="").replace(".", "%2E")


def read_cursor(text: str) -> Cursor:
    """A cursor of a stream of all requests.

    Raises:
        InvalidInput: it is none.
    """
    match = _ALL.fullmatch(text)
    if match is None or not _is_snapshot(match["snapshot"]):
        raise _not_ours("of a stream of many requests")
    orders = dict(part.split("=") for part in match["orders"].split(".")[1:])
    return Cursor(match["snapshot"], {unquote(name): int(order) for name, order in orders.items()})


def read_named_cursor(text: str, request_ids: Sequence[str]) -> dict[str, int]:
    """Revision that was seen of each named request; none for an empty cursor.

    Raises:
        InvalidInput: it is no cursor of a stream of these requests.
    """
    if not text:
        return {}
    if _NAMED.fullmatch(text) is None:
        raise _not_ours("of a stream of named requests")
    revisions = [int(part) for part in text.split(",")]
    if len(revisions) != len(request_ids) or max(revisions) >= _UINT64:
        raise _not_ours("of a stream of these requests")
    return dict(zip(request_ids, revisions, strict=True))


def _is_snapshot(text: str) -> bool:
    """Whether the database takes the text for a snapshot."""
    first, last, between = text.split(":")
    running = [int(part) for part in between.split(",") if part]
    ascending = [int(first), *running, int(last)]
    return int(first) > 0 and ascending == sorted(ascending) and int(last) not in running


def _not_ours(of_what: str) -> InvalidInput:
    return InvalidInput(f"the cursor is not one {of_what}; watch again without one", "cursor")
