"""A job of `spincycle dev` attacks the services, under whose account it runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.security import socket_caller
from tests.waiting import until

from spincycle.dev.content import find_content
from spincycle.dev.services import FREE_PORTS
from spincycle.dev.stack import Stack, StackConfig
from spincycle.rpc.channel import open_channel
from spincycle.v1 import job_log_service_pb2, request_manager_service_pb2, state_pb2
from spincycle.v1.job_log_service_pb2_grpc import JobLogServiceStub
from spincycle.v1.request_manager_service_pb2_grpc import RequestManagerServiceStub

SPECS = f"""
sequences:
  attack:
    request: true
    args: {{static: [{{name: cmd, default: {sys.executable}}},
                     {{name: args, default: {socket_caller.__file__}}}]}}
    nodes:
      attack: {{category: job, type: shell-command, args: [{{expected: cmd}}, {{expected: args}}]}}
"""


async def test_a_job_reaches_the_sockets_of_the_services_and_is_not_identified(
    tmp_path: Path,
) -> None:
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "attack.yaml").write_text(SPECS)
    config = StackConfig(find_content(tmp_path / "specs", ()), ports=FREE_PORTS, restarts=False)
    async with (
        Stack(config, lambda *_: None) as stack,
        open_channel(stack.request_manager) as manager_channel,
        open_channel(stack.job_log) as log_channel,
    ):
        manager = RequestManagerServiceStub(manager_channel)
        created = await manager.Create(request_manager_service_pb2.CreateRequest(type="attack"))
        get = request_manager_service_pb2.GetRequest(request_id=created.request.id)

        async def has_ended() -> bool:
            state = (await manager.Get(get)).request.state
            assert state != state_pb2.STATE_FAIL
            return state == state_pb2.STATE_COMPLETE

        await until(has_ended)
        entries = await JobLogServiceStub(log_channel).ListEntries(
            job_log_service_pb2.ListEntriesRequest(
                request_id=created.request.id, include_output=True
            )
        )

    (report,) = [entry.stdout for entry in entries.entries if entry.stdout]
    assert json.loads(report) == {name: ["NOT_IDENTIFIED"] for name in socket_caller.METHODS}
