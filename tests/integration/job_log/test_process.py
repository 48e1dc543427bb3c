from __future__ import annotations

import asyncio
import os
import signal
import sys

from tests.integration.job_log.conftest import entry

from spincycle.dev.ports import free_port
from spincycle.internal.v1 import journal_service_pb2 as journal_pb2
from spincycle.internal.v1.journal_service_pb2_grpc import JournalServiceStub
from spincycle.rpc.channel import open_channel
from spincycle.wire.journal import encode_entry

COMMAND = [sys.executable, "-c", "from spincycle.job_log.process import main; main()"]


async def test_the_process_serves_and_shuts_down_cleanly_with_an_open_stream(
    database: str,
) -> None:
    address = f"127.0.0.1:{free_port()}"
    variables = {
        "SPINCYCLE_JL_LISTEN": f"127.0.0.1:{free_port()}",
        "SPINCYCLE_JL_INTERNAL__LISTEN": address,
        "SPINCYCLE_JL_INTERNAL__ALLOW_UNIDENTIFIED": "true",
        "SPINCYCLE_JL_DATABASE__DSN": database,
    }
    process = await asyncio.create_subprocess_exec(
        *COMMAND, env=os.environ | variables, stderr=asyncio.subprocess.PIPE
    )
    async with open_channel(address) as channel:
        call = JournalServiceStub(channel).Append(wait_for_ready=True)
        await call.write(journal_pb2.AppendRequest(batch=1, entries=[encode_entry(entry(1))]))
        answer = await call.read()
        assert isinstance(answer, journal_pb2.AppendResponse)

        process.send_signal(signal.SIGTERM)
        _, log = await process.communicate()

    assert process.returncode == 0, log.decode()
    assert b'"event":"service ended"' in log
    assert b"Traceback" not in log


async def test_an_address_in_use_is_reported_in_one_line(database: str) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    async with server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        variables = {
            "SPINCYCLE_JL_LISTEN": f"127.0.0.1:{free_port()}",
            "SPINCYCLE_JL_INTERNAL__LISTEN": address,
            "SPINCYCLE_JL_INTERNAL__ALLOW_UNIDENTIFIED": "true",
            "SPINCYCLE_JL_DATABASE__DSN": database,
        }
        process = await asyncio.create_subprocess_exec(
            *COMMAND, env=os.environ | variables, stderr=asyncio.subprocess.PIPE
        )
        _, log = await process.communicate()

    assert process.returncode == 2
    assert f"cannot listen on {address}" in log.decode()
    assert b"Traceback" not in log


async def test_an_invalid_database_address_is_reported_in_one_line() -> None:
    variables = {
        "SPINCYCLE_JL_LISTEN": f"127.0.0.1:{free_port()}",
        "SPINCYCLE_JL_INTERNAL__LISTEN": f"127.0.0.1:{free_port()}",
        "SPINCYCLE_JL_INTERNAL__ALLOW_UNIDENTIFIED": "true",
        "SPINCYCLE_JL_DATABASE__DSN": "mysql://nowhere",
    }
    process = await asyncio.create_subprocess_exec(
        *COMMAND, env=os.environ | variables, stderr=asyncio.subprocess.PIPE
    )
    _, log = await process.communicate()

    assert process.returncode == 2
    assert "database.dsn: " in log.decode()
    assert b"Traceback" not in log
