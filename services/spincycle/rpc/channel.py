"""Channels to the services: limits, keepalive and the retry policy that clients follow."""

from __future__ import annotations

import json
from collections.abc import Sequence

import grpc

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""Largest message that a service takes or sends; larger chains travel in parts."""

LIMITS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
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
                        "Stop", "Suspend", "Resume", "Register", "Explain",
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
    }
)  # fmt: skip
"""The retry policy that is published for clients of any language."""


def open_channel(
    address: str, interceptors: Sequence[grpc.aio.ClientInterceptor] = ()
) -> grpc.aio.Channel:
    """A channel to a service at host:port, or at any address that gRPC resolves."""
    return grpc.aio.insecure_channel(
        address,
        options=[
            *LIMITS,
            ("grpc.service_config", SERVICE_CONFIG),
            ("grpc.enable_retries", 1),
            ("grpc.keepalive_time_ms", 20_000),
            ("grpc.keepalive_timeout_ms", 5_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2_000),
        ],
        interceptors=list(interceptors),
    )
