"""Revisions: one number for each thing that ever changed of a request, in the order of changes.

A revision says under which epoch something changed, which journal entry was the last one then,
and how many changes had followed it. So whoever holds a revision knows which entries of the
journal come after it, whoever told it and whichever process is gone by now.
"""

from __future__ import annotations

from typing import NamedTuple

STEP_BITS = 24
POSITION_BITS = 22
NUMBER_BITS = POSITION_BITS + STEP_BITS

LAST_STEP = (1 << STEP_BITS) - 1
LAST_POSITION = (1 << POSITION_BITS) - 1

FREE_EPOCHS = 1 << 16
"""Epochs up to this one may be fenced in any order; beyond it each fence is one more than the
last. A request reaches it after as many assignments, so a higher fence comes from a fault."""

LAST_EPOCH = (1 << 17) - 1
"""Highest epoch of a request, for revisions to stay below 2^63."""

WAITING_STEP = 1
"""Step of a request that waits for a runner: before all that the runner will tell."""

BEGUN_STEP = 2
"""Step under which a runner tells that it has begun with the chain."""


class Revision(NamedTuple):
    """A revision in its parts.

    Attributes:
        epoch: of the request.
        position: of the last journal entry; see spincycle.v1.JobLog.position.
        step: changes since that entry; 0 is the end of the entry's own try.
    """

    epoch: int
    position: int
    step: int


def number_of(position: int, step: int) -> int:
    """Number of a change within its epoch. Beyond what there is room for it no longer rises."""
    return (min(position, LAST_POSITION) << STEP_BITS) + min(step, LAST_STEP)


def revision_of(epoch: int, number: int) -> int:
    """The revision of a change."""
    return (epoch << NUMBER_BITS) + number


def encode_revision(revision: int) -> str:
    """Return the revision as messages carry it: 19 digits, so that text order is number order."""
    return f"{revision:019d}"


def parts_of(revision: int) -> Revision:
    """The parts of a revision."""
    number = revision & ((1 << NUMBER_BITS) - 1)
    return Revision(revision >> NUMBER_BITS, number >> STEP_BITS, number & LAST_STEP)


def waiting(epoch: int) -> int:
    """Revision of a request that waits for a runner."""
    return revision_of(epoch, number_of(0, WAITING_STEP))


def suspended(epoch: int) -> int:
    """Revision of a request that was suspended under an epoch."""
    return revision_of(epoch, number_of(LAST_POSITION, LAST_STEP - 1))


def ended(epoch: int) -> int:
    """Revision of a request that has ended under an epoch: the highest it can have."""
    return revision_of(epoch, number_of(LAST_POSITION, LAST_STEP))
