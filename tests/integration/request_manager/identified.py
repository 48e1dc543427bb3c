"""A request manager that identifies its callers: by tokens, over a Unix socket."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace
from tests.integration.request_manager.conftest import (
    Coordination,
    Manager,
    ShelvedJobLog,
    SteeredRunner,
    running_manager,
    until,
)

from spincycle.dev.identity_tokens import IdentityTokens
from spincycle.identity.append_grants import GrantKeys
from spincycle.identity.service_identity import (
    DEFAULT_TRUST_DOMAIN,
    GATEWAY,
    JOB_LOG,
    JOB_RUNNER,
    REQUEST_MANAGER,
    ServiceIdentity,
)
from spincycle.request_manager.config import RequestManagerConfig
from spincycle.rpc.dialer import Dialer
from spincycle.runtime.config import IdentityConfig, InternalConfig, Secret

KEYS = {"new": bytes(range(32)), "old": bytes(32)}
"""Grant keys; the first one signs."""

GRANTS = GrantKeys(KEYS)

OWNER, STRANGER = "owner", "stranger"
"""Instances of the job runners that have a token."""


def spiffe_id(instance: str, service: str = JOB_RUNNER) -> str:
    return str(ServiceIdentity(DEFAULT_TRUST_DOMAIN, service, instance))


@dataclass
class Identified:
    """A request manager, and its coordination service as each caller reaches it.

    `manager.coordination` is the service for a caller without a token.
    """

    manager: Manager
    callers: dict[str, Coordination] = field(default_factory=dict)

    @property
    def owner(self) -> Coordination:
        return self.callers[OWNER]

    @property
    def stranger(self) -> Coordination:
        return self.callers[STRANGER]

    async def running(self, **changes: str) -> tuple[str, SteeredRunner]:
        """Return a request that is RUNNING on the only runner, "own", and that runner."""
        runner = await self.manager.register(SteeredRunner("own"), self.owner)
        request_id = (await self.manager.create(**changes)).request.id
        await until(lambda: request_id in runner.chains)
        await self.manager.until_state(request_id, 2)
        return request_id, runner


@asynccontextmanager
async def identified_manager(
    config: RequestManagerConfig, job_log: ShelvedJobLog
) -> AsyncIterator[Identified]:
    """Run a request manager that two job runners, a gateway and a job log may call."""
    tokens = IdentityTokens()
    shown = {
        OWNER: tokens.issue(JOB_RUNNER, OWNER),
        STRANGER: tokens.issue(JOB_RUNNER, STRANGER),
        GATEWAY: tokens.issue(GATEWAY),
        JOB_LOG: tokens.issue(JOB_LOG),
    }
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp")))
        keys = directory / "grant-keys"
        keys.write_text("".join(f"{id_} {key.hex()}\n" for id_, key in KEYS.items()))
        keys.chmod(0o600)
        internal = InternalConfig(listen=f"unix:{directory}/internal", tokens=dict(tokens.known()))
        config = replace(config, internal=internal, append_grant_keys=keys)
        manager = await stack.enter_async_context(running_manager(config, job_log))
        identified = Identified(manager)
        for name, token in shown.items():
            dial = Dialer(IdentityConfig(token=Secret(token))).to(REQUEST_MANAGER)
            channel = await stack.enter_async_context(dial(internal.listen))
            identified.callers[name] = Coordination(channel)
        yield identified
