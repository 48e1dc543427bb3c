"""Channels to the services: limits, keepalive and the retry policy of clients."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import TypeAlias

import grpc

from spincycle.rpc.address import is_unix
from spincycle.rpc.identified_channel import BlockingChannel
from spincycle.rpc.limits import (
    CLIENT_KEEPALIVE,
    CLIENT_LIMITS,
    Keepalive,
    milliseconds,
)
from spincycle.runtime.loopback import is_loopback

PUBLIC_PACKAGE = "spincycle.v1"
INTERNAL_PACKAGE = "spincycle.internal.v1"

RETRYABLE: dict[str, dict[str, tuple[str, ...]]] = {
    PUBLIC_PACKAGE: {
        "RequestManagerService": (
            "Get",
            "List",
            "GetJobChain",
            "ListRunningJobs",
            "Plan",
            "Start",
            "Stop",
            "Suspend",
            "Resume",
            "Explain",
            "StreamJobChain",
        ),
        "SpecService": ("ListSpecs", "Lint", "ReloadSpecs"),
        "ServerService": ("GetServerInfo",),
        "AccessService": ("WhoAmI", "CheckAccess"),
        "JobLogService": ("GetEntry", "ListEntries"),
    },
    INTERNAL_PACKAGE: {
        "RunnerCoordinationService": ("Register", "Finish"),
        "JournalService": ("Fence",),
    },
}
"""Methods that are safe to retry, by package and service: they change nothing, or are idempotent
for every request."""


def service_config(*packages: str) -> str:
    """Return the gRPC service config of packages, as JSON for clients in any language."""
    names = [
        {"service": f"{package}.{service}", "method": method}
        for package in packages
        for service, methods in RETRYABLE[package].items()
        for method in methods
    ]
    policy = {
        "maxAttempts": 4,
        "initialBackoff": "0.1s",
        "maxBackoff": "1s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    config = {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [{"name": names, "retryPolicy": policy}],
    }
    return json.dumps(config, indent=2)


SERVICE_CONFIG = service_config(PUBLIC_PACKAGE, INTERNAL_PACKAGE)
"""The service config of the services and spinc."""


PLAIN_CONNECT_TIMEOUT = 0.1
"""Minimum seconds for an attempt to connect without TLS."""

TLS_CONNECT_TIMEOUT = 2.0
"""Minimum seconds for an attempt to connect with TLS: a handshake takes several round trips, and
time of both CPUs."""

Dial: TypeAlias = Callable[[str], grpc.aio.Channel]
"""Opens a channel to a service at an address."""

BlockingDial: TypeAlias = Callable[[str], BlockingChannel]
"""Opens a channel whose calls block the calling thread and need no event loop."""


def open_channel(
    address: str,
    interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
    credentials: grpc.ChannelCredentials | None = None,
    server_name: str = "",
    keepalive: Keepalive = CLIENT_KEEPALIVE,
) -> grpc.aio.Channel:
    """Open a channel to host:port, unix:/path, or any address that gRPC resolves.

    With `credentials` the channel uses TLS, and expects `server_name` in the certificate, or the
    host of the address if `server_name` is empty. Unix sockets are used without TLS.
    """
    options = _options(keepalive)
    if credentials is None or is_unix(address):
        options += _connect_timeout(PLAIN_CONNECT_TIMEOUT)
        if is_loopback(address):
            # A proxy named by a variable would read what is meant for this machine.
            options += [("grpc.enable_http_proxy", 0)]
        return grpc.aio.insecure_channel(address, options, interceptors=list(interceptors))
    options += _tls_options(server_name)
    return grpc.aio.secure_channel(address, credentials, options, interceptors=list(interceptors))


def open_blocking_channel(
    address: str, credentials: grpc.ChannelCredentials | None = None, server_name: str = ""
) -> grpc.Channel:
    """Open a channel for blocking calls, under the same rules as `open_channel`."""
    options = _options(CLIENT_KEEPALIVE)
    if credentials is None or is_unix(address):
        return grpc.insecure_channel(address, [*options, *_connect_timeout(PLAIN_CONNECT_TIMEOUT)])
    return grpc.secure_channel(address, credentials, [*options, *_tls_options(server_name)])


def _options(keepalive: Keepalive) -> list[tuple[str, str | int]]:
    return [
        *CLIENT_LIMITS,
        ("grpc.service_config", SERVICE_CONFIG),
        ("grpc.enable_retries", 1),
        # Otherwise a new channel shares the connection of others to the address, and waits for its
        # backoff: a process that has just started there would count as unreachable.
        ("grpc.use_local_subchannel_pool", 1),
        *keepalive.options,
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1_000),
    ]


def _tls_options(name: str) -> list[tuple[str, str | int]]:
    options = _connect_timeout(TLS_CONNECT_TIMEOUT)
    return [*options, ("grpc.ssl_target_name_override", name)] if name else options


def _connect_timeout(seconds: float) -> list[tuple[str, str | int]]:
    # Despite its name this is also the minimum time that an attempt to connect gets.
    return [("grpc.min_reconnect_backoff_ms", milliseconds(seconds))]


if __name__ == "__main__":
    sys.stdout.write(f"{service_config(*sys.argv[1:])}\n")
