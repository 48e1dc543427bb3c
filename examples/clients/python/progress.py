"""Shows what happens to a request, a line for each change, and what its jobs have written."""

from __future__ import annotations

from spincycle.v1 import job_log_pb2, request_event_pb2, state_pb2

FINAL = {state_pb2.STATE_COMPLETE, state_pb2.STATE_FAIL, state_pb2.STATE_STOPPED}


def short(state: int) -> str:
    """RUNNING for STATE_RUNNING."""
    return state_pb2.State.Name(state).removeprefix("STATE_")


class Progress:
    """Prints events. What a snapshot tells again is not printed again."""

    def __init__(self) -> None:
        self._last: dict[str, str] = {}

    def show(self, event: request_event_pb2.RequestEvent) -> None:
        """Print what is new in an event: a snapshot, a change of the request, or of one job."""
        change = event.WhichOneof("change")
        requests = {"snapshot": [event.snapshot.request], "request": [event.request]}
        jobs = {"snapshot": event.snapshot.jobs, "job": [event.job]}
        for request in requests.get(change, ()):
            self._tell(request.id, short(request.state))
        for job in jobs.get(change, ()):
            self._tell(job.job_id, f"{job.name} {short(job.state)} try {job.try_number}")

    def _tell(self, what: str, line: str) -> None:
        if self._last.get(what) != line:
            self._last[what] = line
            print(what, line, flush=True)


def show_entry(entry: job_log_pb2.JobLog) -> None:
    """Print one finished try of a job, as the journal has it."""
    print(f"log {entry.job_id} {entry.name} {short(entry.state)} try {entry.try_number}")
    for line in [entry.error, *entry.stdout.splitlines(), *entry.stderr.splitlines()]:
        if line:
            print(f"  {line}")
