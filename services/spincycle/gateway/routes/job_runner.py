"""Routes of the original's job runner, called by the original's request managers."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from spincycle.gateway.decode import decode
from spincycle.gateway.error_responses import HttpError
from spincycle.gateway.http_messages import HttpRequest, HttpResponse, nothing
from spincycle.gateway.router import Route
from spincycle.gateway.routes.running import REQUEST_ID, version_route
from spincycle.gateway.service_clients import ServiceClient
from spincycle.internal.v1 import job_runner_service_pb2 as jr
from spincycle.internal.v1.job_runner_service_pb2_grpc import JobRunnerServiceStub
from spincycle.rest_codec.encoding import to_text
from spincycle.rest_codec.messages import JOB_CHAIN, JOB_STATUS, SUSPENDED_JOB_CHAIN
from spincycle.rest_codec.tables import ListOf
from spincycle.rpc.status import from_message
from spincycle.v1 import status_pb2

CHAINS = "/api/v1/job-chains"


class JobRunnerRoutes:
    """Routes to run, resume and stop chains on one runner.

    Args:
        job_runner: the runner.
        base_url: base URL of these routes in Location headers.
    """

    def __init__(self, job_runner: ServiceClient[JobRunnerServiceStub], base_url: str) -> None:
        self._runner = job_runner
        self._base_url = base_url.rstrip("/")

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(
                "POST", CHAINS, self.run, "run a new chain",
                body=JOB_CHAIN, failures=(400, 409, 415), of_original=True,
            ),
            Route(
                "POST", CHAINS + "/resume", self.resume, "resume a suspended chain",
                body=SUSPENDED_JOB_CHAIN, failures=(400, 409, 415), of_original=True,
            ),
            Route(
                "PUT", CHAINS + "/{request_id}/stop", self.stop, "stop a chain", failures=(404,),
                of_original=True,
            ),
            Route(
                "GET", "/api/v1/status/running", self.running,
                "list the running jobs of this runner",
                response=ListOf(JOB_STATUS), parameters=(REQUEST_ID,),
            ),
            version_route(),
        ]  # fmt: skip

    async def run(self, http: HttpRequest) -> HttpResponse:
        """Return an empty 200 with the location of the chain."""
        chain = await decode(http, JOB_CHAIN)
        message = jr.RunChainsRequest(
            runner_id=await self._runner_id(), assignments=[jr.Assignment(job_chain=chain)]
        )
        response = await self._runner.call(self._runner.stub.RunChains, message)
        return self._taken(chain.request_id, response.refusals)

    async def resume(self, http: HttpRequest) -> HttpResponse:
        """Return an empty 200 with the location of the chain."""
        saved = await decode(http, SUSPENDED_JOB_CHAIN)
        if not saved.HasField("job_chain"):
            raise HttpError(400, "invalid proto.SuspendedJobChain: jobChain must be set")
        message = jr.ResumeChainsRequest(
            runner_id=await self._runner_id(), suspended_job_chains=[saved]
        )
        response = await self._runner.call(self._runner.stub.ResumeChains, message)
        return self._taken(saved.request_id, response.refusals)

    async def _runner_id(self) -> str:
        # The original's request managers address a runner by its URL only.
        message = jr.ListRunningRequest(filter=status_pb2.StatusFilter(limit=1))
        return (await self._runner.call(self._runner.stub.ListRunning, message)).runner_id

    def _taken(self, request_id: str, refusals: Iterable[jr.Refusal]) -> HttpResponse:
        for refusal in refusals:
            raise from_message(refusal.error)
        response = nothing()
        response.headers["Location"] = f"{self._base_url}{CHAINS}/{quote(request_id, safe='')}"
        return response

    async def stop(self, http: HttpRequest) -> HttpResponse:
        """Return an empty 200."""
        message = jr.StopChainsRequest(request_ids=[http.params["request_id"]])
        response = await self._runner.call(self._runner.stub.StopChains, message)
        if response.unknown_request_ids:
            raise HttpError(404, "traverser not found")
        return nothing()

    async def running(self, http: HttpRequest) -> HttpResponse:
        """Return the running jobs."""
        status_filter = status_pb2.StatusFilter(request_id=http.first("requestId"))
        message = jr.ListRunningRequest(filter=status_filter)
        response = await self._runner.call(self._runner.stub.ListRunning, message)
        return HttpResponse(to_text([JOB_STATUS.encode(status) for status in response.jobs]))
