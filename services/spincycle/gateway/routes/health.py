"""Whether the gateway lives, and whether it can do its work."""

from __future__ import annotations

import asyncio

from spincycle.gateway.backends import ServiceClients
from spincycle.gateway.exchange import HttpRequest, HttpResponse
from spincycle.gateway.router import Route
from spincycle.rest_codec.encoding import to_text


class HealthRoutes:
    """What load balancers and supervisors ask."""

    def __init__(self, backends: ServiceClients) -> None:
        self._checks = {
            backend.name: backend.is_serving
            for backend in (backends.request_manager, backends.job_log)
        }

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            Route("GET", "/healthz", self.healthy, "whether the process answers",
                  answer_type="application/json"),
            Route("GET", "/readyz", self.ready, "whether the services behind it can work",
                  answer_type="application/json", failures=(503,)),
        ]  # fmt: skip

    async def healthy(self, _: HttpRequest) -> HttpResponse:
        """200."""
        return HttpResponse(to_text({"status": "ok"}))

    async def ready(self, _: HttpRequest) -> HttpResponse:
        """200, or 503 if a service does not say that it can work; each is named."""
        serving = await asyncio.gather(*(check() for check in self._checks.values()))
        services = {
            name: "ok" if can else "not serving"
            for name, can in zip(self._checks, serving, strict=True)
        }
        status = "ok" if all(serving) else "not ready"
        body = to_text({"status": status, "services": services})
        return HttpResponse(body, 200 if all(serving) else 503)
