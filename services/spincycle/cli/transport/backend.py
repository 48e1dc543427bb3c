"""What spinc asks of the services, whichever way it reaches them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from spincycle.v1 import (
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
    """Which journal entries of a request are wanted.

    Attributes:
        job_id: only those of this job; empty means of all.
        failed_only: only those that ended in failure.
        without_output: leave standard output, standard error and job data out.
    """

    job_id: str = ""
    failed_only: bool = False
    without_output: bool = False


class Backend(Protocol):
    """The services. Every method raises SpinCycleError when its call fails."""

    async def specs(self) -> list[spec_pb2.RequestSpec]:
        """What can be created, by name."""

    async def create(self, wish: request_manager_service_pb2.CreateRequest) -> request_pb2.Request:
        """Make a request; with an idempotency key, a lost answer is asked for again."""

    async def plan(self, wish: request_manager_service_pb2.PlanRequest) -> plan_pb2.Plan:
        """What `create` would do."""

    async def get(self, request_id: str) -> request_pb2.Request:
        """One request with its arguments."""

    async def find(
        self, wanted: request_pb2.RequestFilter, limit: int
    ) -> list[request_pb2.Request]:
        """The newest `limit` requests that match, or all of them if it is 0."""

    async def stop(self, request_id: str, reason: str) -> request_pb2.Request:
        """End a request for good."""

    async def suspend(self, request_id: str, reason: str) -> request_pb2.Request:
        """Halt a request so that it can be resumed."""

    async def resume(self, request_id: str) -> request_pb2.Request:
        """Let a suspended request go on."""

    async def rerun(self, request_id: str, job_ids: list[str], key: str) -> request_pb2.Request:
        """Make a new request that runs what the old one did not complete."""

    async def skip(
        self, request_id: str, job_id: str, reason: str, key: str
    ) -> request_pb2.Request:
        """Make a new request in which the failed job counts as done."""

    async def explain(self, request_id: str) -> request_manager_service_pb2.ExplainResponse:
        """What the request and its jobs wait for."""

    async def running(self, request_id: str) -> request_manager_service_pb2.ListRunningJobsResponse:
        """The jobs that are being run, of one request or of all if it is empty."""

    async def job_chain(self, request_id: str) -> job_chain_pb2.JobChain:
        """The chain of a request as it was created, however large."""

    def watch(
        self, request_id: str, cursor: str, requests_only: bool = False
    ) -> AsyncIterator[request_event_pb2.RequestEvent]:
        """Changes of a request from a cursor on, or from a snapshot if it is empty."""

    def entries(self, request_id: str, wanted: EntryFilter) -> AsyncIterator[job_log_pb2.JobLog]:
        """Stored journal entries of a request, in journal order."""

    def tail(
        self, request_id: str, after_position: int, follow: bool, live_output: bool = False
    ) -> AsyncIterator[job_log_pb2.JobLog | job_output_pb2.JobOutput]:
        """Journal entries of a request after a position, and with `follow` those to come.

        With `live_output` also what running tries print. Pieces overlap after a reconnection,
        and may lack the end of what a try printed, which is in its entry.
        """

    async def close(self) -> None:
        """Let go of all connections."""
