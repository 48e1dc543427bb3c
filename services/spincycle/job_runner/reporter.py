"""Reports of chains as messages for the request manager."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import cast

from spincycle.chain.commands import FinishReport
from spincycle.internal.v1 import runner_coordination_service_pb2 as coordination_pb2
from spincycle.job_runner.outbox import Outbox
from spincycle.model.job_chain import SuspendedJobChain
from spincycle.v1 import state_pb2
from spincycle.wire.chain import encode_suspended_chain
from spincycle.wire.times import set_nanoseconds

Message = coordination_pb2.RunnerReport

PROGRESS_INTERVAL = 0.2
"""Seconds for which counts that move are kept back, so that the last ones only are told."""


class OutboxReporter:
    """Puts what chains report into the outbox, ends at once and progress now and then."""

    def __init__(self, outbox: Outbox, interval: float = PROGRESS_INTERVAL) -> None:
        self._outbox = outbox
        self._interval = interval
        self._moved: dict[str, tuple[int, int, int]] = {}
        self._due = False

    def finished(self, report: FinishReport, running_time: int) -> None:
        """A chain has ended that ran here for so many nanoseconds."""
        self._moved.pop(report.request_id, None)
        message = Message()
        finish = message.finish
        finish.request_id = report.request_id
        finish.state = cast(state_pb2.State.ValueType, int(report.state))
        finish.finished_jobs = report.finished_jobs
        finish.epoch = report.epoch
        finish.state_message = report.reason
        set_nanoseconds(finish.finished_at, report.finished_at)
        message.running_time.FromNanoseconds(running_time)
        self._outbox.put(report.request_id, message)

    def suspended(self, suspended: SuspendedJobChain) -> Callable[[], None]:
        """Encode the state of a chain that has been suspended; may be called on any thread.

        Returns what reports it, to be called on the event loop.
        """
        message = Message(suspended=encode_suspended_chain(suspended))
        return partial(self._put_suspended, suspended.request_id, message)

    def _put_suspended(self, request_id: str, message: Message) -> None:
        self._moved.pop(request_id, None)
        self._outbox.put(request_id, message)

    def progress(self, request_id: str, epoch: int, finished: int, rolled_back: int) -> None:
        """Counts of a chain have moved."""
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_later(self._interval, self._tell_progress)
        self._moved[request_id] = epoch, finished, rolled_back

    def _tell_progress(self) -> None:
        self._due = False
        moved, self._moved = self._moved, {}
        for request_id, (epoch, finished, rolled_back) in moved.items():
            message = Message()
            progress = message.progress
            progress.request_id = request_id
            progress.epoch = epoch
            progress.finished_jobs = finished
            progress.rolled_back_jobs = rolled_back
            self._outbox.put(request_id, message)
