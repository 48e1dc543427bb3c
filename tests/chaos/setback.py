"""A database that went back to an earlier moment, and what must hold nevertheless.

A request whose commits the database kept keeps every promise. One that lost commits ends, too; no
job of it runs again whose completion was kept, and none starts before the completions that it waits
for were committed at some time. A job whose completion was lost may run again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from operator import attrgetter

import asyncpg
from tests.chaos.load import Load
from tests.chaos.marks import START
from tests.chaos.witness import Entry, Testimony, contradictions, hurries, repeats

from spincycle.model.state import FINAL

Identity = tuple[str, str, int, int]
"""Request, job, try and start: after a setback the same epochs and tries are used once more."""


@dataclass(frozen=True)
class Setback:
    """What a database lost.

    Attributes:
        kept_until: time from which commits were lost, in seconds since 1970.
        entries: the journal as it was just before.
    """

    kept_until: float
    entries: list[Entry]

    async def forget_lost(self, connection: asyncpg.Connection, load: Load) -> list[str]:
        """Expect no end of requests that the database lost; return their ids.

        It is wrong that one is lost which was acknowledged before the first lost commit.
        """
        acknowledged = dict(load.acknowledged)
        found = await connection.fetch("SELECT request_id FROM request_manager.requests")
        lost = acknowledged.keys() - {row["request_id"] for row in found}
        for request_id in lost:
            del load.acknowledged[request_id]
            if acknowledged[request_id] < self.kept_until:
                load.wrong.append(f"{request_id} was lost with commits that are later")
        return sorted(lost)

    def lost_entries(self, testimony: Testimony) -> list[Entry]:
        """Entries that were committed and are not in the journal any more."""
        kept = {_identity(entry) for entry in testimony.entries}
        return [entry for entry in self.entries if _identity(entry) not in kept]

    def contradictions(self, testimony: Testimony) -> Iterator[str]:
        """Every way in which a run broke what is promised of such a database."""
        testimony = self._with_first_commits(testimony)
        lost = self.lost_entries(testimony)
        touched = {entry.request_id for entry in lost}
        whole = {id_: it for id_, it in testimony.requests.items() if id_ not in touched}
        yield from contradictions(replace(testimony, requests=whole))
        for request_id in touched & testimony.requests.keys():
            request = testimony.requests[request_id]
            if request.state not in FINAL:
                yield f"{request.type} {request_id} is still {request.state.name}"
            kept = [entry for entry in testimony.entries if entry.request_id == request_id]
            gone = [entry for entry in lost if entry.request_id == request_id]
            known = sorted([*kept, *gone], key=attrgetter("committed_at"))
            began = [
                mark
                for mark in testimony.marks
                if mark.request_id == request_id and mark.event == START
            ]
            yield from repeats(request_id, kept, began, known)
            yield from hurries(testimony.chains[request_id], known, began)

    def _with_first_commits(self, testimony: Testimony) -> Testimony:
        """Return the testimony with first commit times: a restore commits entries again."""
        first = {_identity(entry): entry.committed_at for entry in self.entries}
        entries = [
            replace(entry, committed_at=first.get(_identity(entry), entry.committed_at))
            for entry in testimony.entries
        ]
        return replace(testimony, entries=entries)


def _identity(entry: Entry) -> Identity:
    return entry.request_id, entry.job_id, entry.try_, entry.started_at
