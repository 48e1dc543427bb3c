"""The calls that spinc makes, independent of the transport."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from spincycle.v1 import (
        access_service_pb2,
        audit_service_pb2,
        job_chain_pb2,
        job_log_pb2,
        job_output_pb2,
        plan_pb2,
        request_event_pb2,
        request_manager_service_pb2,
        request_pb2,
        spec_pb2,
    )


@dataclass(frozen=True, slots=True)
class EntryFilter:
    """Selects journal entries of a request.

    Attributes:
        job_id: only entries of this job; empty for all jobs.
        failed_only: only entries of failed tries.
        without_output: leave out standard output, standard error and job data.
    """

    job_id: str = ""
    failed_only: bool = False
    without_output: bool = False


class Backend(Protocol):
    """Calls the services. Every method raises SpinCycleError if its call fails."""

    async def specs(self) -> list[spec_pb2.RequestSpec]:
        """Return the requests that can be created, by name."""

    async def create(
        self, message: request_manager_service_pb2.CreateRequest
    ) -> request_pb2.Request:
        """Create a request; with an idempotency key, retry if the response is lost."""

    async def plan(self, message: request_manager_service_pb2.PlanRequest) -> plan_pb2.Plan:
        """Return what `create` would run, without creating it."""

    async def get(self, request_id: str) -> request_pb2.Request:
        """Return a request with its arguments."""

    async def find(
        self, selected: request_pb2.RequestFilter, limit: int
    ) -> list[request_pb2.Request]:
        """Return the newest `limit` requests that match, or all of them if it is 0."""

    async def stop(self, request_id: str, reason: str) -> request_pb2.Request:
        """Stop a request permanently."""

    async def suspend(self, request_id: str, reason: str) -> request_pb2.Request:
        """Suspend a request so that it can be resumed."""

    async def resume(self, request_id: str) -> request_pb2.Request:
        """Resume a suspended request."""

    async def rerun(
        self, request_id: str, job_ids: list[str], key: str, *, allow_concurrent: bool
    ) -> request_pb2.Request:
        """Create a request that runs the jobs that the old one did not complete."""

    async def skip(
        self, request_id: str, job_id: str, reason: str, key: str, *, allow_concurrent: bool
    ) -> request_pb2.Request:
        """Create a request that continues the old one as if the failed job were complete."""

    async def explain(
        self, request_id: str, job_id: str = ""
    ) -> request_manager_service_pb2.ExplainResponse:
        """Return what the request and its jobs wait for, or only the job with an id."""

    async def running(self, request_id: str) -> request_manager_service_pb2.ListRunningJobsResponse:
        """Return the running jobs of a request; of all requests if the id is empty."""

    async def job_chain(self, request_id: str) -> job_chain_pb2.JobChain:
        """Return the chain of a request as it was created, of any size."""

    def jobs(self, request_id: str) -> AsyncIterator[job_chain_pb2.Job]:
        """Yield the jobs of that chain as they are received, without holding all of them."""

    def watch(
        self, request_id: str, cursor: str, *, requests_only: bool = False
    ) -> AsyncIterator[request_event_pb2.RequestEvent]:
        """Yield changes of a request after a cursor; a snapshot first if the cursor is empty."""

    def entries(self, request_id: str, selected: EntryFilter) -> AsyncIterator[job_log_pb2.JobLog]:
        """Yield the stored journal entries of a request, in journal order."""

    def tail(
        self, request_id: str, after_position: int, *, follow: bool, live_output: bool = False
    ) -> AsyncIterator[job_log_pb2.JobLog | job_output_pb2.JobOutput]:
        """Yield journal entries of a request after a position; with `follow` also new ones.

        With `live_output` also the output of running tries. Pieces overlap after a reconnect and
        can lack the last output of a try, which is in its entry.
        """

    async def audit(
        self, selected: audit_service_pb2.AuditFilter, limit: int
    ) -> list[audit_service_pb2.AuditEntry]:
        """Return the newest `limit` audit entries that match, or all of them if it is 0."""

    async def who_am_i(self) -> access_service_pb2.WhoAmIResponse:
        """Return the caller as the services see it."""

    async def check_access(
        self, message: access_service_pb2.CheckAccessRequest
    ) -> access_service_pb2.CheckAccessResponse:
        """Return whether the caller may do something, without doing it."""

    async def close(self) -> None:
        """Close all connections."""
