"""Channels to the services: limits, keepalive and the retry policy that clients follow."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import TypeAlias

import grpc

from spincycle.rpc.limits import (
    KEEPALIVE_OF_CLIENTS,
    KEEPALIVE_PATIENCE,
    LIMITS,
    milliseconds,
)

SERVICE_CONFIG = json.dumps(
    {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [
            {
                # Calls that change nothing or that are idempotent whatever they are given.
                "name": [
                    {"service": "spincycle.v1.RequestManagerService", "method": method}
                    for method in (
                        "Get", "List", "GetJobChain", "ListSpecs", "GetRunning", "Plan", "Lint",
                        "Start", "Stop", "Suspend", "Resume", "Explain", "FetchJobChain",
                        "ReloadSpecs", "Register", "Finish",
                    )
                ]
                + [
                    {"service": "spincycle.v1.JobLogService", "method": method}
                    for method in ("Fence", "GetEntry", "ListEntries")
                ],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "1s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ],
    },
    indent=2,
)  # fmt: skip
"""The retry policy, published for clients of any language as grpc_service_config.json."""


Dial: TypeAlias = Callable[[str], grpc.aio.Channel]
"""Opens a channel to a service at an address."""


def open_channel(
    address: str,
    interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
    credentials: grpc.ChannelCredentials | None = None,
    server_name: str = "",
) -> grpc.aio.Channel:
    """A channel to a service at host:port, or at any address that gRPC resolves.

    With `credentials` it is a TLS channel, which expects `server_name` in the certificate of
    the service if that is not the address's own.
    """
    options: list[tuple[str, str | int]] = [
        *LIMITS,
        ("grpc.service_config", SERVICE_CONFIG),
        ("grpc.enable_retries", 1),
        ("grpc.keepalive_time_ms", milliseconds(KEEPALIVE_OF_CLIENTS)),
        ("grpc.keepalive_timeout_ms", milliseconds(KEEPALIVE_PATIENCE)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2_000),
    ]
    if credentials is None:
        return grpc.aio.insecure_channel(address, options, interceptors=list(interceptors))
    if server_name:
        options.append(("grpc.ssl_target_name_override", server_name))
    return grpc.aio.secure_channel(address, credentials, options, interceptors=list(interceptors))


if __name__ == "__main__":
    sys.stdout.write(f"{SERVICE_CONFIG}\n")
