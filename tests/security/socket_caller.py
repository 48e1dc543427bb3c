"""A program that a job starts: it calls the services of its stack over their Unix sockets."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import grpc

from spincycle.access.caller import Caller
from spincycle.dev.identity_tokens import GRANT_KEYS
from spincycle.dev.sockets import LINK
from spincycle.rpc.caller_metadata import Metadata, assertion_of
from spincycle.rpc.identification import TOKEN
from spincycle.rpc.status import from_rpc_error

METHODS = {
    "request-manager": (
        "spincycle.internal.v1.RunnerCoordinationService/Register",
        "spincycle.internal.v1.RunnerCoordinationService/Heartbeat",
        "spincycle.internal.v1.RunnerCoordinationService/Report",
        "spincycle.v1.RequestManagerService/List",
    ),
    "job-log": (
        "spincycle.internal.v1.JournalService/Append",
        "spincycle.internal.v1.JournalService/Fence",
        "spincycle.v1.JobLogService/ListEntries",
    ),
    "job-runner": (
        "spincycle.internal.v1.JobRunnerService/RunChains",
        "spincycle.internal.v1.JobRunnerService/StopChains",
    ),
}


def guesses(home: Path) -> list[Metadata]:
    """Metadata to try: no token, an admin as a gateway would pass it on, an empty token, an
    identity, and what the data directory has.
    """
    texts = ["", "spiffe://spincycle/spincycle/request-manager/1"]
    texts += (home / GRANT_KEYS).read_text().split()
    admin = assertion_of(Caller("ada", ("admin",), "token-file"))
    return [(), admin, *(((TOKEN, text),) for text in texts)]


async def reason(socket: Path, method: str, metadata: Metadata) -> str:
    """Return why a call is refused; "" if it is not."""
    async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
        call: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(f"/{method}")
        try:
            async for _ in call(iter([b""]), metadata=metadata, timeout=20):
                pass
        except grpc.aio.AioRpcError as failure:
            return from_rpc_error(failure, "service", "").reason
    return ""


async def report() -> dict[str, list[str]]:
    """Return the different reasons for which each service refuses all calls."""
    home = Path(os.environ["SPINCYCLE_DEV_HOME"])
    found: dict[str, set[str]] = {}
    for name, methods in METHODS.items():
        for method in methods:
            for metadata in guesses(home):
                answer = await reason((home / LINK).resolve() / name, method, metadata)
                found.setdefault(name, set()).add(answer)
    return {name: sorted(reasons) for name, reasons in found.items()}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(report())))
