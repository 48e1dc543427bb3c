"""Cursors: where a stream of changes can be taken up again, at any request manager.

That of named requests is the revision of each that was seen last. That of all requests has two
parts, since two things are put in order by themselves: changes of requests by the database, as a
snapshot of it, and what runners tell by each runner, as the order of its last event.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, unquote

from spincycle.errors import InvalidInput
from spincycle.request_manager.change_store import Seen

_SNAPSHOT = r"\d{1,18}:\d{1,18}:(?:\d{1,18}(?:,\d{1,18})*)?"
_ALL = re.compile(
    rf"a(?P<snapshot>{_SNAPSHOT})(/(?P<half>{_SNAPSHOT})/(?P<change>\d{{1,18}})/(?P<id>[0-9a-v]*))?"
    r"(?P<orders>(\.[^.=]{1,200}=\d{1,18})*)",
    re.ASCII,
)
_NAMED = re.compile(r"\d{1,20}(,\d{1,20})*", re.ASCII)
_UINT64 = 2**64


@dataclass(frozen=True, slots=True)
class Cursor:
    """Of a stream of all requests.

    Attributes:
        seen: changes of requests.
        orders: by runner id, the order of its last event.
    """

    seen: Seen
    orders: dict[str, int]


def seen_text(seen: Seen) -> str:
    """First part of a cursor."""
    half = f"/{seen.half}/{seen.change}/{seen.request_id}" if seen.half else ""
    return f"a{seen.snapshot}{half}"


def orders_text(orders: Mapping[str, int]) -> str:
    """Second part of a cursor."""
    return "".join(f".{_name(runner_id)}={order}" for runner_id, order in orders.items())


@lru_cache(maxsize=1000)
def _name(runner_id: str) -> str:
    return quote(runner_id, safe="").replace(".", "%2E")


def read_cursor(text: str) -> Cursor:
    """A cursor of a stream of all requests.

    Raises:
        InvalidInput: it is none.
    """
    match = _ALL.fullmatch(text)
    if match is None or not all(map(_is_snapshot, (match["snapshot"], match["half"] or "1:1:"))):
        raise _not_ours("of a stream of many requests")
    orders = dict(part.split("=") for part in match["orders"].split(".")[1:])
    seen = Seen(
        match["snapshot"], match["half"] or "", int(match["change"] or 0), match["id"] or ""
    )
    return Cursor(seen, {unquote(name): int(order) for name, order in orders.items()})


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
