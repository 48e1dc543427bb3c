"""Route of the audit log."""

from __future__ import annotations

from spincycle.gateway.filters import UINT32_MAX, parse_number, parse_times
from spincycle.gateway.http_messages import HttpRequest, HttpResponse
from spincycle.gateway.paging import ListPage, joined
from spincycle.gateway.router import Parameter, Route
from spincycle.gateway.routes.requests import NEXT_PAGE
from spincycle.gateway.service_clients import ServiceClient
from spincycle.rest_codec.audit import AUDIT_ENTRY
from spincycle.rest_codec.encoding import to_text
from spincycle.rest_codec.tables import ListOf
from spincycle.v1 import audit_service_pb2 as pb
from spincycle.v1.audit_service_pb2_grpc import AuditServiceStub

DEFAULT_LIMIT = 100
"""Entries in a response if the caller sets no limit."""

PAGE_SIZE = 1000
"""Most entries that are read at once."""

PARAMETERS = (
    Parameter("requestId", "only entries about this request"),
    Parameter("caller", "only entries of this caller"),
    Parameter("operation", "only entries with this operation, for example stop", repeated=True),
    Parameter("denied", "true: only denied attempts"),
    Parameter("since", "only entries from this time on"),
    Parameter("until", "only entries before this time"),
    Parameter("limit", "most entries to return; 100 by default, 0 for all", type="integer"),
    Parameter(
        "page_token", f"return one page, at first with an empty token; then that of {NEXT_PAGE}"
    ),
)


class AuditRoutes:
    """Routes of the audit log, for callers with the operation admin."""

    def __init__(self, audit: ServiceClient[AuditServiceStub]) -> None:
        self._audit = audit

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(
                "GET", "/api/v1/audit", self.find, "list the audit log, newest first",
                response=ListOf(AUDIT_ENTRY), failures=(400,), parameters=PARAMETERS,
            ),
        ]  # fmt: skip

    async def find(self, http: HttpRequest) -> HttpResponse:
        """Return the matching entries, streamed page by page, or one page."""
        message = pb.ListAuditRequest()
        message.filter.request_id = http.first("requestId")
        message.filter.caller = http.first("caller")
        message.filter.operations.extend(http.query.get("operation", ()))
        message.filter.denied_only = http.first("denied") == "true"
        parse_times(http.query, message.filter)
        limit = parse_number(http.query, "limit") if http.first("limit") else DEFAULT_LIMIT
        if "page_token" in http.query:
            message.page_size = min(limit, UINT32_MAX)
            page = await self._page(message, http.first("page_token"))
            headers = {NEXT_PAGE: page.next_token} if page.next_token else {}
            return _private(HttpResponse(to_text(list(page.elements)), headers=headers))
        message.page_size = min(limit or PAGE_SIZE, PAGE_SIZE)
        first = await self._page(message, "")
        return _private(await joined(first, lambda token: self._page(message, token), b"[]", limit))

    async def _page(self, message: pb.ListAuditRequest, token: str) -> ListPage:
        message.page_token = token
        response = await self._audit.call(self._audit.stub.ListAudit, message)
        return ListPage(
            [AUDIT_ENTRY.encode(entry) for entry in response.entries], response.next_page_token
        )


def _private(response: HttpResponse) -> HttpResponse:
    """Keep a response out of caches, since it is for one caller."""
    response.headers["Cache-Control"] = "no-store"
    return response
