"""Encodes reports of chains for the request manager."""

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
"""Seconds for which changed counts are held back, so that only the latest are reported."""


class OutboxReporter:
    """Puts reports into the outbox: ends immediately, progress at an interval in seconds."""

    def __init__(self, outbox: Outbox, interval: float = PROGRESS_INTERVAL) -> None:
        self._outbox = outbox
        self._interval = interval
        self._changed: dict[str, tuple[int, int, int]] = {}
        self._scheduled = False

    def finished(self, report: FinishReport, running_time: int) -> None:
        """Report the end of a chain that ran on this runner for `running_time` nanoseconds."""
        self._changed.pop(report.request_id, None)
        message = Message()
        finish = message.finish
        finish.request_id = report.request_id
        finish.state = cast("state_pb2.State.ValueType", int(report.state))
        finish.finished_jobs = report.finished_jobs
        finish.epoch = report.epoch
        finish.state_message = report.reason
        set_nanoseconds(finish.finished_at, report.finished_at)
        message.running_time.FromNanoseconds(running_time)
        self._outbox.put(report.request_id, message)

    def suspended(self, suspended: SuspendedJobChain) -> Callable[[], None]:
        """Encode the saved state of a chain; may be called on any thread.

        Returns a function that puts the report into the outbox; call it on the event loop.
        """
        message = Message(suspended=encode_suspended_chain(suspended))
        return partial(self._put_suspended, suspended.request_id, message)

    def _put_suspended(self, request_id: str, message: Message) -> None:
        self._changed.pop(request_id, None)
        self._outbox.put(request_id, message)

    def progress(self, request_id: str, epoch: int, finished: int, rolled_back: int) -> None:
        """Report the job counts of a chain at the end of the interval."""
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_later(self._interval, self._report_progress)
        self._changed[request_id] = epoch, finished, rolled_back

    def _report_progress(self) -> None:
        self._scheduled = False
        changed, self._changed = self._changed, {}
        for request_id, (epoch, finished, rolled_back) in changed.items():
            message = Message()
            progress = message.progress
            progress.request_id = request_id
            progress.epoch = epoch
            progress.finished_jobs = finished
            progress.counts.rolled_back = rolled_back
            self._outbox.put(request_id, message)
