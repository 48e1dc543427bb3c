"""Services with a fault on purpose: the tests must see what these do wrong.

Run as `python -m tests.chaos.planted FAULT`, in place of the service's own console script.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable
from typing import Any

from spincycle.chain.rebuild import rebuild
from spincycle.job_runner import journal_stream
from spincycle.job_runner import process as runner_process
from spincycle.model.job_chain import JobChain, SuspendedJobChain
from spincycle.model.journal_entry import JournalEntry
from spincycle.request_manager import manager as manager_parts
from spincycle.request_manager import process as manager_process


def acknowledge_before_the_commit() -> None:
    """Acknowledge entries to the runner as soon as they are queued."""
    original = journal_stream.JournalStream.append

    def append(self: journal_stream.JournalStream, entry: Any, listener: Any) -> None:
        original(self, entry, listener)
        asyncio.get_running_loop().call_soon(listener.committed, entry.position)

    journal_stream.JournalStream.append = append  # type: ignore[method-assign] # on purpose
    runner_process.main()


def forget_the_journal() -> None:
    """A request manager that lets requests of dead runners begin from the beginning."""

    def from_the_beginning(
        chain: JobChain, entries: Iterable[JournalEntry], epoch: int = 0, started_at: int = 0
    ) -> SuspendedJobChain:
        return rebuild(chain, [], epoch, started_at)

    setattr(manager_parts, "rebuild", from_the_beginning)  # noqa: B010 # it exports no such name
    manager_process.main()


FAULTS: dict[str, Callable[[], None]] = {
    fault.__name__.replace("_", "-"): fault
    for fault in (acknowledge_before_the_commit, forget_the_journal)
}

if __name__ == "__main__":
    fault = FAULTS[sys.argv.pop(1)]
    fault()
