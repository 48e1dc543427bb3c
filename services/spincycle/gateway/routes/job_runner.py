"""The routes of the original's job runner, which its request managers call."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from spincycle.gateway.backends import ServiceClient
from spincycle.gateway.decode import decode
from spincycle.gateway.exchange import HttpRequest, HttpResponse, nothing
from spincycle.gateway.failures import HttpError
from spincycle.gateway.router import Route
from spincycle.gateway.routes.running import REQUEST_ID, version_route
from spincycle.internal.v1 import job_runner_service_pb2 as jr
from spincycle.internal.v1.job_runner_service_pb2_grpc import JobRunnerServiceStub
from spincycle.rest_codec.encoding import to_text
from spincycle.rest_codec.messages import JOB_CHAIN, JOB_STATUS, SUSPENDED_JOB_CHAIN
from spincycle.rest_codec.tables import ListOf
from spincycle.rpc.status import from_message
from spincycle.v1 import status_pb2

CHAINS = "/api/v1/job-chains"


class JobRunnerRoutes:
    """Run, resume and stop chains on one runner.

    Args:
        job_runner: the runner.
        base_url: URL of the listener of these routes, which a Location begins with.
    """

    def __init__(self, job_runner: ServiceClient[JobRunnerServiceStub], base_url: str) -> None:
        self._runner = job_runner
        self._base_url = base_url.rstrip("/")

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            Route(
                "POST", CHAINS, self.run, "run a new chain",
                body=JOB_CHAIN, failures=(400, 409, 415), of_original=True,
            ),
            Route(
                "POST", CHAINS + "/resume", self.resume, "go on with a chain",
                body=SUSPENDED_JOB_CHAIN, failures=(400, 409, 415), of_original=True,
            ),
            Route(
                "PUT", CHAINS + "/{request_id}/stop", self.stop, "stop a chain", failures=(404,),
                of_original=True,
            ),
            Route(
                "GET", "/api/v1/status/running", self.running, "the jobs that this runner runs",
                answer=ListOf(JOB_STATUS), parameters=(REQUEST_ID,),
            ),
            version_route(),
        ]  # fmt: skip

    async def run(self, call: HttpRequest) -> HttpResponse:
        """200, nothing, and where the chain is."""
        chain = await decode(call, JOB_CHAIN)
        asked = jr.RunChainsRequest(
            runner_id=await self._runner_id(), assignments=[jr.Assignment(job_chain=chain)]
        )
        answer = await self._runner.ask(self._runner.stub.RunChains, asked)
        return self._taken(chain.request_id, answer.refusals)

    async def resume(self, call: HttpRequest) -> HttpResponse:
        """200, nothing, and where the chain is."""
        saved = await decode(call, SUSPENDED_JOB_CHAIN)
        if not saved.HasField("job_chain"):
            raise HttpError(400, "invalid proto.SuspendedJobChain: jobChain must be set")
        asked = jr.ResumeChainsRequest(
            runner_id=await self._runner_id(), suspended_job_chains=[saved]
        )
        answer = await self._runner.ask(self._runner.stub.ResumeChains, asked)
        return self._taken(saved.request_id, answer.refusals)

    async def _runner_id(self) -> str:
        # The original's request managers know runners by their URL alone.
        asked = jr.ListRunningRequest(filter=status_pb2.StatusFilter(limit=1))
        return (await self._runner.ask(self._runner.stub.ListRunning, asked)).runner_id

    def _taken(self, request_id: str, refusals: Iterable[jr.Refusal]) -> HttpResponse:
        for refusal in refusals:
            raise from_message(refusal.error)
        answer = nothing()
        answer.headers["Location"] = f"{self._base_url}{CHAINS}/{quote(request_id, safe='')}"
        return answer

    async def stop(self, call: HttpRequest) -> HttpResponse:
        """200 and nothing."""
        asked = jr.StopChainsRequest(request_ids=[call.params["request_id"]])
        answer = await self._runner.ask(self._runner.stub.StopChains, asked)
        if answer.unknown_request_ids:
            raise HttpError(404, "traverser not found")
        return nothing()

    async def running(self, call: HttpRequest) -> HttpResponse:
        """The jobs."""
        wanted = status_pb2.StatusFilter(request_id=call.first("requestId"))
        asked = jr.ListRunningRequest(filter=wanted)
        answer = await self._runner.ask(self._runner.stub.ListRunning, asked)
        return HttpResponse(to_text([JOB_STATUS.encode(status) for status in answer.jobs]))
