"""Requests with secrets, and the search for these in a database."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
from tests.integration.request_manager.conftest import Context, Manager, SteeredRunner

from spincycle.identity.key_file import write_keys
from spincycle.internal.v1 import job_runner_service_pb2
from spincycle.internal.v1 import runner_coordination_service_pb2 as coordination_pb2
from spincycle.model.secret_forms import forms_of
from spincycle.v1 import job_chain_pb2, job_log_pb2, state_pb2, suspended_job_chain_pb2
from spincycle.v1 import request_manager_service_pb2 as rpc

PENDING = state_pb2.STATE_PENDING
RUNNING = state_pb2.STATE_RUNNING
COMPLETE = state_pb2.STATE_COMPLETE
FAIL = state_pb2.STATE_FAIL
SUSPENDED = state_pb2.STATE_SUSPENDED

PASSWORD = "s3cr3t/+&=p4ss w0rd"
TOKEN = "d3f4ult-t0ken"

SPECS = f"""
sequences:
  login:
    request: true
    args:
      required:
        - {{name: ms}}
        - {{name: password, secret: true}}
      optional:
        - {{name: token, secret: true, default: {TOKEN}}}
    nodes:
      rest:
        category: job
        type: sleep
        args: [{{expected: duration, given: ms}}, {{expected: password}}, {{expected: token}}]
"""


class Keeper(SteeredRunner):
    """A runner that keeps the chains it is sent."""

    def __init__(self, runner_id: str) -> None:
        super().__init__(runner_id)
        self.kept: dict[str, job_chain_pb2.JobChain] = {}

    async def RunChains(
        self, request: job_runner_service_pb2.RunChainsRequest, context: Context
    ) -> job_runner_service_pb2.RunChainsResponse:
        for one in request.assignments:
            self.kept[one.job_chain.request_id] = one.job_chain
        return await super().RunChains(request, context)


def keys_in(path: Path, *ids: str) -> Path:
    """Write a file with the keys of these ids."""
    write_keys(path, {id_: key_of(id_) for id_ in ids})
    return path


def key_of(id_: str) -> bytes:
    """Return the key of an id."""
    return id_.encode() * 32


async def login(manager: Manager, **changes: Any) -> str:
    """Create a request with secrets; return its id."""
    request = rpc.CreateRequest(type="login", **changes)
    request.args.update({"ms": "1", "password": PASSWORD})
    return (await manager.stub.Create(request)).request.id


async def failed_login(manager: Manager, runner: Keeper) -> str:
    """Create a request whose second job fails."""
    request_id = await login(manager)
    await manager.until_state(request_id, RUNNING)
    jobs = list(runner.kept[request_id].jobs)
    manager.job_log.entries[request_id] = [
        job_log_pb2.JobLog(
            request_id=request_id, job_id=job.id, try_number=1, state=state, position=place, epoch=1
        )
        for place, (job, state) in enumerate(zip(jobs, [COMPLETE, FAIL], strict=False), start=1)
    ]
    await manager.finish(request_id, 1, FAIL)
    await manager.until_state(request_id, FAIL)
    return request_id


async def suspended(manager: Manager, runner: Keeper, request_id: str) -> None:
    """Save the state of a running request by its runner."""
    await manager.stub.Suspend(rpc.SuspendRequest(request_id=request_id))
    chain = runner.kept[request_id]
    chain.state = SUSPENDED
    saved = suspended_job_chain_pb2.SuspendedJobChain(
        request_id=request_id, epoch=runner.chains[request_id], job_chain=chain
    )
    report = coordination_pb2.RunnerReport(suspended=saved)
    response = await manager.coordination.Report(coordination_pb2.ReportRequest(reports=[report]))
    assert not response.results[0].HasField("refused"), response
    await manager.until_state(request_id, SUSPENDED)


async def lose(connection: asyncpg.Connection, request_id: str) -> None:
    """Let the runner of a request be lost."""
    await connection.execute(
        "UPDATE request_manager.requests SET state = 2, runner_id = 'dead', orphaned = true,"
        " epoch = GREATEST(epoch, 1), claimed_until = now() WHERE request_id = $1",
        request_id,
    )


async def dump(connection: asyncpg.Connection) -> bytes:
    """Return all values of all tables of all schemas, binary ones as they are."""
    tables = await connection.fetch(
        "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables"
        " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    )
    values: list[bytes] = []
    for table in tables:
        query = "SELECT * FROM " + table["name"]
        for row in await connection.fetch(query):
            values += [v if isinstance(v, bytes) else str(v).encode() for v in row.values()]
    return b"\n".join(values)


def forms(secret: str) -> set[bytes]:
    """Return a secret as it is and encoded."""
    plain = secret.encode()
    return {
        *forms_of(secret),
        plain,
        plain.hex().encode(),
        base64.b64encode(plain),
        quote(secret, safe="").encode(),
        json.dumps(secret)[1:-1].encode(),
    }


async def row_of(connection: asyncpg.Connection, query: str, request_id: str) -> asyncpg.Record:
    """Return the only row of a query about a request."""
    (row,) = await connection.fetch(query, request_id)
    return row


async def assert_sealed(connection: asyncpg.Connection) -> None:
    """Check that no form of a secret is anywhere in the database."""
    text = await dump(connection)
    assert b"login" in text
    found = [form for secret in (PASSWORD, TOKEN) for form in forms(secret) if form in text]
    assert not found
    # By the hash of a call a short secret could be guessed.
    hashes = await connection.fetch(
        "SELECT content_hash FROM request_manager.requests"
        " WHERE type = 'login' AND rerun_of IS NULL AND idempotency_key IS NOT NULL"
    )
    assert all(row["content_hash"].startswith("sealed:") for row in hashes)


def password_of(chain: job_chain_pb2.JobChain) -> str:
    return str(chain.jobs[1].args["password"])


async def assert_nowhere(connection: asyncpg.Connection) -> None:
    text = await dump(connection)
    assert not any(form in text for form in forms(PASSWORD))


async def store_as_earlier_versions_did(database: str) -> None:
    """Replace what is stored of all requests with secrets by what an earlier version stores."""
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(
            "UPDATE request_manager.request_archives SET sealed_under = DEFAULT,"
            " args = jsonb_set(jsonb_set(args, '{1,value}', $1), '{2,default}', $2),"
            " create_request = jsonb_set(create_request, '{Args,password}', $1)"
            " WHERE sealed_under IS NOT NULL",
            json.dumps(PASSWORD),
            json.dumps(TOKEN),
        )
        await connection.execute(
            "UPDATE request_manager.suspended_job_chains SET sealed_under = DEFAULT"
        )
    finally:
        await connection.close()
