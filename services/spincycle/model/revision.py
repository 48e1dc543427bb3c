"""Revisions: one number per change of a request, in the order of changes.

A revision consists of the epoch of the change, the position of the last journal entry at that time,
and the number of changes since that entry. It thus determines which journal entries follow it,
independently of the process that published it.
"""

from __future__ import annotations

from typing import NamedTuple

STEP_BITS = 24
POSITION_BITS = 22
NUMBER_BITS = POSITION_BITS + STEP_BITS

LAST_STEP = (1 << STEP_BITS) - 1
LAST_POSITION = (1 << POSITION_BITS) - 1

FREE_EPOCHS = 1 << 16
"""Epochs up to this one may be fenced in any order; above it, each fence must be one more than the
last. A request needs as many assignments to reach it, so a higher fence indicates a bug."""

LAST_EPOCH = (1 << 17) - 1
"""Highest epoch of a request, which keeps revisions below 2^63."""

WAITING_STEP = 1
"""Step of a request that waits for a runner; it precedes all events of the runner."""

BEGUN_STEP = 2
"""Step of the event with which a runner reports the start of the chain."""


class Revision(NamedTuple):
    """The parts of a revision.

    Attributes:
        epoch: epoch of the request.
        position: position of the last journal entry; see spincycle.v1.JobLog.position.
        step: number of changes since that entry; 0 is the end of the entry's own try.
    """

    epoch: int
    position: int
    step: int


def number_of(position: int, step: int) -> int:
    """Return the number of a change within its epoch; position and step are capped."""
    return (min(position, LAST_POSITION) << STEP_BITS) + min(step, LAST_STEP)


def revision_of(epoch: int, number: int) -> int:
    """Return the revision of a change."""
    return (epoch << NUMBER_BITS) + number


def parts_of(revision: int) -> Revision:
    """Return the parts of a revision."""
    number = revision & ((1 << NUMBER_BITS) - 1)
    return Revision(revision >> NUMBER_BITS, number >> STEP_BITS, number & LAST_STEP)


def waiting(epoch: int) -> int:
    """Return the revision of a request that waits for a runner."""
    return revision_of(epoch, number_of(0, WAITING_STEP))


def suspended(epoch: int) -> int:
    """Return the revision of a request that was suspended in an epoch."""
    return revision_of(epoch, number_of(LAST_POSITION, LAST_STEP - 1))


def ended(epoch: int) -> int:
    """Return the revision of a request that ended in an epoch: the highest of the epoch."""
    return revision_of(epoch, number_of(LAST_POSITION, LAST_STEP))
