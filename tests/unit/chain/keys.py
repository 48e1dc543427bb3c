"""Under which key each try was begun."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.unit.chain.fact import NotAllowed

from spincycle.model.journal_entry import JournalEntry
from spincycle.model.state import State


@dataclass(slots=True)
class Keys:
    """By job and number of the try."""

    of: dict[tuple[str, int], str] = field(default_factory=dict)

    def begins(self, job_id: str, number: int, key: str, journal: Iterable[JournalEntry]) -> None:
        """No try has the key of one that failed or completed, as far as the journal knows."""
        self.of[job_id, number] = key
        for entry in journal:
            if entry.job_id != job_id or entry.state is State.STOPPED or not entry.started_at:
                continue
            if self.of.get((job_id, entry.try_)) == key:
                raise NotAllowed(f"try {number} of {job_id} has key {key} of try {entry.try_}")
