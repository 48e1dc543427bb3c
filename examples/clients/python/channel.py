"""How to reach the services: every address, a retry policy, and a check that the peer lives."""

from __future__ import annotations

import json
import os

REQUEST_MANAGERS = os.environ.get("SPINC_ADDR", "127.0.0.1:32310")
JOB_LOGS = os.environ.get("SPINC_JOB_LOG", "127.0.0.1:32312")

SERVICE_CONFIG = {
    # Any copy answers any call: take them in turn, and leave out those that are away.
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            # gRPC itself repeats these, since repeating them changes nothing: Create has a key.
            "name": [
                {"service": "spincycle.v1.RequestManagerService", "method": method}
                for method in ("Create", "Get", "Stop", "Suspend", "Resume")
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

OPTIONS = [
    ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
    # A peer that hangs, or whose machine is gone, is found out by a ping without an answer.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # Without it gRPC waits 60 s for the answer.
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]


def target(addresses: str) -> str:
    """`host:port,host:port` as gRPC resolves it; a DNS name with many records works as well."""
    return f"ipv4:{addresses}" if addresses[0].isdigit() else addresses
