"""All sequences of a specs directory, checked, as one immutable set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spincycle.model.job_chain import NOOP
from spincycle.spec.model import Node, Sequence

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spincycle.spec.template import Template

NOOP_SEQUENCE = Sequence(NOOP, nodes={NOOP: Node(NOOP, category="job", type=NOOP)})
"""The sequence that does nothing, there unless the specs declare one of that name."""


@dataclass(frozen=True, slots=True)
class SpecSet:
    """What requests are made from. It never changes; a reload makes another one.

    Attributes:
        revision: content hash of the files, 16 hex digits.
        sequences: by name, requests and others.
        templates: the same sequences, ready for expansion.
    """

    revision: str
    sequences: Mapping[str, Sequence]
    templates: Mapping[str, Template]

    def requests(self) -> list[Sequence]:
        """The sequences that users may start, by name."""
        found = [sequence for sequence in self.sequences.values() if sequence.request]
        return sorted(found, key=lambda sequence: sequence.name)
