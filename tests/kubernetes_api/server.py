"""The API server of a fake cluster, speaking the real HTTP API on a real socket."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import kubernetes_validate
import yaml
from aiohttp import web
from tests.kubernetes_api.cluster import Change, FakeCluster, Thing, matches
from tests.kubernetes_api.refusals import (
    forbidden_message,
    quota_exceeded,
    refusal,
    status,
    terminating,
)

TOKEN = "the-runners-token"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Fault:
    """What becomes of calls whose method and path match, so many times.

    Attributes:
        message: empty: that of the authorizer.
        in_stream: whether a watch is accepted and then ended by an ERROR event.
    """

    call: re.Pattern[str]
    status: int
    times: int
    headers: dict[str, str]
    message: str
    reason: str = "Fault"
    in_stream: bool = False


class FakeApiServer:
    """Serves a cluster; can be taken away and come back at its address.

    Attributes:
        calls: method and path of every call, with ?watch for a watch.
        token: what callers must show.
        creations: while it is not set, creations of Jobs are held.
        loses_responses: how many creations are carried out, and their responses lost.
        rbac_loaded: while it is not set, every call is forbidden, as just after a start.
    """

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.calls: list[str] = []
        self.token = TOKEN
        self.port = 0
        self.faults: list[Fault] = []
        self.creations = asyncio.Event()
        self.creations.set()
        self.loses_responses = 0
        self.rbac_loaded = asyncio.Event()
        self.rbac_loaded.set()
        self._requests: dict[int, web.Request] = {}
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Serve, at the same port as before."""
        app = web.Application(middlewares=[self._gate])
        jobs = "/apis/batch/v1/namespaces/{namespace}/{kind:jobs}"
        app.router.add_get(jobs, self._list)
        app.router.add_post(jobs, self._create)
        app.router.add_get(jobs + "/{name}", self._get)
        app.router.add_patch(jobs + "/{name}", self._patch)
        app.router.add_delete(jobs + "/{name}", self._delete)
        app.router.add_get("/api/v1/namespaces/{namespace}/{kind:pods|events}", self._list)
        app.router.add_get("/api/v1/namespaces/{namespace}/pods/{name}/log", self._log)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        [address] = self._runner.addresses
        self.port = address[1]

    async def stop(self) -> None:
        """Go away; the cluster goes on without."""
        assert self._runner is not None
        self.cut()
        await self._runner.cleanup()

    def cut(self, path: str = "") -> None:
        """Break all connections of streams whose path has this in it, without a word."""
        for request in list(self._requests.values()):
            if path in request.path and request.transport is not None:
                request.transport.abort()

    def fails(
        self,
        call: str,
        status: int,
        times: int = 1,
        message: str = "no",
        reason: str = "Fault",
        **headers: str,
    ) -> None:
        """Have calls answered with a status instead."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.faults.append(Fault(re.compile(call), status, times, named, message, reason))

    def forbids(self, call: str, times: int = 10**6) -> Fault:
        """Have calls refused in the words of the authorizer."""
        self.faults.append(Fault(re.compile(call), 403, times, {}, "", "Forbidden"))
        return self.faults[-1]

    def ends_watch(
        self, path: str, status: int, times: int = 1, reason: str = "", message: str = "no"
    ) -> Fault:
        """Have watches accepted and then ended by an ERROR event."""
        call = re.compile(rf"GET {path}\?watch$")
        self.faults.append(Fault(call, status, times, {}, message, reason, in_stream=True))
        return self.faults[-1]

    def kubeconfig(self, file: Path, namespace: str = "jobs") -> Path:
        """A file with which clients find this server."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "clusters": [{"name": "fake", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}],
            "users": [{"name": "runner", "user": {"token": self.token}}],
            "contexts": [
                {
                    "name": "fake",
                    "context": {"cluster": "fake", "user": "runner", "namespace": namespace},
                }
            ],
        }
        file.write_text(yaml.safe_dump(config))
        return file

    @web.middleware
    async def _gate(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        call = f"{request.method} {request.path}" + "?watch" * ("watch" in request.query)
        self.calls.append(call)
        # A real server checks the token first, and the role next.
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return refusal(401, "Unauthorized", "Unauthorized")
        if not self.rbac_loaded.is_set():
            return refusal(403, "Forbidden", forbidden_message(request))
        for fault in self.faults:
            if fault.times and not fault.in_stream and fault.call.search(call):
                fault.times -= 1
                message = fault.message or forbidden_message(request)
                return refusal(fault.status, fault.reason, message, fault.headers)
        self._requests[id(request)] = request
        try:
            return await handler(request)
        finally:
            self._requests.pop(id(request), None)

    async def _get(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._found(request))

    async def _create(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        await self.creations.wait()
        namespace = request.match_info["namespace"]
        name = body["metadata"]["name"]
        try:
            kubernetes_validate.validate(body, kubernetes_validate.latest_version(), strict=True)
        except Exception as error:  # noqa: BLE001 - every error is reported to the caller
            return refusal(422, "Invalid", str(error))
        if namespace in self.cluster.terminating:
            return terminating(name, namespace)
        if (full := self.cluster.full_quota(namespace)) is not None:
            return quota_exceeded(name, *full)
        if (namespace, name) in self.cluster.things["jobs"]:
            return refusal(409, "AlreadyExists", f'jobs.batch "{name}" already exists')
        if request.query.get("dryRun") == "All":
            return web.json_response(body, status=201)
        made = self.cluster.create_job(namespace, body)
        if self.loses_responses and request.transport is not None:
            self.loses_responses -= 1
            request.transport.abort()
        return web.json_response(made, status=201)

    async def _patch(self, request: web.Request) -> web.StreamResponse:
        assert request.content_type == "application/merge-patch+json"
        patch, job = await request.json(), self._found(request)
        version = patch["metadata"].get("resourceVersion")
        if version not in (None, job["metadata"]["resourceVersion"]):
            return refusal(409, "Conflict", "the object has been modified")
        return web.json_response(self.cluster.patch_job(job, patch))

    async def _delete(self, request: web.Request) -> web.StreamResponse:
        options, job = await request.json(), self._found(request)
        for key, value in (options.get("preconditions") or {}).items():
            if job["metadata"][key] != value:
                return refusal(409, "Conflict", f"the {key} in the precondition does not match")
        self.cluster.delete_job(job, options)
        return web.json_response(job)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        kind, namespace = request.match_info["kind"], request.match_info["namespace"]
        labels = request.query.get("labelSelector", "")
        fields = request.query.get("fieldSelector", "")
        if request.query.get("watch") == "true":
            return await self._watch(request, kind, namespace, labels, fields)
        items = list(self.cluster.select(kind, namespace, labels, fields))
        metadata = {"resourceVersion": str(self.cluster.version)}
        return web.json_response({"kind": "List", "metadata": metadata, "items": items})

    async def _watch(
        self, request: web.Request, kind: str, namespace: str, labels: str, fields: str
    ) -> web.StreamResponse:
        version = int(request.query["resourceVersion"])
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        for fault in self.faults:
            if fault.times and fault.in_stream and fault.call.search(f"GET {request.path}?watch"):
                fault.times -= 1
                error = status(fault.status, fault.reason, fault.message)
                await write(response, {"type": "ERROR", "object": error})
                return response
        while True:
            if version < self.cluster.compacted:
                gone = {"code": 410, "reason": "Expired", "message": "too old resource version"}
                await write(response, {"type": "ERROR", "object": {"kind": "Status", **gone}})
                return response
            changes = await self.cluster.changes_after(version)
            for change in changes:
                version = change.version
                if _concerns(change, kind, namespace, labels, fields):
                    await write(response, {"type": change.type, "object": change.thing})
            if not changes:
                version = min(version, self.cluster.compacted - 1)

    async def _log(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        assert request.query["container"] == "main"
        assert request.query["timestamps"] == "true"
        if name not in self.cluster.logs:
            return refusal(404, "NotFound", f'pods "{name}" not found')
        since = request.query.get("sinceTime", "")[:19]
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        position = 0
        while True:
            log = await self.cluster.more_log(name, position)
            for time, text in log.lines[position:]:
                if time[:19] >= since:
                    await response.write(time.encode() + b" " + text)
            position = len(log.lines)
            if log.ended:
                return response

    def _found(self, request: web.Request) -> Thing:
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        job = self.cluster.things["jobs"].get((namespace, name))
        if job is None:
            body = status(404, "NotFound", f'jobs.batch "{name}" not found')
            raise web.HTTPNotFound(text=json.dumps(body), content_type="application/json")
        return job


def _concerns(change: Change, kind: str, namespace: str, labels: str, fields: str) -> bool:
    of = change.thing["metadata"]["namespace"]
    return (change.kind, of) == (kind, namespace) and matches(change.thing, labels, fields)


async def write(response: web.StreamResponse, event: Thing) -> None:
    await response.write(json.dumps(event).encode() + b"\n")
