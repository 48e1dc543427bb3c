"""A job runner with a certificate of its own, which a test plays."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import grpc
from tests.security.installation import ROGUE, Installation

from spincycle.dev.ports import free_port
from spincycle.dev.services import local
from spincycle.identity.service_identity import (
    DEFAULT_TRUST_DOMAIN,
    JOB_RUNNER,
    REQUEST_MANAGER,
    ServiceIdentity,
)
from spincycle.internal.v1 import append_grant_pb2, job_runner_service_pb2_grpc
from spincycle.internal.v1 import job_runner_service_pb2 as runner_pb2
from spincycle.internal.v1 import runner_coordination_service_pb2 as coordination_pb2
from spincycle.internal.v1.runner_coordination_service_pb2_grpc import (
    RunnerCoordinationServiceStub,
)

IDENTITY = str(ServiceIdentity(DEFAULT_TRUST_DOMAIN, JOB_RUNNER, ROGUE))


@dataclass
class RogueRunner(job_runner_service_pb2_grpc.JobRunnerServiceServicer):
    """Accepts every chain, runs nothing, and keeps what it is sent.

    Attributes:
        manager: stub of the request manager, with the certificate of this runner.
        address: address at which it serves.
        runner_id: the runner id under which it registers.
        grants: grants that it was sent, by request id.
    """

    manager: Any
    address: str
    runner_id: str = field(default_factory=lambda: f"rogue-{secrets.token_hex(4)}")
    grants: dict[str, append_grant_pb2.AppendGrant] = field(default_factory=dict)

    async def register(self, runner_id: str | None = None, **changed: Any) -> None:
        """Register, by default for no job type of a request, so that nothing is assigned."""
        properties = {"address": self.address, "job_types": ["none"], **changed}
        await self.manager.Register(
            coordination_pb2.RegisterRequest(runner_id=self._named(runner_id), **properties)
        )

    async def beat(self, runner_id: str | None = None, **fields: Any) -> Any:
        """Send a heartbeat."""
        return await self.manager.Heartbeat(
            coordination_pb2.HeartbeatRequest(runner_id=self._named(runner_id), **fields)
        )

    async def report(
        self, report: coordination_pb2.RunnerReport, runner_id: str | None = None
    ) -> str:
        """Report; return the reason of the refusal, "" if the report was stored."""
        request = coordination_pb2.ReportRequest(runner_id=self._named(runner_id), reports=[report])
        response = await self.manager.Report(request)
        return str(response.results[0].refused.reason)

    def _named(self, runner_id: str | None) -> str:
        return self.runner_id if runner_id is None else runner_id

    async def RunChains(
        self, request: runner_pb2.RunChainsRequest, context: Any
    ) -> runner_pb2.RunChainsResponse:
        for assignment in request.assignments:
            self.grants[assignment.append_grant.request_id] = assignment.append_grant
        return runner_pb2.RunChainsResponse()


@asynccontextmanager
async def rogue_runner(installation: Installation) -> AsyncIterator[RogueRunner]:
    """Serve as a job runner that is not registered yet; let it leave in the end."""
    address = local(free_port())
    identity = installation.identity(JOB_RUNNER, ROGUE)
    assert identity.certificate
    assert identity.key
    assert identity.ca
    credentials = grpc.ssl_server_credentials(
        [(identity.key.read_bytes(), identity.certificate.read_bytes())],
        identity.ca.read_bytes(),
        require_client_auth=True,
    )
    async with installation.channel(REQUEST_MANAGER, identity) as channel:
        runner = RogueRunner(RunnerCoordinationServiceStub(channel), address)
        server = grpc.aio.server()
        job_runner_service_pb2_grpc.add_JobRunnerServiceServicer_to_server(runner, server)
        server.add_secure_port(address, credentials)
        await server.start()
        yield runner
        with suppress(grpc.aio.AioRpcError):
            await runner.beat(leaving=True)
        await server.stop(0)
