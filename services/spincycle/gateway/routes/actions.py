"""Routes that the original lacks: plan, explain, suspend, resume, rerun, skip, lint, reload."""

from __future__ import annotations

from spincycle.errors import InvalidInput
from spincycle.gateway.decode import decode
from spincycle.gateway.http_messages import HttpRequest, HttpResponse
from spincycle.gateway.router import Parameter, Route
from spincycle.gateway.routes.requests import IDEMPOTENCY_KEY, LARGE, ONE, created, with_url
from spincycle.gateway.service_clients import ServiceClient
from spincycle.rest_codec.encoding import to_text
from spincycle.rest_codec.extras import (
    EXPLANATION,
    LINT_REQUEST,
    LINTED,
    PLAN,
    PLAN_REQUEST,
    REASON,
    RELOADED,
    RERUN_REQUEST,
    SKIP_REQUEST,
    WATCHED_REQUEST,
)
from spincycle.rest_codec.messages import CREATED_REQUEST
from spincycle.runtime.off_loop import off_loop
from spincycle.v1 import request_manager_service_pb2 as rm
from spincycle.v1 import request_pb2, spec_service_pb2
from spincycle.v1.request_manager_service_pb2_grpc import RequestManagerServiceStub
from spincycle.v1.spec_service_pb2_grpc import SpecServiceStub

JOB_IDS = Parameter("jobId", "only this job", repeated=True)


class ActionRoutes:
    """Routes for the methods of the gRPC API that the original lacks."""

    def __init__(
        self,
        request_manager: ServiceClient[RequestManagerServiceStub],
        specs: ServiceClient[SpecServiceStub],
    ) -> None:
        self._manager = request_manager
        self._specs = specs

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(
                "POST", "/api/v1/plans", self.plan,
                "return what a create would run, without creating a request",
                body=PLAN_REQUEST, response=PLAN, failures=(400, 415),
            ),
            Route(
                "GET", ONE + "/explain", self.explain,
                "return what a request and its jobs wait for",
                response=EXPLANATION, failures=(400, 404), parameters=(JOB_IDS,),
            ),
            Route(
                "POST", ONE + "/suspend", self.suspend,
                "suspend a request so that it can be resumed",
                body=REASON, response=WATCHED_REQUEST, failures=(400, 404, 409, 415),
            ),
            Route(
                "POST", ONE + "/resume", self.resume, "resume a suspended request",
                response=WATCHED_REQUEST, failures=(404, 409),
            ),
            Route(
                "POST", ONE + "/rerun", self.rerun,
                "create a request that runs the incomplete jobs of this one",
                body=RERUN_REQUEST, response=CREATED_REQUEST, status=201,
                failures=(400, 404, 409, 415, 429), parameters=(IDEMPOTENCY_KEY,),
            ),
            Route(
                "POST", ONE + "/skip", self.skip,
                "create a request that continues as if a failed job were complete",
                body=SKIP_REQUEST, response=CREATED_REQUEST, status=201,
                failures=(400, 404, 409, 415, 429), parameters=(IDEMPOTENCY_KEY,),
            ),
            Route(
                "POST", "/api/v1/lint", self.lint, "check spec files",
                body=LINT_REQUEST, response=LINTED, failures=(400, 415),
            ),
            Route(
                "POST", "/api/v1/specs/reload", self.reload, "reload the specs directory",
                response=RELOADED,
            ),
        ]  # fmt: skip

    async def plan(self, http: HttpRequest) -> HttpResponse:
        """Return the plan."""
        message = await decode(http, PLAN_REQUEST)
        if not message.type:
            raise InvalidInput("Type is empty, must be a request name", "type")
        message.include_job_chain = True
        response = await self._manager.call(self._manager.stub.Plan, message)
        is_large = response.ByteSize() >= LARGE
        return HttpResponse(await off_loop(is_large, lambda: to_text(PLAN.encode(response.plan))))

    async def explain(self, http: HttpRequest) -> HttpResponse:
        """Return what the request and its jobs wait for."""
        message = rm.ExplainRequest(
            request_id=http.params["request_id"], job_ids=http.query.get("jobId", ())
        )
        response = await self._manager.call(self._manager.stub.Explain, message)
        return HttpResponse(to_text(EXPLANATION.encode(response)))

    async def suspend(self, http: HttpRequest) -> HttpResponse:
        """Suspend the request and return it."""
        message = await decode(http, REASON)
        message.request_id = http.params["request_id"]
        response = await self._manager.call(self._manager.stub.Suspend, message)
        return _shown(response.request)

    async def resume(self, http: HttpRequest) -> HttpResponse:
        """Resume the request and return it."""
        message = rm.ResumeRequest(request_id=http.params["request_id"])
        response = await self._manager.call(self._manager.stub.Resume, message)
        return _shown(response.request)

    async def rerun(self, http: HttpRequest) -> HttpResponse:
        """Return 201 with the new request and its location."""
        message = await decode(http, RERUN_REQUEST)
        message.request_id = http.params["request_id"]
        message.idempotency_key = http.headers.get("idempotency-key", "")
        response = await self._manager.call(self._manager.stub.Rerun, message)
        return created(response.request)

    async def skip(self, http: HttpRequest) -> HttpResponse:
        """Return 201 with the new request and its location."""
        message = await decode(http, SKIP_REQUEST)
        if not message.job_ids or not message.reason:
            raise InvalidInput(
                "jobId and reason must be given", "jobId" if message.reason else "reason"
            )
        message.request_id = http.params["request_id"]
        message.idempotency_key = http.headers.get("idempotency-key", "")
        response = await self._manager.call(self._manager.stub.Skip, message)
        return created(response.request)

    async def lint(self, http: HttpRequest) -> HttpResponse:
        """Return the findings."""
        message = await decode(http, LINT_REQUEST)
        response = await self._specs.call(self._specs.stub.Lint, message)
        return HttpResponse(to_text(LINTED.encode(response)))

    async def reload(self, _: HttpRequest) -> HttpResponse:
        """Reload the specs and return their revision."""
        response = await self._specs.call(
            self._specs.stub.ReloadSpecs, spec_service_pb2.ReloadSpecsRequest()
        )
        return HttpResponse(to_text(RELOADED.encode(response)))


def _shown(request: request_pb2.Request) -> HttpResponse:
    return HttpResponse(to_text(WATCHED_REQUEST.encode(with_url(request))))
