"""Limits of connections and calls; docs/reference/grpc.md lists them for callers."""

from __future__ import annotations

from dataclasses import dataclass, replace

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""Largest message that a service sends, and largest message between services. Larger chains are
sent in parts."""

PUBLIC_REQUEST_BYTES = 4 * 1024 * 1024
"""Largest message on a public listener, after decompression."""

ID_BYTES = 256
"""Maximum bytes of a name or an id in a request."""

KEY_CHARACTERS = 128
"""Maximum characters of an idempotency key."""

REASON_BYTES = 4 * 1024
"""Maximum bytes of a reason; a longer reason of a service is shortened."""

MAX_VALUES = 250_000
"""Maximum number of values in the arguments of a request, including those in lists and objects.
Each value needs as much memory as hundreds of bytes of text."""

CLIENT_MESSAGE_BYTES = 3 * 1024 * 1024
"""Bytes after which a list or a batch of events is continued in another message: the default limit
of clients is 4 MiB."""


@dataclass(frozen=True, slots=True)
class Audience:
    """The callers of a listener, and the limits of what they send.

    Attributes:
        name: name of the listener in the log and the documentation.
        setting: configuration key of its address.
        request_bytes: largest request message in bytes, after decompression. gRPC stops
            decompressing there.
        streams: maximum of concurrent calls per connection; further calls wait.
        bytes_in_flight: maximum of bytes that the messages of calls in flight hold together, on all
            connections; further calls are rejected with OVERLOADED.
        reads: maximum of calls whose message is being received, on all connections; 0 means no
            limit. Further calls wait.
        stream_reads: the same limit for the messages of reflection streams.
    """

    name: str
    setting: str
    request_bytes: int
    streams: int
    bytes_in_flight: int
    reads: int = 0
    stream_reads: int = 0


PUBLIC = Audience(
    "public",
    "listen",
    PUBLIC_REQUEST_BYTES,
    streams=200,
    bytes_in_flight=8 * PUBLIC_REQUEST_BYTES,
    reads=16,
    stream_reads=4,
)
"""People and programs."""

CERTIFIED = replace(PUBLIC, name="certified", setting="auth.certificates.listen")
"""People and programs with client certificates."""

INTERNAL = Audience(
    "internal",
    "internal.listen",
    MAX_MESSAGE_BYTES,
    streams=10_000,
    bytes_in_flight=4 * MAX_MESSAGE_BYTES,
)
"""The other services. A gateway uses one connection for all its clients and their streams."""

HEALTH = Audience("health", "health.listen", 4 * 1024, streams=100, bytes_in_flight=1024 * 1024)
"""Probes: the kubelet and load balancers."""

READ_TIMEOUT = 5.0
"""Seconds that a caller has to send its message while other calls wait."""

CLIENT_LIMITS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
)

UNARY_DEADLINE = 60.0
"""Seconds that a unary call may take if its caller sets no deadline."""

MIN_PING_INTERVAL = 5.0
"""Minimum seconds between two keepalive pings of a client; the server disconnects clients that
ping more often."""

CONNECTION_AGE = 300.0
"""Seconds after which a server closes a connection gracefully. Clients resolve names only when they
connect, and would otherwise not discover new copies. Calls in flight are completed."""

STREAM_GRACE = 600.0
"""Seconds that streams may continue on such a connection of an internal listener with TLS. They are
then ended with UNAVAILABLE, so that a withdrawn certificate does not serve for days."""

COMPRESSION = "spincycle-compression"
"""Metadata key with which a caller requests compression of large responses; value: gzip."""

COMPRESSED_FROM = 16 * 1024
"""Minimum bytes of a compressed response; smaller ones gain little."""

COMPRESSED_UP_TO = 4 * 1024 * 1024
"""Maximum bytes of a compressed response. Compression blocks the event loop for about 10 ms per
megabyte."""


UPLOAD_RATE = 1024 * 1024
"""Minimum rate of uploads of large chains, in bytes per second."""


def upload_seconds(size: int) -> float:
    """Return the seconds to add to the timeout of a call that uploads `size` bytes."""
    return size / UPLOAD_RATE


@dataclass(frozen=True, slots=True)
class Keepalive:
    """Keepalive settings, which detect that the peer is frozen or disconnected.

    Attributes:
        interval: seconds of inactivity after which the peer is pinged.
        timeout: seconds that the peer has to respond before the connection is closed.
    """

    interval: float
    timeout: float

    @property
    def options(self) -> list[tuple[str, int]]:
        """The gRPC channel options."""
        return [
            ("grpc.keepalive_time_ms", milliseconds(self.interval)),
            ("grpc.keepalive_timeout_ms", milliseconds(self.timeout)),
            # Timeout of a ping's response, by default 60 s, independent of the keepalive timeout.
            ("grpc.http2.ping_timeout_ms", milliseconds(self.timeout)),
            ("grpc.keepalive_permit_without_calls", 1),
        ]


CLIENT_KEEPALIVE = Keepalive(interval=10.0, timeout=5.0)

SERVER_KEEPALIVE = Keepalive(interval=20.0, timeout=5.0)


def milliseconds(seconds: float) -> int:
    """Convert seconds to whole milliseconds, for gRPC's options."""
    return round(seconds * 1000)
