"""The key of each try."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.unit.chain.fact import NotAllowed

from spincycle.model.journal_entry import JournalEntry
from spincycle.model.state import State


@dataclass(slots=True)
class Keys:
    """Keys by job and try number."""

    _keys: dict[tuple[str, int], str] = field(default_factory=dict)

    def record(self, job_id: str, number: int, key: str, journal: Iterable[JournalEntry]) -> None:
        """Record a try; its key must differ from those of journalled failed or complete tries."""
        self._keys[job_id, number] = key
        for entry in journal:
            if entry.job_id != job_id or entry.state is State.STOPPED or not entry.started_at:
                continue
            if self._keys.get((job_id, entry.try_)) == key:
                raise NotAllowed(f"try {number} of {job_id} has key {key} of try {entry.try_}")
