"""Liveness and readiness of the gateway."""

from __future__ import annotations

import asyncio

from spincycle.gateway.http_messages import HttpRequest, HttpResponse
from spincycle.gateway.router import Route
from spincycle.gateway.service_clients import ServiceClients
from spincycle.rest_codec.encoding import to_text


class HealthRoutes:
    """Routes for load balancers and supervisors."""

    def __init__(self, clients: ServiceClients) -> None:
        self._checks = {
            backend.name: backend.is_serving
            for backend in (clients.request_manager, clients.job_log)
        }

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("GET", "/healthz", self.healthy, "return 200 while the process runs",
                  response_type="application/json", anonymous=True),
            Route("GET", "/readyz", self.ready,
                  "return 200 if the services behind the gateway are serving",
                  response_type="application/json", failures=(503,), anonymous=True),
        ]  # fmt: skip

    async def healthy(self, _: HttpRequest) -> HttpResponse:
        """Return 200."""
        return HttpResponse(to_text({"status": "ok"}))

    async def ready(self, _: HttpRequest) -> HttpResponse:
        """Return 200, or 503 if a service is not serving, with the state of each service."""
        serving = await asyncio.gather(*(check() for check in self._checks.values()))
        services = {
            name: "ok" if can else "not serving"
            for name, can in zip(self._checks, serving, strict=True)
        }
        status = "ok" if all(serving) else "not ready"
        body = to_text({"status": status, "services": services})
        return HttpResponse(body, 200 if all(serving) else 503)
