"""What a chain's run leaves behind: journal entries, events, counts, and orders to carry out."""

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
    from spincycle.chain.verdict import TryOutcome
    from spincycle.model.job_chain import Value


class ChainRecord:
    """Collects what one event in the life of a chain gives rise to.

    Attributes:
        position: place of the last entry that was appended.
        committed: place up to which entries are known to be committed.
        complete: jobs that are COMPLETE now.
        ever_complete: jobs that have been COMPLETE at any time in this run.
        watched: whether changes are told at all; they are counted in any case.
    """

    __slots__ = (
        "_commands", "_step", "committed", "complete", "epoch", "ever_complete", "now",
        "position", "request_id", "watched",
    )  # fmt: skip

    def __init__(self, request_id: str, epoch: int, position: int) -> None:
        self.request_id = request_id
        self.epoch = epoch
        self.position = position
        self.committed = position
        self.complete = 0
        self.ever_complete = 0
        self.now = 0
        self.watched = True
        self._step = BEGUN_STEP
        self._commands: list[Command] = []

    @property
    def rolled_back(self) -> int:
        """Jobs that completed once and are not complete now."""
        return self.ever_complete - self.complete

    @property
    def all_committed(self) -> bool:
        """True if nothing that was appended is still under way."""
        return self.committed >= self.position

    def order(self, command: Command) -> None:
        """Have the traverser carry out a command, after those ordered before."""
        self._commands.append(command)

    def take(self) -> list[Command]:
        """The commands ordered since the last call."""
        commands, self._commands = self._commands, []
        return commands

    def completed(self, node: JobNode) -> None:
        """Count a job as complete."""
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

    def taken_back(self, node: JobNode) -> None:
        """Count a job as no longer complete."""
        node.state = State.PENDING
        self.complete -= 1
        for child in node.children:
            child.incomplete += 1
        if node.sequence is not None:
            for sequence in node.sequence.lineage:
                sequence.remaining += 1

    def enter(
        self,
        node: JobNode,
        verdict: TryOutcome,
        end: TryEnd | None = None,
        data: dict[str, Value] | None = None,
    ) -> None:
        """Append the entry of a try. Without `end` the job was not started at all."""
        self.position += 1
        # The change that is published next is the end of this entry's try.
        self._step = -1
        node.position = self.position
        job = node.job
        self.order(
            Append(
                JournalEntry(
                    request_id=self.request_id,
                    job_id=job.id,
                    try_=node.total,
                    name=job.name,
                    type=job.type,
                    started_at=end.started_at if end else 0,
                    finished_at=end.finished_at if end else 0,
                    state=verdict.state,
                    exit=end.exit if end else 1,
                    error=verdict.error,
                    stdout=end.stdout if end else "",
                    stderr=end.stderr if end else "",
                    sequence_id=job.sequence_id,
                    sequence_try=node.sequence.tries if node.sequence else 0,
                    position=self.position,
                    epoch=self.epoch,
                    data=data,
                    final=verdict.hopeless,
                )
            )
        )

    def publish(self, node: JobNode) -> None:
        """Tell watchers how a job is now."""
        self._step += 1
        if self.watched:
            self.order(Publish(self.last_event(node), self.position))

    @property
    def number(self) -> int:
        """Number of the last change; see JobEvent.sequence_number."""
        return number_of(self.position, self._step)

    def last_event(self, node: JobNode) -> JobEvent:
        """How a job is now, under the number of the last event that was published."""
        return JobEvent(
            job=status_of(node, self.request_id),
            epoch=self.epoch,
            sequence_number=self.number,
            finished_jobs=self.ever_complete,
            rolled_back_jobs=self.rolled_back,
            occurred_at=self.now,
        )


def status_of(node: JobNode, request_id: str) -> JobStatus:
    """What is known of a job now."""
    text, state = node.text, node.state
    if state is State.RUNNING and not node.started_at:
        state, text = State.PENDING, "waiting for a free place on the runner"
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
    )
