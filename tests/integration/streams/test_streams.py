"""What clients receive while processes die, compared with the journal event by event."""

from __future__ import annotations

import pytest
from tests.chaos.cluster import Cluster
from tests.integration.streams.follower import Follower, Stub, check_order, following, report
from tests.integration.streams.journal import journal

from spincycle.model.revision import parts_of
from spincycle.model.state import State
from spincycle.rpc.channel import open_channel
from spincycle.v1 import job_log_service_pb2, job_log_service_pb2_grpc
from spincycle.v1 import request_manager_service_pb2 as rpc

pytestmark = pytest.mark.timeout(180)


async def create(cluster: Cluster, kind: str = "busy", ms: str = "100") -> str:
    async with open_channel(cluster.request_manager) as channel:
        create_request = rpc.CreateRequest(type=kind)
        create_request.args.update({"ms": ms})
        return (await Stub(channel).Create(create_request, wait_for_ready=True)).request.id


async def check(cluster: Cluster, follower: Follower, request_id: str) -> None:
    """Check that a client received each journalled try once, in order, and the end once.

    Tries that had ended at the first snapshot of the request are not repeated.
    """
    entries = await journal(cluster, request_id)
    events = report(follower, request_id)
    first = next(event for event in follower.events if event.request_id == request_id)
    assert first.HasField("snapshot"), events
    known = parts_of(int(first.revision)).position
    assert follower.ends_of_tries(request_id, entries) == entries[known:], events
    assert len(follower.final_states(request_id)) == 1, events


def has_job_events(follower: Follower) -> bool:
    return sum(event.HasField("job") for event in follower.events) > 3


async def test_a_client_receives_the_end_of_every_try_once(cluster: Cluster) -> None:
    request_id = await create(cluster)
    async with following(cluster.request_manager, request_ids=[request_id]) as follower:
        await follower.until(lambda: follower.has_ended(request_id))

    check_order(follower)
    await check(cluster, follower, request_id)


async def test_clients_that_leave_at_the_end_of_a_request_take_no_event_from_others(
    cluster: Cluster,
) -> None:
    for _ in range(60):
        request_id = await create(cluster, ms="1")
        async with following(cluster.request_manager, request_ids=[request_id]) as follower:
            await follower.until_ended(request_id)


async def test_a_client_of_one_request_that_reconnects_repeatedly_misses_and_repeats_nothing(
    cluster: Cluster,
) -> None:
    request_id = await create(cluster, ms="300")
    async with following(cluster.request_manager, request_ids=[request_id]) as follower:
        while not follower.has_ended(request_id):
            await follower.until_next_event()
            follower.disconnect()

    assert follower.connections > 3
    check_order(follower)
    await check(cluster, follower, request_id)


async def test_a_client_of_all_requests_that_reconnects_repeatedly_misses_and_repeats_nothing(
    cluster: Cluster,
) -> None:
    async with following(cluster.request_manager) as follower:
        await follower.until(lambda: bool(follower.cursor))
        request_id = await create(cluster)
        async with following(cluster.request_manager, request_ids=[request_id]) as one:
            while not follower.has_ended(request_id):
                await follower.until_next_event()
                follower.disconnect()
                one.disconnect()
            await one.until(lambda: one.has_ended(request_id))

    assert follower.connections > 3
    for each in (one, follower):
        check_order(each)
    await check(cluster, follower, request_id)


async def test_the_death_of_the_watched_request_manager_loses_and_repeats_nothing(
    cluster: Cluster,
) -> None:
    async with following(cluster.address("RM")) as follower:
        await follower.until(lambda: bool(follower.cursor))
        request_ids = [await create(cluster) for _ in range(3)]
        await follower.until(lambda: has_job_events(follower))

        for member in cluster.request_managers:
            before = follower.connections
            await member.kill()
            await follower.until(lambda: all(map(follower.has_ended, request_ids)) or True)
            member.start()
            await member.until_ready()
            assert before <= follower.connections
        await follower.until(lambda: all(map(follower.has_ended, request_ids)))

    assert follower.connections > 1
    check_order(follower)
    for request_id in request_ids:
        await check(cluster, follower, request_id)


async def test_the_death_of_the_runner_loses_and_repeats_no_try(cluster: Cluster) -> None:
    async with following(cluster.request_manager) as by_filter:
        await by_filter.until(lambda: bool(by_filter.cursor))
        request_id = await create(cluster, ms="300")
        async with following(cluster.request_manager, request_ids=[request_id]) as one:
            await by_filter.until(lambda: has_job_events(by_filter))
            for member in cluster.job_runners:
                await member.kill()
            for member in cluster.job_runners:
                member.start()
            await one.until(lambda: one.has_ended(request_id))
            await by_filter.until(lambda: by_filter.has_ended(request_id))

    check_order(one)
    check_order(by_filter)
    await check(cluster, by_filter, request_id)
    states = [State(event.snapshot.request.state or event.request.state) for event in one.events]
    assert State.SUSPENDED in states or states.count(State.RUNNING) > 1


async def test_a_cursor_resumes_at_another_request_manager_after_the_request_has_ended(
    cluster: Cluster,
) -> None:
    first, second = (f"127.0.0.1:{port}" for port in cluster.ports("RM"))
    async with following(first) as follower:
        await follower.until(lambda: bool(follower.cursor))
        request_id = await create(cluster)
        await follower.until(lambda: has_job_events(follower))
    cursor = follower.cursor
    async with following(first, request_ids=[request_id]) as other:
        await other.until(lambda: other.has_ended(request_id))

    async with following(second, cursor=cursor) as late:
        await late.until(lambda: late.has_ended(request_id))

    follower.events += late.events
    check_order(follower)
    await check(cluster, follower, request_id)


async def test_the_output_of_a_running_job_is_in_tail_and_in_watch(cluster: Cluster) -> None:
    async with open_channel(cluster.request_manager) as channel:
        request_id = (await Stub(channel).Create(rpc.CreateRequest(type="printing"))).request.id
        async with (
            open_channel(cluster.address("JL")) as log,
            following(
                cluster.request_manager, request_ids=[request_id], include_live_output=True
            ) as follower,
        ):
            request = job_log_service_pb2.TailRequest(
                request_id=request_id, follow=True, include_live_output=True
            )
            tail = aiter(job_log_service_pb2_grpc.JobLogServiceStub(log).Tail(request))
            output_events: list[job_log_service_pb2.TailEvent] = []
            while not output_events:
                events = (await anext(tail)).events
                output_events = [event for event in events if event.HasField("output")]
            await follower.until(lambda: any(one.HasField("output") for one in follower.events))
            await Stub(channel).Stop(rpc.StopRequest(request_id=request_id))
            await follower.until(lambda: follower.has_ended(request_id))

    assert output_events[0].output.data.startswith(b"y\ny\n")
    output = next(event for event in follower.events if event.HasField("output"))
    assert output.output.name == "speak"
    assert output.cursor
