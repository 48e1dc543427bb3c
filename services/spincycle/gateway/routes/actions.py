"""What the original cannot do: plan, explain, suspend, resume, rerun, skip, check specs."""

from __future__ import annotations

from spincycle.errors import InvalidInput
from spincycle.gateway.backends import ServiceClient
from spincycle.gateway.decode import decode
from spincycle.gateway.exchange import HttpRequest, HttpResponse
from spincycle.gateway.router import Route
from spincycle.gateway.routes.requests import IDEMPOTENCY_KEY, LARGE, ONE, created, with_url
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


class ActionRoutes:
    """What gRPC has beyond the original, as REST."""

    def __init__(
        self,
        request_manager: ServiceClient[RequestManagerServiceStub],
        specs: ServiceClient[SpecServiceStub],
    ) -> None:
        self._manager = request_manager
        self._specs = specs

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            Route(
                "POST", "/api/v1/plans", self.plan, "what a create would do, without doing it",
                body=PLAN_REQUEST, answer=PLAN, failures=(400, 415),
            ),
            Route(
                "GET", ONE + "/explain", self.explain, "what a request and its jobs wait for",
                answer=EXPLANATION, failures=(404,),
            ),
            Route(
                "POST", ONE + "/suspend", self.suspend, "halt a request so that it can go on",
                body=REASON, answer=WATCHED_REQUEST, failures=(400, 404, 409, 415),
            ),
            Route(
                "POST", ONE + "/resume", self.resume, "let a suspended request go on",
                answer=WATCHED_REQUEST, failures=(404, 409),
            ),
            Route(
                "POST", ONE + "/rerun", self.rerun, "run what did not complete, as a new request",
                body=RERUN_REQUEST, answer=CREATED_REQUEST, status=201,
                failures=(400, 404, 409, 415), parameters=(IDEMPOTENCY_KEY,),
            ),
            Route(
                "POST", ONE + "/skip", self.skip, "take a failed job as done, as a new request",
                body=SKIP_REQUEST, answer=CREATED_REQUEST, status=201,
                failures=(400, 404, 409, 415), parameters=(IDEMPOTENCY_KEY,),
            ),
            Route(
                "POST", "/api/v1/lint", self.lint, "check spec files",
                body=LINT_REQUEST, answer=LINTED, failures=(400, 415),
            ),
            Route(
                "POST", "/api/v1/specs/reload", self.reload, "read the specs directory again",
                answer=RELOADED,
            ),
        ]  # fmt: skip

    async def plan(self, call: HttpRequest) -> HttpResponse:
        """The plan."""
        asked = await decode(call, PLAN_REQUEST)
        if not asked.type:
            raise InvalidInput("Type is empty, must be a request name", "type")
        asked.include_job_chain = True
        answer = await self._manager.ask(self._manager.stub.Plan, asked)
        is_large = answer.ByteSize() >= LARGE
        return HttpResponse(await off_loop(is_large, lambda: to_text(PLAN.encode(answer.plan))))

    async def explain(self, call: HttpRequest) -> HttpResponse:
        """The waits."""
        asked = rm.ExplainRequest(request_id=call.params["request_id"])
        answer = await self._manager.ask(self._manager.stub.Explain, asked)
        return HttpResponse(to_text(EXPLANATION.encode(answer)))

    async def suspend(self, call: HttpRequest) -> HttpResponse:
        """The request as it is now."""
        asked = await decode(call, REASON)
        asked.request_id = call.params["request_id"]
        answer = await self._manager.ask(self._manager.stub.Suspend, asked)
        return _shown(answer.request)

    async def resume(self, call: HttpRequest) -> HttpResponse:
        """The request as it is now."""
        asked = rm.ResumeRequest(request_id=call.params["request_id"])
        answer = await self._manager.ask(self._manager.stub.Resume, asked)
        return _shown(answer.request)

    async def rerun(self, call: HttpRequest) -> HttpResponse:
        """201 with the new request and where it is."""
        asked = await decode(call, RERUN_REQUEST)
        asked.request_id = call.params["request_id"]
        asked.idempotency_key = call.headers.get("idempotency-key", "")
        answer = await self._manager.ask(self._manager.stub.Rerun, asked)
        return created(answer.request)

    async def skip(self, call: HttpRequest) -> HttpResponse:
        """201 with the new request and where it is."""
        asked = await decode(call, SKIP_REQUEST)
        if not asked.job_ids or not asked.reason:
            raise InvalidInput(
                "jobId and reason must be given", "jobId" if asked.reason else "reason"
            )
        asked.request_id = call.params["request_id"]
        asked.idempotency_key = call.headers.get("idempotency-key", "")
        answer = await self._manager.ask(self._manager.stub.Skip, asked)
        return created(answer.request)

    async def lint(self, call: HttpRequest) -> HttpResponse:
        """The findings."""
        asked = await decode(call, LINT_REQUEST)
        answer = await self._specs.ask(self._specs.stub.Lint, asked)
        return HttpResponse(to_text(LINTED.encode(answer)))

    async def reload(self, _: HttpRequest) -> HttpResponse:
        """What is in force now."""
        answer = await self._specs.ask(
            self._specs.stub.ReloadSpecs, spec_service_pb2.ReloadSpecsRequest()
        )
        return HttpResponse(to_text(RELOADED.encode(answer)))


def _shown(request: request_pb2.Request) -> HttpResponse:
    return HttpResponse(to_text(WATCHED_REQUEST.encode(with_url(request))))
