"""Routes by which callers learn who they are, and what they may do."""

from __future__ import annotations

from spincycle.gateway.http_messages import HttpRequest, HttpResponse
from spincycle.gateway.router import Parameter, Route
from spincycle.gateway.service_clients import ServiceClient
from spincycle.rest_codec.access import ACCESS_CHECK, ME
from spincycle.rest_codec.encoding import to_text
from spincycle.v1 import access_service_pb2 as pb
from spincycle.v1.access_service_pb2_grpc import AccessServiceStub

OPERATION = Parameter(
    "operation",
    "view, start, stop, suspend, resume, rerun, skip, admin or impersonate",
)
TYPE = Parameter("type", "type of request")
REQUEST_ID = Parameter("requestId", "an existing request, in place of a type")


class AccessRoutes:
    """Routes of the caller itself."""

    def __init__(self, access: ServiceClient[AccessServiceStub]) -> None:
        self._access = access

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("GET", "/api/v1/me", self.me, "return the caller as it was authenticated",
                  response=ME),
            Route("GET", "/api/v1/access-check", self.check,
                  "decide whether the caller may do something, without doing it",
                  response=ACCESS_CHECK, failures=(400, 404),
                  parameters=(OPERATION, TYPE, REQUEST_ID)),
        ]  # fmt: skip

    async def me(self, _: HttpRequest) -> HttpResponse:
        """Return the caller."""
        response = await self._access.call(self._access.stub.WhoAmI, pb.WhoAmIRequest())
        return _private(to_text(ME.encode(response)))

    async def check(self, http: HttpRequest) -> HttpResponse:
        """Return the decision."""
        message = pb.CheckAccessRequest(
            operation=http.first(OPERATION.name),
            request_type=http.first(TYPE.name),
            request_id=http.first(REQUEST_ID.name),
        )
        response = await self._access.call(self._access.stub.CheckAccess, message)
        return _private(to_text(ACCESS_CHECK.encode(response)))


def _private(body: bytes) -> HttpResponse:
    """Return a response that no cache keeps, since it is for one caller."""
    return HttpResponse(body, headers={"Cache-Control": "no-store"})
