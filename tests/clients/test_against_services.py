"""What every client program does, against real services that are killed under it."""

from __future__ import annotations

import re
import signal
import uuid
from pathlib import Path

import pytest
from tests.chaos.cluster import Cluster
from tests.chaos.member import Member
from tests.clients.conftest import Start
from tests.clients.programs import Run, every_program
from tests.waiting import until

from spincycle.rpc.channel import open_channel
from spincycle.v1 import request_manager_service_pb2 as rm
from spincycle.v1.request_manager_service_pb2_grpc import RequestManagerServiceStub

pytestmark = [every_program, pytest.mark.asyncio(loop_scope="package")]

_KEEPER = Path(__file__).parent / "wait_for"
_UNKNOWN = "00000000000000000000"


@pytest.fixture
def key() -> str:
    """An idempotency key that nobody else uses."""
    return uuid.uuid4().hex


def id_in(run: Run) -> str:
    """The request that a program has said to have made."""
    found = re.search(r"^request (\w{20})$", run.stdout, re.MULTILINE)
    assert found, run
    return found[1]


async def created(start: Start, pace: int) -> str:
    """A request that runs, made by a program that is left."""
    run = await start("run", "walk", f"pace={pace}", "greeting=hello")
    await run.until_says("first-step RUNNING")
    run.interrupt()
    assert await run.ended() == 130, run
    return id_in(run)


async def runner_of(cluster: Cluster, request_id: str) -> Member:
    """The process that runs a request, once it is known."""
    members = {member.service.address: member for member in cluster.job_runners}
    async with open_channel(cluster.request_manager) as channel:
        manager = RequestManagerServiceStub(channel)

        async def address() -> str:
            asked = rm.GetRequest(request_id=request_id)
            return (await manager.Get(asked, wait_for_ready=True)).request.runner_address

        await until(address)
        return members[await address()]


async def restart(member: Member) -> None:
    """Kill a process, and start it again."""
    await member.kill()
    member.start()
    await member.until_ready()


async def test_a_request_is_made_watched_to_its_end_and_its_log_printed(start: Start) -> None:
    run = await start("run", "walk", "pace=1", "greeting=well done")

    assert await run.ended() == 0, run
    request_id = id_in(run)
    assert f"{request_id} COMPLETE" in run.lines
    assert re.search(r"^\w{4} greet COMPLETE try 1$", run.stdout, re.MULTILINE), run
    assert re.search(r"^log \w{4} greet COMPLETE try 1\n  well done$", run.stdout, re.MULTILINE), (
        run
    )
    assert re.fullmatch(r"ended COMPLETE (\d+)/\1", run.lines[-1]), run


async def test_the_same_key_makes_one_request(start: Start, key: str) -> None:
    words = ("run", "walk", "pace=1", "greeting=hello", f"--key={key}")

    runs = [await start(*words), await start(*words)]

    assert [await run.ended() for run in runs] == [0, 0], runs
    assert id_in(runs[0]) == id_in(runs[1])


async def test_a_key_with_other_content_is_refused_and_the_first_request_named(
    start: Start, key: str
) -> None:
    first = await start("run", "walk", "pace=1", "greeting=one", f"--key={key}")
    await first.ended()

    second = await start("run", "walk", "pace=1", "greeting=two", f"--key={key}")

    assert await second.ended() == 2, second
    assert "error: IDEMPOTENCY_CONFLICT: " in second.stderr
    assert f"watch {id_in(first)}, or take a new key" in second.stderr


async def test_an_unknown_type_is_reported_with_its_field(start: Start) -> None:
    run = await start("run", "wlak")

    assert await run.ended() == 2, run
    assert "error: UNKNOWN_REQUEST_TYPE: " in run.stderr
    assert re.search(r"^  type: .*wlak", run.stderr, re.MULTILINE), run


async def test_every_wrong_argument_is_reported_by_name(start: Start) -> None:
    run = await start("run", "walk", "pace=1", "place=here")

    assert await run.ended() == 2, run
    assert "error: INVALID_ARGS: " in run.stderr
    assert re.search(r"^  args\.greeting: ", run.stderr, re.MULTILINE), run
    assert re.search(r"^  args\.place: ", run.stderr, re.MULTILINE), run


@pytest.mark.parametrize("verb", ["watch", "stop"])
async def test_a_request_that_does_not_exist_is_reported(start: Start, verb: str) -> None:
    run = await start(verb, _UNKNOWN)

    assert await run.ended() == 2, run
    assert f"error: REQUEST_NOT_FOUND: request {_UNKNOWN} not found" in run.stderr


async def test_a_request_is_suspended_resumed_and_stopped(start: Start) -> None:
    watching = await start("run", "walk", "pace=60000", "greeting=never")
    await watching.until_says("first-step RUNNING")
    request_id = id_in(watching)

    assert await (await start("suspend", request_id)).ended() == 0
    await watching.until_says(f"{request_id} SUSPENDED")
    assert await (await start("resume", request_id)).ended() == 0
    await watching.until(lambda run: run.stdout.count("first-step RUNNING") > 1)
    assert await (await start("stop", request_id)).ended() == 0

    assert await watching.ended() == 1, watching
    assert "ended STOPPED" in watching.stdout


async def test_what_a_state_does_not_allow_is_reported_with_the_state(start: Start) -> None:
    done = await start("run", "walk", "pace=1", "greeting=hello")
    await done.ended()

    run = await start("suspend", id_in(done))

    assert await run.ended() == 2, run
    assert "error: INVALID_STATE: " in run.stderr
    assert "the request is COMPLETE; only" in run.stderr


async def test_a_watcher_that_was_left_goes_on_from_its_cursor(start: Start) -> None:
    run = await start("run", "walk", "pace=700", "greeting=hello")
    await run.until_says("first-step COMPLETE")
    run.interrupt()
    assert await run.ended() == 130, run
    left = re.search(r"^left; go on with: watch (\w{20}) (\S+)$", run.stderr, re.MULTILINE)
    assert left, run

    again = await start("watch", *left.groups())

    assert await again.ended() == 0, again
    assert f"{id_in(run)} COMPLETE" in again.lines
    assert "third-step COMPLETE" in again.stdout


async def test_a_watcher_survives_the_death_of_the_runner_and_of_every_request_manager(
    start: Start, cluster: Cluster, tmp_path: Path
) -> None:
    gate = tmp_path / "open"
    run = await start("run", "gated-walk", f"keeper={_KEEPER}", f"gate={gate}")
    await run.until_says("gate RUNNING try 1")

    await restart(await runner_of(cluster, id_in(run)))
    await run.until_says("gate RUNNING try 2")
    for member in cluster.request_managers:
        await restart(member)
    gate.touch()

    assert await run.ended() == 0, run
    assert "lost: " in run.stderr
    # Every try in the journal was reported once, and no other end of a try was.
    journal = [line.removeprefix("log ") for line in run.lines if line.startswith("log ")]
    reported = [line for line in run.lines if re.fullmatch(r"\w{4} \S+ (COMPLETE|FAIL) .*", line)]
    assert sorted(reported) == sorted(journal), run


async def test_a_request_is_made_while_a_request_manager_is_being_restarted(
    start: Start, cluster: Cluster
) -> None:
    first, second = cluster.request_managers
    await first.kill()
    await second.end(signal.SIGTERM)
    run = await start("run", "walk", "pace=1", "greeting=hello")
    await run.until_says("key ")
    for member in (first, second):
        member.start()

    assert await run.ended() == 0, run
