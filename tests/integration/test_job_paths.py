"""A request on twelve hosts of which one fails: everything that names a job names its host."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio
from tests.waiting import until

from spincycle.dev.services import FREE_PORTS, Content
from spincycle.dev.stack import Stack, StackConfig
from spincycle.rpc.channel import open_channel
from spincycle.v1 import job_log_service_pb2 as log
from spincycle.v1 import request_event_pb2, request_pb2, state_pb2, status_pb2, waiting_pb2
from spincycle.v1 import request_manager_service_pb2 as rpc
from spincycle.v1.job_log_service_pb2_grpc import JobLogServiceStub
from spincycle.v1.request_manager_service_pb2_grpc import RequestManagerServiceStub

pytestmark = pytest.mark.asyncio(loop_scope="module")

REPOSITORY = Path(__file__).parents[2]
JOBS = ("tests.integration.fleet_jobs:jobs",)
SPECS = """
sequences:
  fleet:
    request: true
    args: {required: [{name: hosts, type: list}, {name: gate}]}
    nodes:
      upgrade:
        category: sequence
        type: host
        each: [hosts:host]
        args: [{expected: gate, given: gate}]
  host:
    args: {required: [{name: host}, {name: gate}]}
    nodes:
      check:
        category: job
        type: check-host
        args: [{expected: host, given: host}, {expected: gate, given: gate}]
      verify:
        category: job
        type: verify-host
        args: [{expected: host, given: host}, {expected: gate, given: gate}]
        deps: [check]
"""

HOSTS = [f"h{number:02}" for number in range(1, 13)]


@dataclass
class Observed:
    """What was observed of the request, by where.

    Attributes:
        chain: path of each job by id.
    """

    chain: dict[str, str] = field(default_factory=dict)
    running: list[status_pb2.JobStatus] = field(default_factory=list)
    waits: list[waiting_pb2.WaitingJob] = field(default_factory=list)
    waits_without_runner: list[waiting_pb2.WaitingJob] = field(default_factory=list)
    output: dict[str, str] = field(default_factory=dict)
    live: list[request_event_pb2.RequestEvent] = field(default_factory=list)
    snapshot: list[status_pb2.JobStatus] = field(default_factory=list)
    replayed: list[request_event_pb2.RequestEvent] = field(default_factory=list)
    entries: dict[str, str] = field(default_factory=dict)
    ended: request_pb2.Request = field(default_factory=request_pb2.Request)

    def id_of(self, path: str) -> str:
        """Return the id of the job with a path."""
        (job_id,) = [job_id for job_id, known in self.chain.items() if known == path]
        return job_id


def paths_of(events: Iterable[request_event_pb2.RequestEvent]) -> dict[str, str]:
    return {event.job.job_id: event.job.path for event in events if event.HasField("job")}


class Fleet:
    """The services, with a request whose jobs wait for a gate."""

    def __init__(self, stack: Stack, gate: Path, manager: RequestManagerServiceStub) -> None:
        self.stack = stack
        self.gate = gate
        self.manager = manager
        self.request_id = ""

    async def create(self) -> str:
        create = rpc.CreateRequest(type="fleet")
        create.args.update({"hosts": HOSTS, "gate": str(self.gate)})
        return (await self.manager.Create(create)).request.id

    async def running(self) -> list[status_pb2.JobStatus]:
        response = await self.manager.ListRunningJobs(rpc.ListRunningJobsRequest())
        return list(response.status.jobs)

    async def all_run(self) -> bool:
        # The runner runs jobs before the row of their request says RUNNING.
        get = rpc.GetRequest(request_id=self.request_id)
        state = (await self.manager.Get(get)).request.state
        jobs = await self.running()
        started = sum(job.HasField("started_at") for job in jobs)
        return state == state_pb2.STATE_RUNNING and started == len(HOSTS)

    async def waits(self) -> list[waiting_pb2.WaitingJob]:
        explain = rpc.ExplainRequest(request_id=self.request_id)
        return list((await self.manager.Explain(explain)).jobs)

    async def watch(self, cursor: str = "") -> list[request_event_pb2.RequestEvent]:
        """Return the events of the request to its end."""
        watch = rpc.WatchRequest(request_ids=[self.request_id], cursor=cursor)
        return [event async for response in self.manager.Watch(watch) for event in response.events]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def observed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Observed]:
    home = tmp_path_factory.mktemp("paths")
    (home / "specs").mkdir()
    (home / "specs" / "fleet.yaml").write_text(SPECS)
    content = Content(home / "specs", JOBS, (REPOSITORY,))
    config = StackConfig(content, ports=FREE_PORTS, restarts=False)
    async with (
        Stack(config, _show) as stack,
        open_channel(stack.request_manager) as manager,
        open_channel(stack.job_log) as job_log,
    ):
        fleet = Fleet(stack, home / "gate", RequestManagerServiceStub(manager))
        yield await observe(fleet, JobLogServiceStub(job_log))


async def observe(fleet: Fleet, job_log: JobLogServiceStub) -> Observed:
    found = Observed()
    fleet.request_id = await fleet.create()
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(fleet.watch())
        await until(fleet.all_run)
        found.running = await fleet.running()
        found.waits = await fleet.waits()
        tail = job_log.Tail(
            log.TailRequest(request_id=fleet.request_id, follow=True, include_live_output=True)
        )
        async for response in tail:
            for event in response.events:
                if event.HasField("output"):
                    found.output[event.output.path] = event.output.data.decode()
            if len(found.output) == len(HOSTS):
                break
        tail.cancel()
        watch = rpc.WatchRequest(request_ids=[fleet.request_id])
        call = fleet.manager.Watch(watch)
        async for watched in call:
            if watched.events:
                found.snapshot = list(watched.events[0].snapshot.jobs)
                cursor = watched.events[0].cursor
                break
        call.cancel()
        fleet.gate.touch()
    found.live = watching.result()
    chain = await fleet.manager.GetJobChain(rpc.GetJobChainRequest(request_id=fleet.request_id))
    found.chain = {job.id: job.path for job in chain.job_chain.jobs}
    found.replayed = await fleet.watch(cursor)
    listed = await job_log.ListEntries(log.ListEntriesRequest(request_id=fleet.request_id))
    found.entries = {entry.job_id: entry.path for entry in listed.entries}
    get = rpc.GetRequest(request_id=fleet.request_id)
    found.ended = (await fleet.manager.Get(get)).request
    assert found.ended.state == state_pb2.STATE_FAIL
    await fleet.stack.stop("job-runner")
    fleet.request_id = await fleet.create()
    found.waits_without_runner = await fleet.waits()
    return found


def _show(name: str, line: str) -> None:
    sys.stdout.write(f"{name}: {line}\n")


async def test_the_state_message_names_the_host(observed: Observed) -> None:
    failed = observed.id_of("upgrade h05 / verify")

    assert observed.ended.state_message == (
        f"job upgrade h05 / verify ({failed}) failed: version differs"
    )


async def test_running_jobs_name_their_hosts(observed: Observed) -> None:
    assert sorted(job.path for job in observed.running) == [
        f"upgrade {host} / check" for host in HOSTS
    ]


async def test_an_explanation_names_the_hosts_of_waiting_jobs_and_of_their_parents(
    observed: Observed,
) -> None:
    (wait,) = [wait for wait in observed.waits if wait.path == "upgrade h05 / verify"]
    parent = observed.id_of("upgrade h05 / check")

    assert wait.message == f"waits for upgrade h05 / check ({parent}, RUNNING)"
    assert {wait.job_id: wait.path for wait in observed.waits}.items() <= observed.chain.items()


async def test_so_does_an_explanation_without_a_runner(observed: Observed) -> None:
    (wait,) = [
        wait for wait in observed.waits_without_runner if wait.path == "upgrade h05 / verify"
    ]

    assert wait.message.startswith("waits for upgrade h05 / check (")
    assert sorted(wait.path for wait in observed.waits_without_runner) == sorted(
        observed.chain.values()
    )


async def test_live_output_names_the_host(observed: Observed) -> None:
    assert observed.output == {
        f"upgrade {host} / check": f"upgrade {host} / check waits\n" for host in HOSTS
    }


async def test_events_name_the_host_live_in_a_snapshot_and_in_a_replay(
    observed: Observed,
) -> None:
    live, replayed = paths_of(observed.live), paths_of(observed.replayed)
    snapshot = {job.job_id: job.path for job in observed.snapshot}

    failed = observed.id_of("upgrade h05 / verify")
    assert live[failed] == replayed[failed] == "upgrade h05 / verify"
    assert snapshot[observed.id_of("upgrade h05 / check")] == "upgrade h05 / check"
    for found in (live, replayed, snapshot):
        assert len(found) >= len(HOSTS)
        assert found.items() <= observed.chain.items()


async def test_every_entry_of_the_journal_has_the_path_of_its_job(observed: Observed) -> None:
    assert observed.entries[observed.id_of("upgrade h05 / verify")] == "upgrade h05 / verify"
    assert observed.entries.items() <= observed.chain.items()
