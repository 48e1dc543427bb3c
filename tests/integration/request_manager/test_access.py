from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import grpc
import pytest
from msgspec.structs import replace
from tests.integration.request_manager.conftest import Manager, SteeredRunner
from tests.integration.request_manager.refusal import reason

from spincycle.access.caller import Caller
from spincycle.access.config import AccessConfig, LimitsConfig
from spincycle.database.database import Database
from spincycle.internal.v1 import job_runner_service_pb2, read_access_service_pb2_grpc
from spincycle.internal.v1 import read_access_service_pb2 as reads
from spincycle.request_manager.config import RequestManagerConfig
from spincycle.rpc.caller_metadata import assertion_of, encode_caller
from spincycle.rpc.channel import open_channel
from spincycle.rpc.status import from_rpc_error
from spincycle.v1 import (
    access_service_pb2,
    access_service_pb2_grpc,
    request_manager_service_pb2_grpc,
    request_pb2,
    spec_pb2,
    spec_service_pb2,
    spec_service_pb2_grpc,
    state_pb2,
    status_pb2,
)
from spincycle.v1 import request_manager_service_pb2 as rpc

SPECS = """
sequences:
  deploy:
    request: true
    acl:
      - role: dev
        ops: [start, stop]
      - role: watcher
        ops: [view]
    args:
      required:
        - name: ms
    nodes:
      rest:
        category: job
        type: sleep
        args:
          - expected: duration
            given: ms
  wipe:
    request: true
    acl:
      - role: ops
        admin: true
    args:
      required:
        - name: ms
    nodes:
      rest:
        category: job
        type: sleep
        args:
          - expected: duration
            given: ms
"""

ADMIN = Caller("root", ("admin",), "token-file")
DEV = Caller("dana", ("dev",), "token-file")
WATCHER = Caller("wim", ("watcher",), "token-file")
OPS = Caller("otto", ("ops",), "token-file")
STRANGER = Caller("eve", ("sales",), "token-file")
PORTAL = Caller("portal", ("portal", "dev"), "token-file")


@dataclass
class As:
    """The services of a request manager, called by one caller that a gateway passes on."""

    channel: grpc.aio.Channel
    caller: Caller
    stub: request_manager_service_pb2_grpc.RequestManagerServiceStub = field(init=False)

    def __post_init__(self) -> None:
        self.stub = request_manager_service_pb2_grpc.RequestManagerServiceStub(self.channel)
        self.specs = spec_service_pb2_grpc.SpecServiceStub(self.channel)
        self.access = access_service_pb2_grpc.AccessServiceStub(self.channel)

    async def call(self, method: str, request: Any) -> Any:
        stubs = (self.stub, self.specs, self.access)
        (stub,) = [stub for stub in stubs if hasattr(stub, method)]
        return await getattr(stub, method)(request, metadata=assertion_of(self.caller))

    async def create(self, type_: str = "deploy", **changes: Any) -> rpc.CreateResponse:
        request = rpc.CreateRequest(type=type_, **changes)
        request.args.update({"ms": "1"})
        created: rpc.CreateResponse = await self.call("Create", request)
        return created

    async def refusal(self, method: str, request: Any) -> str:
        """Return the reason for which a call is refused."""
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await self.call(method, request)
        return reason(failure)

    async def watch(self, request: rpc.WatchRequest) -> list[str]:
        """Return the requests of which a stream has events before it is synced."""
        seen: list[str] = []
        stream = self.stub.Watch(request, metadata=assertion_of(self.caller))
        async for response in stream:
            seen += [event.request_id for event in response.events]
            if response.synced:
                break
        stream.cancel()
        return seen

    async def listed(self, which: request_pb2.RequestFilter | None = None) -> list[str]:
        response = await self.call("List", rpc.ListRequest(filter=which))
        return [one.id for one in response.requests]


@dataclass
class Callers:
    """Makes calls as several callers."""

    channel: grpc.aio.Channel

    def __getitem__(self, caller: Caller) -> As:
        return As(self.channel, caller)


@pytest.fixture
def config(config: RequestManagerConfig) -> RequestManagerConfig:
    (config.specs_dir / "restricted.yaml").write_text(SPECS)
    return replace(config, access=AccessConfig(impersonator_roles=("portal",)))


@pytest.fixture
async def callers(manager: Manager) -> AsyncIterator[Callers]:
    async with open_channel(manager.config.internal.listen) as channel:
        yield Callers(channel)


async def rows(connection: asyncpg.Connection) -> int:
    return int(await connection.fetchval("SELECT count(*) FROM request_manager.requests"))


async def test_a_denied_request_is_not_stored_and_the_error_names_the_roles(
    callers: Callers, connection: asyncpg.Connection
) -> None:
    create = rpc.CreateRequest(type="deploy")
    create.args.update({"ms": "1"})

    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await callers[WATCHER].call("Create", create)

    assert failure.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert from_rpc_error(failure.value, "", "").message == (
        'the caller "wim" may not start requests of type deploy: no role of the caller has the '
        "operation (roles of the caller: watcher; roles that may: dev, admin)"
    )
    assert await callers[STRANGER].refusal("Create", create) == "ACCESS_DENIED"
    assert await callers[STRANGER].refusal("Plan", rpc.PlanRequest(type="wipe")) == "ACCESS_DENIED"
    assert await callers[DEV].refusal("Create", rpc.CreateRequest(type="none")) == "ACCESS_DENIED"
    assert await rows(connection) == 0


OF_CALLS = {
    "create_request",
    "get_args",
    "get_job_chain",
    "get_requests",
    "list_requests",
    "list_requests_of_types",
    "set_desired_states",
}
"""Statements of calls; others are those of background work."""


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the statements that the request manager executes for calls."""
    executed: list[str] = []
    run = Database._run_once

    async def record(self: Database, name: str, *args: Any) -> Any:
        executed.append(name)
        return await run(self, name, *args)

    monkeypatch.setattr(Database, "_run_once", record)
    return executed


async def test_access_costs_a_statement_only_where_the_type_is_not_at_hand(
    callers: Callers, statements: list[str]
) -> None:
    async def of(method: str, request: Any, caller: Caller = DEV) -> list[str]:
        statements.clear()
        await callers[caller].call(method, request)
        return [name for name in statements if name in OF_CALLS]

    request_id = (await callers[DEV].create()).request.id
    assert [name for name in statements if name in OF_CALLS] == ["create_request"]
    get = ["get_requests", "get_args"]
    assert await of("Get", rpc.GetRequest(request_id=request_id)) == get
    assert await of("List", rpc.ListRequest()) == ["list_requests_of_types"]
    assert await of("List", rpc.ListRequest(), ADMIN) == ["list_requests"]
    chain = rpc.GetJobChainRequest(request_id=request_id)
    assert await of("GetJobChain", chain) == ["get_requests", "get_job_chain"]
    assert await of("GetJobChain", chain, ADMIN) == ["get_job_chain"]
    stop = rpc.StopRequest(request_id=request_id)
    assert await of("Stop", stop) == ["get_requests", "set_desired_states", "get_requests"]


async def test_requests_are_created_in_the_name_of_the_caller(callers: Callers) -> None:
    assert (await callers[DEV].create(user="somebody")).request.user == "dana"
    assert (await callers[ADMIN].create("wipe")).request.user == "root"
    assert (await callers[STRANGER].create("nap")).request.user == "eve"


CONTROL = {
    "Start": rpc.StartRequest,
    "Stop": rpc.StopRequest,
    "Suspend": rpc.SuspendRequest,
    "Resume": rpc.ResumeRequest,
    "Rerun": rpc.RerunRequest,
    "Skip": rpc.SkipRequest,
}
READ = {
    "Get": rpc.GetRequest,
    "Explain": rpc.ExplainRequest,
    "GetJobChain": rpc.GetJobChainRequest,
}


def _message(kind: Any, request_id: str) -> Any:
    return kind(request_id=request_id, **({"job_ids": ["x"]} if kind is rpc.SkipRequest else {}))


@pytest.mark.parametrize("method", CONTROL)
async def test_no_operation_changes_a_request_that_the_caller_may_only_view(
    callers: Callers, connection: asyncpg.Connection, method: str
) -> None:
    request_id = (await callers[DEV].create()).request.id
    message = _message(CONTROL[method], request_id)

    assert await callers[WATCHER].refusal(method, message) == "ACCESS_DENIED"
    assert await callers[STRANGER].refusal(method, message) == "REQUEST_NOT_FOUND"
    assert await connection.fetchval("SELECT desired_state FROM request_manager.requests") is None
    assert await rows(connection) == 1


@pytest.mark.parametrize("method", READ)
async def test_a_request_that_may_not_be_viewed_does_not_exist(
    callers: Callers, method: str
) -> None:
    request_id = (await callers[OPS].create("wipe")).request.id
    message = _message(READ[method], request_id)

    assert await callers[DEV].refusal(method, message) == "REQUEST_NOT_FOUND"
    assert await callers[OPS].call(method, message)
    assert await callers[ADMIN].call(method, message)


async def test_a_chain_that_may_not_be_viewed_is_not_streamed(callers: Callers) -> None:
    request_id = (await callers[OPS].create("wipe")).request.id
    message = rpc.StreamJobChainRequest(request_id=request_id)

    with pytest.raises(grpc.aio.AioRpcError) as failure:
        async for _ in callers[DEV].stub.StreamJobChain(message, metadata=assertion_of(DEV)):
            pass
    assert reason(failure) == "REQUEST_NOT_FOUND"


async def test_lists_show_what_the_caller_may_view(callers: Callers) -> None:
    deploy = (await callers[DEV].create()).request.id
    wipe = (await callers[OPS].create("wipe")).request.id
    nap = (await callers[STRANGER].create("nap")).request.id
    selected = request_pb2.RequestFilter

    assert await callers[ADMIN].listed() == [nap, wipe, deploy]
    assert await callers[DEV].listed() == [nap, deploy]
    assert await callers[OPS].listed() == [nap, wipe]
    assert await callers[STRANGER].listed() == [nap]
    assert await callers[DEV].listed(selected(type="wipe")) == []
    assert await callers[DEV].listed(selected(type="deploy")) == [deploy]
    assert await callers[DEV].listed(selected(user="otto")) == []
    assert await callers[DEV].listed(selected(states=[state_pb2.STATE_PENDING])) == [nap, deploy]
    assert await callers[DEV].listed(selected(states=[state_pb2.STATE_FAIL])) == []
    assert await callers[DEV].listed(selected(args={"ms": "1"})) == [nap, deploy]


async def test_pages_of_a_list_are_filled_with_what_the_caller_may_view(
    callers: Callers,
) -> None:
    mine = []
    for _ in range(3):
        await callers[OPS].create("wipe")
        mine.append((await callers[DEV].create()).request.id)
    request = rpc.ListRequest(page_size=2)

    first = await callers[DEV].call("List", request)
    request.page_token = first.next_page_token
    second = await callers[DEV].call("List", request)

    pages = [[one.id for one in page.requests] for page in (first, second)]
    assert pages == [[mine[2], mine[1]], [mine[0]]]


async def test_concurrent_lists_of_callers_who_may_view_different_requests_are_not_shared(
    callers: Callers,
) -> None:
    deploy = (await callers[DEV].create()).request.id
    wipe = (await callers[OPS].create("wipe")).request.id
    expected = {ADMIN: [wipe, deploy], DEV: [deploy], OPS: [wipe], STRANGER: []}

    for _ in range(3):
        calls = {
            caller: callers[caller].stub.List(rpc.ListRequest(), metadata=assertion_of(caller))
            for caller in expected
        }
        for caller, call in calls.items():
            assert [one.id for one in (await call).requests] == expected[caller]


async def test_streams_show_what_the_caller_may_view(callers: Callers) -> None:
    deploy = (await callers[DEV].create()).request.id
    wipe = (await callers[OPS].create("wipe")).request.id

    assert sorted(await callers[ADMIN].watch(rpc.WatchRequest())) == sorted([deploy, wipe])
    assert await callers[DEV].watch(rpc.WatchRequest()) == [deploy]
    assert await callers[STRANGER].watch(rpc.WatchRequest()) == []
    assert await callers[DEV].watch(rpc.WatchRequest(request_ids=[deploy])) == [deploy]
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await callers[DEV].watch(rpc.WatchRequest(request_ids=[deploy, wipe]))
    assert reason(failure) == "REQUEST_NOT_FOUND"


async def test_an_open_stream_gets_no_event_of_requests_that_may_not_be_viewed(
    callers: Callers,
) -> None:
    stream = callers[DEV].stub.Watch(rpc.WatchRequest(), metadata=assertion_of(DEV))
    async for response in stream:
        if response.synced:
            cursor = response.cursor
            break
    wipe = (await callers[OPS].create("wipe")).request.id
    deploy = (await callers[DEV].create()).request.id
    seen: list[str] = []
    async for response in stream:
        seen += [event.request_id for event in response.events]
        if deploy in seen:
            break
    stream.cancel()
    assert wipe not in seen

    replayed = await callers[DEV].watch(rpc.WatchRequest(cursor=cursor))
    assert replayed.count(deploy) == 1
    assert wipe not in replayed


class BusyRunner(SteeredRunner):
    """A runner on which one job of each request runs."""

    async def ListRunning(self, request: Any, context: Any) -> Any:
        self.asked = request
        jobs = [
            status_pb2.JobStatus(request_id=request_id, job_id="job") for request_id in self.chains
        ]
        return job_runner_service_pb2.ListRunningResponse(jobs=jobs, total_size=len(jobs))


async def test_running_jobs_are_those_that_the_caller_may_view(
    manager: Manager, callers: Callers
) -> None:
    runner = await manager.register(BusyRunner("one"))
    deploy = (await callers[DEV].create()).request.id
    wipe = (await callers[OPS].create("wipe")).request.id
    for request_id in (deploy, wipe):
        await manager.until_state(request_id, state_pb2.STATE_RUNNING)

    async def running(caller: Caller, of_request: str = "") -> set[str]:
        request = rpc.ListRunningJobsRequest()
        request.filter.request_id = of_request
        response = await callers[caller].call("ListRunningJobs", request)
        assert response.has_running_requests == bool(response.status.jobs)
        assert set(response.status.requests) == {job.request_id for job in response.status.jobs}
        return set(response.status.requests)

    assert await running(ADMIN) == {deploy, wipe}
    assert await running(DEV) == {deploy}
    # The runner of this test ignores the selection, as those of older versions do.
    assert list(runner.asked.request_ids) == [deploy]
    assert await running(DEV, wipe) == set()
    assert await running(STRANGER) == set()


async def test_specs_are_those_that_the_caller_may_view_with_what_it_may_do(
    callers: Callers,
) -> None:
    async def specs(caller: Caller) -> dict[str, list[str]]:
        response = await callers[caller].call("ListSpecs", spec_service_pb2.ListSpecsRequest())
        return {one.name: list(one.allowed_operations) for one in response.specs}

    every = ["view", "start", "stop", "suspend", "resume", "rerun", "skip"]
    assert await specs(WATCHER) == {"deploy": ["view"], "nap": every, "one-nap": every}
    assert (await specs(DEV))["deploy"] == every
    assert (await specs(OPS))["wipe"] == every
    assert "deploy" not in await specs(OPS)
    assert set(await specs(ADMIN)) == {"deploy", "nap", "one-nap", "wipe"}


async def test_only_admins_lint_files_and_reload_specs(callers: Callers) -> None:
    lint = spec_service_pb2.LintRequest(files=[spec_pb2.SpecFile(path="x.yaml", content="")])
    reload = spec_service_pb2.ReloadSpecsRequest()

    assert await callers[OPS].refusal("Lint", lint) == "ACCESS_DENIED"
    assert await callers[OPS].refusal("ReloadSpecs", reload) == "ACCESS_DENIED"
    assert await callers[ADMIN].call("Lint", lint)
    assert await callers[ADMIN].call("ReloadSpecs", reload)


async def test_reasons_name_the_user(callers: Callers) -> None:
    first = (await callers[DEV].create()).request.id
    second = (await callers[DEV].create()).request.id

    stop = rpc.StopRequest(request_id=first, reason="wrong host")
    stopped = (await callers[DEV].call("Stop", stop)).request
    suspend = rpc.SuspendRequest(request_id=second)
    suspended = (await callers[DEV].call("Suspend", suspend)).request

    assert stopped.state_message == "stopped by dana: wrong host"
    assert suspended.state_message == "suspended by dana"


async def test_portals_create_requests_for_their_users(callers: Callers) -> None:
    created = await callers[PORTAL].create(user="ulla", idempotency_key="k")
    again = await callers[PORTAL].create(user="ulla", idempotency_key="k")
    of_other = await callers[PORTAL].create(user="bob", idempotency_key="k")
    own = await callers[PORTAL].create(idempotency_key="k")

    assert (created.request.user, created.existed) == ("ulla", False)
    assert (again.request.id, again.existed) == (created.request.id, True)
    assert (of_other.request.user, of_other.existed) == ("bob", False)
    assert (own.request.user, own.existed) == ("portal", False)


async def test_a_key_that_was_stored_without_a_user_is_found_for_every_caller(
    callers: Callers, connection: asyncpg.Connection
) -> None:
    first = (await callers[DEV].create(idempotency_key="old")).request.id
    await connection.execute("UPDATE request_manager.requests SET user_name = ''")

    again = await callers[DEV].create(idempotency_key="old")
    of_other = await callers[ADMIN].create(idempotency_key="old")

    assert (again.request.id, again.existed) == (first, True)
    assert (of_other.request.id, of_other.existed) == (first, True)

    # A key of the caller's own comes first.
    own = (await callers[ADMIN].create(idempotency_key="own")).request.id
    await connection.execute(
        "UPDATE request_manager.requests SET idempotency_key = 'old' WHERE request_id = $1", own
    )
    assert (await callers[ADMIN].create(idempotency_key="old")).request.id == own
    assert (await callers[DEV].create(idempotency_key="old")).request.id == first


async def test_callers_see_who_they_are_and_why_they_may(callers: Callers) -> None:
    caller = Caller("dana", ("dev", "on-call"), "oidc", expires_at=1_900_000_000.5)
    who = await callers[caller].call("WhoAmI", access_service_pb2.WhoAmIRequest())
    assert (who.name, list(who.roles), who.authenticator) == ("dana", ["dev", "on-call"], "oidc")
    assert who.expires_at.ToNanoseconds() == 1_900_000_000_500_000_000
    assert not who.admin
    assert (await callers[ADMIN].call("WhoAmI", access_service_pb2.WhoAmIRequest())).admin

    check = access_service_pb2.CheckAccessRequest
    stop = await callers[WATCHER].call(
        "CheckAccess", check(operation="stop", request_type="deploy")
    )
    assert (stop.allowed, stop.rule, list(stop.granting_roles)) == (
        False,
        "no-operation",
        ["dev", "admin"],
    )
    wipe = (await callers[OPS].create("wipe")).request.id
    of_request = check(operation="stop", request_id=wipe)
    assert (await callers[OPS].call("CheckAccess", of_request)).message == (
        f'the caller "otto" may stop request {wipe} of type wipe: role "ops" has the operation'
    )
    assert await callers[DEV].refusal("CheckAccess", of_request) == "REQUEST_NOT_FOUND"
    admin = await callers[DEV].call("CheckAccess", check(operation="admin"))
    assert (admin.allowed, list(admin.granting_roles)) == (False, ["admin"])
    for wrong in (
        check(operation="dance", request_type="deploy"),
        check(operation="stop"),
        check(operation="stop", request_type="deploy", request_id=wipe),
        check(operation="admin", request_type="deploy"),
    ):
        assert await callers[DEV].refusal("CheckAccess", wrong) == "INVALID_INPUT"


async def test_job_logs_learn_which_requests_a_caller_may_read(callers: Callers) -> None:
    deploy = (await callers[DEV].create()).request.id
    wipe = (await callers[OPS].create("wipe")).request.id
    stub = read_access_service_pb2_grpc.ReadAccessServiceStub(callers.channel)

    async def readable(caller: Caller) -> set[str]:
        request = reads.AuthorizeReadRequest(
            caller=encode_caller(caller), request_ids=[deploy, wipe, "unknown"]
        )
        return set((await stub.AuthorizeRead(request)).request_ids)

    assert await readable(DEV) == {deploy}
    assert await readable(ADMIN) == {deploy, wipe}
    assert await readable(STRANGER) == set()


class TestLimits:
    @pytest.fixture
    def config(self, config: RequestManagerConfig) -> RequestManagerConfig:
        limits = LimitsConfig(open_requests=2, requests_per_minute=4, streams=1)
        return replace(config, access=AccessConfig(limits=limits))

    async def test_callers_have_as_many_open_requests_as_they_may(
        self, callers: Callers, connection: asyncpg.Connection
    ) -> None:
        first = (await callers[DEV].create(idempotency_key="k")).request.id
        second = (await callers[DEV].create()).request.id
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await callers[DEV].create()
        assert reason(failure) == "TOO_MANY_OPEN_REQUESTS"
        assert await rows(connection) == 2
        assert (await callers[DEV].create(idempotency_key="k")).request.id == first
        await callers[OPS].create("wipe")

        await callers[DEV].call("Stop", rpc.StopRequest(request_id=second))
        await callers[DEV].create()
        rerun = rpc.RerunRequest(request_id=second)
        assert await callers[DEV].refusal("Rerun", rerun) == "TOO_MANY_CREATIONS"

    async def test_reruns_count_as_open_requests(self, callers: Callers) -> None:
        ids = [(await callers[DEV].create()).request.id for _ in range(2)]
        await callers[DEV].call("Stop", rpc.StopRequest(request_id=ids[0]))
        await callers[DEV].create()

        rerun = rpc.RerunRequest(request_id=ids[0])
        assert await callers[DEV].refusal("Rerun", rerun) == "TOO_MANY_OPEN_REQUESTS"

    async def test_callers_have_as_many_streams_as_they_may(self, callers: Callers) -> None:
        open_stream = callers[DEV].stub.Watch(rpc.WatchRequest(), metadata=assertion_of(DEV))
        await open_stream.read()
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await callers[DEV].watch(rpc.WatchRequest())
        assert reason(failure) == "TOO_MANY_STREAMS"
        assert await callers[OPS].watch(rpc.WatchRequest()) == []
        open_stream.cancel()
