"""Requests survive the removal of the key that their runners' grants were made with."""

from __future__ import annotations

import secrets
from collections import Counter

import pytest
from tests.waiting import until

from spincycle.dev.content import find_content
from spincycle.dev.identity_tokens import GRANT_KEYS
from spincycle.dev.services import FREE_PORTS
from spincycle.dev.stack import Stack, StackConfig
from spincycle.identity.key_file import KEY_BYTES, write_keys
from spincycle.rpc.channel import open_channel
from spincycle.v1 import job_log_service_pb2, request_pb2, state_pb2
from spincycle.v1 import request_manager_service_pb2 as rm
from spincycle.v1.job_log_service_pb2_grpc import JobLogServiceStub
from spincycle.v1.request_manager_service_pb2_grpc import RequestManagerServiceStub


@pytest.mark.slow
async def test_a_request_whose_grant_is_refused_is_recovered_and_others_lose_nothing() -> None:
    lines: list[tuple[str, str]] = []

    def logged(name: str, text: str) -> bool:
        return any(service == name and text in line for service, line in lines)

    config = StackConfig(find_content(None, ()), ports=FREE_PORTS, restarts=False)
    async with (
        Stack(config, lambda *line: lines.append(line)) as stack,
        open_channel(stack.request_manager) as channel,
        open_channel(stack.job_log) as log_channel,
    ):
        manager, log = RequestManagerServiceStub(channel), JobLogServiceStub(log_channel)

        async def start(milliseconds: int) -> str:
            created = rm.CreateRequest(type="test")
            created.args.update({"sleepTime": str(milliseconds)})
            return (await manager.Create(created)).request.id

        async def request(request_id: str) -> request_pb2.Request:
            return (await manager.Get(rm.GetRequest(request_id=request_id))).request

        async def entries(request_id: str) -> Counter[str]:
            asked = job_log_service_pb2.ListEntriesRequest(request_id=request_id)
            return Counter(entry.job_id for entry in (await log.ListEntries(asked)).entries)

        async def has_ended(request_id: str) -> bool:
            return (await request(request_id)).HasField("finished_at")

        before = await start(6000)
        await until(lambda: entries(before))
        written = await entries(before)
        write_keys(stack.home / GRANT_KEYS, {"2": secrets.token_bytes(KEY_BYTES)})
        for service in ("job-log", "request-manager"):
            await until(lambda service=service: logged(service, "grant keys reloaded"))
        after = await start(500)

        for request_id in (after, before):
            await until(lambda request_id=request_id: has_ended(request_id))
            ended = await request(request_id)
            assert ended.state == state_pb2.STATE_COMPLETE
            assert ended.finished_jobs == ended.total_jobs
            assert set((await entries(request_id)).values()) == {1}
        assert written.items() <= (await entries(before)).items()
        abandoned = [line for _, line in lines if "chain abandoned" in line]

    assert logged("job-log", "NOT_YOURS")
    assert abandoned
    assert all(before in line for line in abandoned)
