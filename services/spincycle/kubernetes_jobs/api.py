"""Client of the Kubernetes API server: calls, streams and their errors.

Only this module and `connection` import the packages of the extra `kubernetes`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import aiohttp
from kubernetes_asyncio.client import ApiClient, Configuration

from spincycle.kubernetes_jobs.errors import ApiRefused, ApiUnavailable, NoCluster
from spincycle.kubernetes_jobs.manifest import Manifest
from spincycle.kubernetes_jobs.refusal import failure

CONNECT_TIMEOUT = 10.0
CALL_TIMEOUT = 30.0


class Api:
    """Calls one API server."""

    def __init__(self, client: ApiClient, configured: Callable[[], Awaitable[Configuration]]):
        self._client = client
        self._configured = configured

    async def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Manifest | None = None,
    ) -> Manifest:
        """Make a call and return the decoded response.

        Raises:
            ApiRefused: the server rejected the call.
            ApiUnavailable: the server did not respond, or asked to retry later.
        """
        timeout = aiohttp.ClientTimeout(total=CALL_TIMEOUT, sock_connect=CONNECT_TIMEOUT)
        async with self._response(method, path, query, body, timeout) as response:
            result: Manifest = json.loads(await response.read())
            return result

    @asynccontextmanager
    async def stream(
        self, path: str, query: Mapping[str, str], silence: float
    ) -> AsyncIterator[aiohttp.StreamReader]:
        """Open a streamed response; `silence` is the read timeout in seconds.

        Raises:
            ApiRefused, ApiUnavailable: as in `call`, also while the stream is read.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=silence)
        async with self._response("GET", path, query, None, timeout) as response:
            yield response.content

    @asynccontextmanager
    async def _response(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Manifest | None,
        timeout: aiohttp.ClientTimeout,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            response = await self._send(method, path, query, body, timeout)
            if response.status == 401:
                # The token may have expired since it was read.
                response.close()
                self._client.configuration = await self._configured()
                response = await self._send(method, path, query, body, timeout)
            try:
                if not 200 <= response.status <= 299:
                    raise _failure_of(response, await response.read())
                yield response
            finally:
                # Does not close a connection that was read to its end: the pool has it.
                response.close()
        except TimeoutError as error:
            raise ApiUnavailable("no response in time") from error
        except NoCluster as error:
            raise ApiUnavailable(str(error)) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ApiUnavailable(str(error) or type(error).__name__) from error

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Manifest | None,
        timeout: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        response: aiohttp.ClientResponse = await self._client.call_api(
            path,
            method,
            query_params=list((query or {}).items()),
            header_params={"Accept": "application/json, */*", "Content-Type": kind},
            body=body,
            auth_settings=["BearerToken"],
            _preload_content=False,
            _request_timeout=timeout,
        )
        return response


def jobs_path(namespace: str, name: str = "") -> str:
    """Return the path of the namespace's Kubernetes Jobs, or of the one with this name."""
    path = f"/apis/batch/v1/namespaces/{quote(namespace, safe='')}/jobs"
    return f"{path}/{quote(name, safe='')}" if name else path


def pods_path(namespace: str, name: str = "", part: str = "") -> str:
    """Return the path of the namespace's pods, or of one pod; `part` may be "/log"."""
    path = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods"
    return f"{path}/{quote(name, safe='')}{part}" if name else path


def events_path(namespace: str) -> str:
    """Return the path of the namespace's events."""
    return f"/api/v1/namespaces/{quote(namespace, safe='')}/events"


def _failure_of(response: aiohttp.ClientResponse, body: bytes) -> ApiRefused | ApiUnavailable:
    try:
        status: Any = json.loads(body)
    except ValueError:
        status = {"message": body[:300].decode(errors="replace")}
    if not isinstance(status, dict) or not status.get("message"):
        status = {"message": response.reason}
    retry_after = _retry_after(response.headers.get("Retry-After"))
    return failure(response.status, status, retry_after)


def _retry_after(retry_after: str | None) -> float:
    return min(float(retry_after), 30.0) if retry_after and retry_after.isdecimal() else 0.0
