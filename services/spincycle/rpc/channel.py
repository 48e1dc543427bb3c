"""Channels to the services: limits, keepalive and the retry policy that clients follow."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import TypeAlias

import grpc

from spincycle.rpc.address import is_unix
from spincycle.rpc.limits import (
    KEEPALIVE_OF_CLIENTS,
    LIMITS_OF_CLIENTS,
    Keepalive,
)

PUBLIC_PACKAGE = "spincycle.v1"
INTERNAL_PACKAGE = "spincycle.internal.v1"

RETRIED: dict[str, dict[str, tuple[str, ...]]] = {
    PUBLIC_PACKAGE: {
        "RequestManagerService": (
            "Get", "List", "GetJobChain", "ListRunningJobs", "Plan", "Start", "Stop", "Suspend",
            "Resume", "Explain", "StreamJobChain",
        ),
        "SpecService": ("ListSpecs", "Lint", "ReloadSpecs"),
        "ServerService": ("GetServerInfo",),
        "JobLogService": ("GetEntry", "ListEntries"),
    },
    INTERNAL_PACKAGE: {
        "RunnerCoordinationService": ("Register", "Finish"),
        "JournalService": ("Fence",),
    },
}  # fmt: skip
"""Methods that are safe to call again, by package and service: they change nothing, or are
idempotent with any request."""


def service_config(*packages: str) -> str:
    """The retry policy of these packages, as the JSON that gRPC clients of any language read."""
    names = [
        {"service": f"{package}.{service}", "method": method}
        for package in packages
        for service, methods in RETRIED[package].items()
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
"""The retry policy that the services and spinc follow."""


Dial: TypeAlias = Callable[[str], grpc.aio.Channel]
"""Opens a channel to a service at an address."""


def open_channel(
    address: str,
    interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
    credentials: grpc.ChannelCredentials | None = None,
    server_name: str = "",
    keepalive: Keepalive = KEEPALIVE_OF_CLIENTS,
) -> grpc.aio.Channel:
    """A channel to a service at host:port, unix:/path, or any address that gRPC resolves.

    With `credentials` it is a TLS channel, which expects `server_name` in the certificate of
    the service if that is not the address's own. A Unix socket is used without TLS.
    """
    options: list[tuple[str, str | int]] = [
        *LIMITS_OF_CLIENTS,
        ("grpc.service_config", SERVICE_CONFIG),
        ("grpc.enable_retries", 1),
        *keepalive.options,
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2_000),
    ]
    if credentials is None or is_unix(address):
        return grpc.aio.insecure_channel(address, options, interceptors=list(interceptors))
    if server_name:
        options.append(("grpc.ssl_target_name_override", server_name))
    return grpc.aio.secure_channel(address, credentials, options, interceptors=list(interceptors))


if __name__ == "__main__":
    sys.stdout.write(f"{service_config(*sys.argv[1:])}\n")
