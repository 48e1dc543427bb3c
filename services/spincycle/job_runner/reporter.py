"""Reports of chains as messages for the request manager."""

from __future__ import annotations

from typing import cast

from spincycle.chain.commands import FinishReport
from spincycle.job_chain import SuspendedJobChain
from spincycle.job_runner.outbox import Outbox
from spincycle.v1 import request_manager_service_pb2, state_pb2
from spincycle.wire.chain import encode_suspended_chain
from spincycle.wire.times import set_nanoseconds

Message = request_manager_service_pb2.RunnerReport


class OutboxReporter:
    """Puts what chains report into the outbox."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def finished(self, report: FinishReport) -> None:
        """A chain has ended."""
        message = Message()
        finish = message.finish
        finish.request_id = report.request_id
        finish.state = cast(state_pb2.State.ValueType, int(report.state))
        finish.finished_jobs = report.finished_jobs
        finish.epoch = report.epoch
        finish.reason = report.reason
        set_nanoseconds(finish.finished_at, report.finished_at)
        self._outbox.put(report.request_id, message)

    def suspended(self, suspended: SuspendedJobChain) -> None:
        """A chain has been suspended."""
        message = Message(suspended=encode_suspended_chain(suspended))
        self._outbox.put(suspended.request_id, message)

    def progress(self, request_id: str, epoch: int, finished: int, rolled_back: int) -> None:
        """Counts of a chain have moved."""
        message = Message()
        progress = message.progress
        progress.request_id = request_id
        progress.epoch = epoch
        progress.finished_jobs = finished
        progress.rolled_back_jobs = rolled_back
        self._outbox.put(request_id, message)
