"""Output of a chain's run: journal entries, events, counts and commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spincycle.chain.commands import Append, Publish
from spincycle.model.job_status import JobEvent, JobStatus
from spincycle.model.journal_entry import JournalEntry
from spincycle.model.revision import BEGUN_STEP, number_of
from spincycle.model.state import State

if TYPE_CHECKING:
    from spincycle.chain.chain_graph import JobNode
    from spincycle.chain.commands import Command, TryEnd
    from spincycle.chain.try_outcome import TryOutcome
    from spincycle.model.job_chain import Value


class ChainRecord:
    """Collects the commands that handling one event emits.

    Attributes:
        position: journal position of the last appended entry.
        committed: journal position up to which entries are committed.
        complete: number of COMPLETE jobs.
        ever_complete: number of jobs that were COMPLETE at any time in this run.
        now: time of the current event, in nanoseconds since 1970, UTC.
        events_enabled: whether changes are published; they are numbered in any case.
    """

    __slots__ = (
        "_commands", "_step", "committed", "complete", "epoch", "events_enabled", "ever_complete",
        "now", "position", "request_id",
    )  # fmt: skip

    def __init__(self, request_id: str, epoch: int, position: int) -> None:
        self.request_id = request_id
        self.epoch = epoch
        self.position = position
        self.committed = position
        self.complete = 0
        self.ever_complete = 0
        self.now = 0
        self.events_enabled = True
        self._step = BEGUN_STEP
        self._commands: list[Command] = []

    @property
    def rolled_back(self) -> int:
        """Number of jobs that completed in this run and are not COMPLETE now."""
        return self.ever_complete - self.complete

    @property
    def all_committed(self) -> bool:
        """Whether every appended entry is committed."""
        return self.committed >= self.position

    def emit(self, command: Command) -> None:
        """Emit a command for the executor."""
        self._commands.append(command)

    def take(self) -> list[Command]:
        """Remove and return the emitted commands."""
        commands, self._commands = self._commands, []
        return commands

    def mark_complete(self, node: JobNode) -> None:
        """Mark a job COMPLETE and update the counts."""
        node.state = State.COMPLETE
        self.complete += 1
        for child in node.children:
            child.incomplete -= 1
        if node.sequence is not None:
            for sequence in node.sequence.lineage:
                sequence.remaining -= 1
        if not node.ever_complete:
            node.ever_complete = True
            self.ever_complete += 1

    def mark_incomplete(self, node: JobNode) -> None:
        """Mark a COMPLETE job PENDING and update the counts."""
        node.state = State.PENDING
        self.complete -= 1
        for child in node.children:
            child.incomplete += 1
        if node.sequence is not None:
            for sequence in node.sequence.lineage:
                sequence.remaining += 1

    def append_entry(
        self,
        node: JobNode,
        outcome: TryOutcome,
        end: TryEnd | None = None,
        data: dict[str, Value] | None = None,
    ) -> None:
        """Append the journal entry of a try; `end` is None if the job was not started."""
        self.position += 1
        # The next published change is the end of this entry's try.
        self._step = -1
        node.position = self.position
        job = node.job
        self.emit(
            Append(
                JournalEntry(
                    request_id=self.request_id,
                    job_id=job.id,
                    try_=node.total,
                    name=job.name,
                    type=job.type,
                    started_at=end.started_at if end else 0,
                    finished_at=end.finished_at if end else 0,
                    state=outcome.state,
                    exit=end.exit if end else 1,
                    error=outcome.error,
                    stdout=end.stdout if end else "",
                    stderr=end.stderr if end else "",
                    sequence_id=job.sequence_id,
                    sequence_try=node.sequence.tries if node.sequence else 0,
                    position=self.position,
                    epoch=self.epoch,
                    data=data,
                    final=outcome.non_retryable,
                    path=job.path,
                )
            )
        )

    def publish(self, node: JobNode) -> None:
        """Publish the current status of a job."""
        self._step += 1
        if self.events_enabled:
            self.emit(Publish(self.last_event(node), self.position))

    @property
    def number(self) -> int:
        """Sequence number of the last change; see JobEvent.sequence_number."""
        return number_of(self.position, self._step)

    def last_event(self, node: JobNode) -> JobEvent:
        """Return the current status of a job under the number of the last change."""
        return JobEvent(
            job=status_of(node, self.request_id),
            epoch=self.epoch,
            sequence_number=self.number,
            finished_jobs=self.ever_complete,
            rolled_back_jobs=self.rolled_back,
            occurred_at=self.now,
        )


def status_of(node: JobNode, request_id: str) -> JobStatus:
    """Return the current status of a job."""
    text, state = node.text, node.state
    if state is State.RUNNING and not node.started_at:
        state, text = State.PENDING, "waiting for a free slot on the runner"
    elif node.retry_at:
        text = "(sequence retry sleep)" if node.opens and not node.latest else "(retry sleep)"
    return JobStatus(
        request_id=request_id,
        job_id=node.job.id,
        type=node.job.type,
        name=node.job.name,
        state=state,
        started_at=node.started_at,
        finished_at=node.finished_at,
        retry_at=node.retry_at,
        status=text,
        try_=node.total,
        percent=node.percent,
        sequence_id=node.job.sequence_id,
        error=node.error,
        path=node.job.path,
    )
