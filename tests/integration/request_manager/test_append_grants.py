"""Chains are sent with the grants that entitle their runner to append entries of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from msgspec.structs import replace
from tests.identities import Authority
from tests.integration.request_manager.conftest import ShelvedJobLog, SteeredRunner, until
from tests.integration.request_manager.identified import (
    GRANTS,
    KEYS,
    OWNER,
    STRANGER,
    identified_manager,
    spiffe_id,
)

from spincycle.dev.ports import free_port
from spincycle.identity.append_grants import AppendGrant, GrantKeys
from spincycle.internal.v1 import (
    append_grant_pb2,
    job_runner_service_pb2,
    job_runner_service_pb2_grpc,
)
from spincycle.internal.v1 import runner_coordination_service_pb2 as coordination_pb2
from spincycle.request_manager.config import RequestManagerConfig
from spincycle.request_manager.process import serve
from spincycle.request_manager.runners.client import RunnerClient
from spincycle.request_manager.storage.heartbeats import HeartbeatId
from spincycle.request_manager.storage.model import Assignment, Runner
from spincycle.runtime.config import ConfigError, InternalConfig
from spincycle.runtime.process import Shutdown
from spincycle.v1 import job_chain_pb2, suspended_job_chain_pb2
from spincycle.wire.chain_parts import WHOLE_UP_TO

SMALL = job_chain_pb2.JobChain(request_id="small")
LARGE = job_chain_pb2.JobChain(
    request_id="r1",
    jobs=[job_chain_pb2.Job(id="aaaa", bytes=bytes(WHOLE_UP_TO)), job_chain_pb2.Job(id="bbbb")],
)
ASSIGNED = [Assignment(f"r{number}", "runner", number, resumed=False) for number in (1, 2)]


class Recorder(job_runner_service_pb2_grpc.JobRunnerServiceServicer):
    """Accepts chains, and keeps the grants that come with them by request and epoch."""

    def __init__(self) -> None:
        self.grants: list[append_grant_pb2.AppendGrant] = []
        self.parts: list[bool] = []
        self.chains: list[str] = []

    async def RunChains(self, request: Any, context: Any) -> Any:
        self.chains += [one.job_chain.request_id for one in request.assignments]
        self.grants += [one.append_grant for one in request.assignments]
        return job_runner_service_pb2.RunChainsResponse()

    async def ResumeChains(self, request: Any, context: Any) -> Any:
        self.grants += request.append_grants
        return job_runner_service_pb2.ResumeChainsResponse()

    async def UploadChain(self, request_iterator: Any, context: Any) -> Any:
        async for part in request_iterator:
            self.parts.append(part.HasField("append_grant"))
            if self.parts[-1]:
                self.grants.append(part.append_grant)
        return job_runner_service_pb2.UploadChainResponse()


@pytest.fixture
async def recorder() -> AsyncIterator[tuple[Recorder, str]]:
    recorder = Recorder()
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 64 * 1024 * 1024)])
    job_runner_service_pb2_grpc.add_JobRunnerServiceServicer_to_server(recorder, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield recorder, f"127.0.0.1:{port}"
    await server.stop(0)


def client_of(address: str, identity: str = spiffe_id(OWNER)) -> RunnerClient:
    runner = Runner(
        runner_id="runner",
        address=address,
        max_chains=0,
        max_jobs=0,
        chains=0,
        jobs=0,
        draining=False,
        journal_lag=0.0,
        heartbeat=HeartbeatId("observer", 1),
        requests=0,
        identity=identity,
    )
    return RunnerClient(runner, timeout=20.0, grants=lambda: GRANTS)


def problem_of(shown: append_grant_pb2.AppendGrant, runner: str = OWNER) -> str:
    """Return why a job log would refuse a grant; empty for a valid one."""
    grant = AppendGrant(shown.request_id, shown.epoch, shown.key_id, shown.code)
    return GRANTS.verify(grant, spiffe_id(runner))


def suspended(request_id: str, chain: job_chain_pb2.JobChain) -> bytes:
    state = suspended_job_chain_pb2.SuspendedJobChain(request_id=request_id, job_chain=chain)
    return state.SerializeToString()


async def test_each_chain_has_the_grant_of_its_assignment(recorder: tuple[Recorder, str]) -> None:
    servicer, address = recorder
    client = client_of(address)

    ran = await client.run(dict.fromkeys(ASSIGNED, SMALL.SerializeToString()))
    resumed = await client.resume({one: suspended(one.request_id, SMALL) for one in ASSIGNED})
    await client.close()

    assert ran.accepted == resumed.accepted == ASSIGNED
    assert servicer.chains == ["small", "small"]
    assert [(one.request_id, one.epoch) for one in servicer.grants] == [("r1", 1), ("r2", 2)] * 2
    assert {problem_of(grant) for grant in servicer.grants} == {""}
    assert "" not in {problem_of(grant, STRANGER) for grant in servicer.grants}


async def test_a_chain_in_parts_has_the_grant_in_its_first_part(
    recorder: tuple[Recorder, str],
) -> None:
    servicer, address = recorder
    client = client_of(address)

    await client.run({ASSIGNED[0]: LARGE.SerializeToString()})
    await client.resume({ASSIGNED[1]: suspended("r2", LARGE)})
    await client.close()

    assert servicer.parts.count(True) == 2
    assert len(servicer.parts) > 2
    assert servicer.parts[0]
    assert [problem_of(grant) for grant in servicer.grants] == ["", ""]


async def test_a_runner_without_identity_gets_no_grants(recorder: tuple[Recorder, str]) -> None:
    servicer, address = recorder
    client = client_of(address, identity="")

    await client.run({ASSIGNED[0]: SMALL.SerializeToString()})
    await client.resume({ASSIGNED[0]: suspended("r1", SMALL)})
    await client.run({ASSIGNED[0]: LARGE.SerializeToString()})
    await client.close()

    assert servicer.grants == [append_grant_pb2.AppendGrant()]
    assert not any(servicer.parts)


class Granted(SteeredRunner):
    """Keeps the grants of its chains."""

    def __init__(self, runner_id: str) -> None:
        super().__init__(runner_id)
        self.grants: list[append_grant_pb2.AppendGrant] = []

    async def RunChains(self, request: Any, context: Any) -> Any:
        self.grants += [one.append_grant for one in request.assignments]
        return await super().RunChains(request, context)


async def test_the_runner_of_a_request_gets_a_grant_for_its_identity_under_the_current_key(
    config: RequestManagerConfig, job_log: tuple[ShelvedJobLog, str]
) -> None:
    async with identified_manager(config, job_log[0]) as identified:
        runner = await identified.manager.register(Granted("own"), identified.owner)
        await identified.manager.create()
        await until(lambda: runner.grants)
        assert problem_of(runner.grants[0]) == ""
        assert runner.grants[0].key_id == "new"

        path = identified.manager.config.append_grant_keys
        assert path is not None
        path.write_text(f"newest {'11' * 32}\nnew {KEYS['new'].hex()}\n")

        async def has_newest() -> bool:
            await identified.manager.create()
            return any(grant.key_id == "newest" for grant in runner.grants)

        await until(has_newest)
    newest = GrantKeys({"newest": b"\x11" * 32})
    shown = runner.grants[-1]
    grant = AppendGrant(shown.request_id, shown.epoch, shown.key_id, shown.code)
    assert newest.verify(grant, spiffe_id(OWNER)) == ""


@pytest.mark.parametrize("means", ["tokens", "certificates"])
async def test_a_request_manager_that_identifies_its_callers_does_not_start_without_grant_keys(
    config: RequestManagerConfig, tmp_path: Path, means: str
) -> None:
    if means == "tokens":
        tokens = {"00" * 32: spiffe_id(OWNER)}
        internal = InternalConfig(listen=f"unix:{tmp_path}/internal", tokens=tokens)
    else:
        authority = Authority(tmp_path / "authority")
        internal = authority.internal(f"127.0.0.1:{free_port()}", "request-manager")

    with pytest.raises(ConfigError, match="append_grant_keys"):
        async with asyncio.timeout(20):
            await serve(replace(config, internal=internal), Shutdown())


async def test_an_address_outside_of_the_allowed_networks_is_refused(
    config: RequestManagerConfig, job_log: tuple[ShelvedJobLog, str]
) -> None:
    async with identified_manager(config, job_log[0]) as identified:
        register = coordination_pb2.RegisterRequest(runner_id="own", address="169.254.169.254:80")
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await identified.owner.Register(register)
        assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "runner_networks" in (failure.value.details() or "")
        # The id is still free.
        register.address = "127.0.0.1:1"
        await identified.stranger.Register(register)
