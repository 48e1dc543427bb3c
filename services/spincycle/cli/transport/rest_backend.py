"""The services through the gateway, in the original's payloads."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from spincycle.cli.settings import Settings
from spincycle.cli.transport.backend import EntryFilter
from spincycle.cli.transport.http_client import GatewayClient
from spincycle.cli.transport.merging import merged
from spincycle.cli.transport.rest_chain import completed, is_structural
from spincycle.errors import RemoteError
from spincycle.model.state import State
from spincycle.rest_codec.encoding import to_text
from spincycle.rest_codec.extras import (
    EVENT,
    EXPLANATION,
    PLAN,
    PLAN_REQUEST,
    WATCHED_REQUEST,
)
from spincycle.rest_codec.full import FULL_ENTRY, FULL_REQUEST, FULL_RUNNING, FULL_SPEC
from spincycle.rest_codec.messages import CREATE_REQUEST, JOB, JOB_CHAIN, REQUEST
from spincycle.v1 import (
    job_chain_pb2,
    job_log_pb2,
    job_output_pb2,
    plan_pb2,
    request_event_pb2,
    request_pb2,
    spec_pb2,
    status_pb2,
)
from spincycle.v1 import request_manager_service_pb2 as rm

if TYPE_CHECKING:
    from spincycle.v1 import access_service_pb2, audit_service_pb2

_POLL = 1.0
"""Seconds between two looks at a journal that is followed."""

_API = "/api/v1"
_FULL = _API + "/full"


class RestBackend:
    """The gateway at one base URL."""

    def __init__(self, settings: Settings) -> None:
        self._gateway = GatewayClient(settings)

    async def specs(self) -> list[spec_pb2.RequestSpec]:
        """See Backend."""
        found = await self._gateway.call("GET", _FULL + "/request-list")
        return [FULL_SPEC.decode(one) for one in found]

    async def create(self, params: rm.CreateRequest) -> request_pb2.Request:
        """See Backend."""
        body = to_text(CREATE_REQUEST.encode(params))
        return _request(await self._gateway.call("POST", _API + "/requests", body=body))

    async def plan(self, params: rm.PlanRequest) -> plan_pb2.Plan:
        """See Backend."""
        body = to_text(PLAN_REQUEST.encode(params))
        plan = PLAN.decode(await self._gateway.call("POST", _API + "/plans", body=body))
        plan.job_chain.CopyFrom(completed(plan.job_chain))
        return plan

    async def get(self, request_id: str) -> request_pb2.Request:
        """See Backend."""
        return FULL_REQUEST.decode(await self._gateway.call("GET", _one(request_id, _FULL)))

    async def find(
        self, wanted: request_pb2.RequestFilter, limit: int
    ) -> list[request_pb2.Request]:
        """See Backend."""
        query = [("arg", f"{name}={value}") for name, value in sorted(wanted.args.items())]
        query += [("state", State(state).name) for state in wanted.states]
        for name in ("since", "until"):
            if wanted.HasField(name):
                query.append((name, getattr(wanted, name).ToJsonString()))
        plain = {"type": wanted.type, "user": wanted.user, "limit": limit, "offset": wanted.offset}
        query += [(name, str(value)) for name, value in plain.items() if value]
        found = await self._gateway.call("GET", _FULL + "/requests", query)
        return [FULL_REQUEST.decode(one) for one in found]

    async def stop(self, request_id: str, reason: str) -> request_pb2.Request:
        """See Backend."""
        query = [("reason", reason)] if reason else []
        await self._gateway.call("PUT", _one(request_id) + "/stop", query)
        return await self.get(request_id)

    async def suspend(self, request_id: str, reason: str) -> request_pb2.Request:
        """See Backend."""
        body = json.dumps({"reason": reason}).encode()
        return _request(await self._gateway.call("POST", _one(request_id) + "/suspend", body=body))

    async def resume(self, request_id: str) -> request_pb2.Request:
        """See Backend."""
        return _request(await self._gateway.call("POST", _one(request_id) + "/resume"))

    async def rerun(
        self, request_id: str, job_ids: list[str], key: str, *, allow_concurrent: bool
    ) -> request_pb2.Request:
        """See Backend."""
        body = {"jobIds": job_ids, "allowConcurrent": allow_concurrent}
        return await self._again(request_id, "rerun", body, key)

    async def skip(
        self, request_id: str, job_id: str, reason: str, key: str, *, allow_concurrent: bool
    ) -> request_pb2.Request:
        """See Backend."""
        body = {"jobId": job_id, "reason": reason, "allowConcurrent": allow_concurrent}
        return await self._again(request_id, "skip", body, key)

    async def _again(
        self, request_id: str, verb: str, body: dict[str, Any], key: str
    ) -> request_pb2.Request:
        path, raw = f"{_one(request_id)}/{verb}", json.dumps(body).encode()
        headers = {"Idempotency-Key": key}
        return _request(await self._gateway.call("POST", path, body=raw, headers=headers))

    async def explain(self, request_id: str, job_id: str = "") -> rm.ExplainResponse:
        """See Backend."""
        query = [("jobId", job_id)] if job_id else []
        path = _one(request_id) + "/explain"
        return EXPLANATION.decode(await self._gateway.call("GET", path, query))

    async def running(self, request_id: str) -> rm.ListRunningJobsResponse:
        """See Backend."""
        query = [("requestId", request_id)] if request_id else []
        found = await self._gateway.call("GET", _FULL + "/status/running", query)
        running = FULL_RUNNING.decode(found)
        for job in running.status.jobs:
            _forget_zero_times(job)
        return running

    async def job_chain(self, request_id: str) -> job_chain_pb2.JobChain:
        """See Backend."""
        chain = await self._gateway.call("GET", _one(request_id) + "/job-chain")
        return completed(JOB_CHAIN.decode(chain))

    async def jobs(self, request_id: str) -> AsyncIterator[job_chain_pb2.Job]:
        """See Backend; the gateway sends the whole chain, so only its text is held."""
        chain = await self._gateway.call("GET", _one(request_id) + "/job-chain")
        for one in (chain["jobs"] or {}).values():
            job = JOB.decode(one)
            job.structural = is_structural(job)
            yield job

    async def watch(
        self, request_id: str, cursor: str, *, requests_only: bool = False
    ) -> AsyncIterator[request_event_pb2.RequestEvent]:
        """See Backend."""
        wanted = "requestsOnly" if requests_only else "jobChain"
        async for change in self._events(request_id, [wanted], cursor):
            yield change

    async def _events(
        self, request_id: str, wanted: list[str], cursor: str = ""
    ) -> AsyncIterator[request_event_pb2.RequestEvent]:
        path, query = _one(request_id) + "/events", [(name, "true") for name in wanted]
        async for event in self._gateway.events(path, query, cursor):
            if event.name == "end":
                return
            if event.name == "error":
                raise RemoteError(str(event.data.get("message")), reason="UNAVAILABLE")
            change = EVENT.decode(event.data)
            change.cursor = event.cursor
            for job in (change.job, *change.snapshot.jobs):
                _forget_zero_times(job)
            if change.HasField("snapshot") and change.snapshot.HasField("job_chain"):
                change.snapshot.job_chain.CopyFrom(completed(change.snapshot.job_chain))
            yield change
        raise RemoteError("the stream ended", reason="UNAVAILABLE")

    async def entries(
        self, request_id: str, wanted: EntryFilter
    ) -> AsyncIterator[job_log_pb2.JobLog]:
        """See Backend."""
        query = [("jobId", wanted.job_id)] if wanted.job_id else []
        flags = {"failed": wanted.failed_only, "withoutOutput": wanted.without_output}
        query += [(name, "true") for name, is_set in flags.items() if is_set]
        for one in await self._gateway.call("GET", _one(request_id, _FULL) + "/log", query):
            entry = FULL_ENTRY.decode(one)
            _forget_zero_times(entry)
            yield entry

    async def tail(
        self, request_id: str, after_position: int, *, follow: bool, live_output: bool = False
    ) -> AsyncIterator[job_log_pb2.JobLog | job_output_pb2.JobOutput]:
        """See Backend; output is among the events, and the gateway is asked for entries."""
        if follow and live_output:
            entries = self.tail(request_id, after_position, follow=follow)
            async for item in merged(entries, self._output(request_id)):
                yield item
            return
        while True:
            async for entry in self.entries(request_id, EntryFilter()):
                if entry.position > after_position:
                    after_position = entry.position
                    yield entry
            if not follow:
                return
            await asyncio.sleep(_POLL)

    async def _output(self, request_id: str) -> AsyncIterator[job_output_pb2.JobOutput]:
        async for event in self._events(request_id, ["requestsOnly", "output"]):
            if event.HasField("output"):
                yield event.output

    async def audit(
        self, selected: audit_service_pb2.AuditFilter, limit: int
    ) -> list[audit_service_pb2.AuditEntry]:
        """See Backend."""
        from spincycle.rest_codec.audit import AUDIT_ENTRY

        query = [("operation", operation) for operation in selected.operations]
        query += [("denied", "true")] if selected.denied_only else []
        for name in ("since", "until"):
            if selected.HasField(name):
                query.append((name, getattr(selected, name).ToJsonString()))
        plain = {"requestId": selected.request_id, "caller": selected.caller}
        query += [(name, value) for name, value in plain.items() if value]
        query.append(("limit", str(limit)))
        found = await self._gateway.call("GET", _API + "/audit", query)
        return [AUDIT_ENTRY.decode(one) for one in found]

    async def who_am_i(self) -> access_service_pb2.WhoAmIResponse:
        """See Backend."""
        from spincycle.rest_codec.access import ME

        return ME.decode(await self._gateway.call("GET", _API + "/me"))

    async def check_access(
        self, message: access_service_pb2.CheckAccessRequest
    ) -> access_service_pb2.CheckAccessResponse:
        """See Backend."""
        from spincycle.rest_codec.access import ACCESS_CHECK

        query = [
            ("operation", message.operation),
            ("type", message.request_type),
            ("requestId", message.request_id),
        ]
        given = [(name, value) for name, value in query if value]
        return ACCESS_CHECK.decode(await self._gateway.call("GET", _API + "/access-check", given))

    async def close(self) -> None:
        """See Backend; each call has a connection of its own."""


def _one(request_id: str, base: str = _API) -> str:
    return f"{base}/requests/{quote(request_id, safe='')}"


def _request(body: Any) -> request_pb2.Request:
    """Return a request with the fields that the original does not have, where they are set."""
    request = REQUEST.decode(body)
    request.MergeFrom(WATCHED_REQUEST.decode(body))
    request.runner_address = request.runner_address.removeprefix("http://")
    return request


def _forget_zero_times(message: status_pb2.JobStatus | job_log_pb2.JobLog) -> None:
    for field in ("started_at", "finished_at"):
        if message.HasField(field) and not getattr(message, field).ToNanoseconds():
            message.ClearField(field)
