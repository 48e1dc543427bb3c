"""The checked sequences of a specs directory as one immutable set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spincycle.model.job_chain import NOOP
from spincycle.spec.model import Node, Sequence

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spincycle.spec.template import Template

NOOP_SEQUENCE = Sequence(NOOP, nodes={NOOP: Node(NOOP, category="job", type=NOOP)})
"""The built-in sequence that does nothing; specs may override it."""


@dataclass(frozen=True, slots=True)
class SpecSet:
    """The sequences from which requests are created. Immutable; a reload creates another one.

    Attributes:
        revision: content hash of the files, 16 hex digits.
        sequences: requests and other sequences, by name.
        templates: the same sequences, ready for expansion.
    """

    revision: str
    sequences: Mapping[str, Sequence]
    templates: Mapping[str, Template]

    def requests(self) -> list[Sequence]:
        """Return the sequences that clients can start, sorted by name."""
        found = [sequence for sequence in self.sequences.values() if sequence.request]
        return sorted(found, key=lambda sequence: sequence.name)
