"""Limits of connections and calls; docs/reference/grpc.md lists them for callers."""

from __future__ import annotations

from dataclasses import dataclass

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""Largest message that a service sends, and that services send each other. Larger chains travel
in parts."""

PUBLIC_REQUEST_BYTES = 4 * 1024 * 1024
"""Largest message that a person or a program may send to a service, decompressed."""

ID_BYTES = 256
"""Bytes of a name or an id in a request."""

KEY_CHARACTERS = 128
"""Characters of an idempotency key."""

REASON_BYTES = 4 * 1024
"""Bytes of a reason that a caller gives, or that is kept of one that a service gives."""

MOST_VALUES = 250_000
"""Most values in the arguments of a request, those within lists and objects included. Each costs
as much as hundreds of bytes of text."""

WITHIN_CLIENTS = 3 * 1024 * 1024
"""Bytes after which a list or a batch of events goes on in a further message: clients that set
no limit of their own take 4 MiB."""


@dataclass(frozen=True, slots=True)
class Audience:
    """The callers that a listener is for, and what they may send.

    Attributes:
        name: as the log and the documentation call the listener.
        setting: configuration key of its address.
        request_bytes: largest message of a caller, in bytes, after decompression. gRPC stops
            decompressing there.
        streams: most calls at the same time on one connection; further ones wait.
        bytes_in_flight: bytes that the messages of calls in flight may hold together, on all
            connections to the listener; a further call is refused with OVERLOADED.
        reads: most calls whose message is being received at a time, on all connections; 0 means
            no limit. Further ones wait.
        stream_reads: most streams of reflection whose next message is being received, likewise.
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

INTERNAL = Audience(
    "internal",
    "internal.listen",
    MAX_MESSAGE_BYTES,
    streams=10_000,
    bytes_in_flight=4 * MAX_MESSAGE_BYTES,
)
"""The other services. A gateway has one connection for all its clients, each of whom may stream."""

HEALTH = Audience("health", "health.listen", 4 * 1024, streams=100, bytes_in_flight=1024 * 1024)
"""Probes: the kubelet and load balancers."""

READ_PATIENCE = 5.0
"""Seconds that a caller has to send its message once it is being received and others wait."""

LIMITS_OF_CLIENTS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
)

UNARY_DEADLINE = 60.0
"""Seconds that a unary call may take if its caller sets no deadline."""

LEAST_PING_INTERVAL = 5.0
"""Seconds between two such questions of a client; one that asks more often is sent away."""

CONNECTION_AGE = 300.0
"""Seconds after which a server has a client open another connection. Clients look names up only
when a connection ends, and would never find copies that came later. Calls in flight go on."""

COMPRESSION = "spincycle-compression"
"""Metadata with which a caller asks for large answers to be compressed: gzip."""

COMPRESSED_FROM = 16 * 1024
"""Bytes from which an answer is compressed for who asks; smaller ones gain little."""

COMPRESSED_UP_TO = 4 * 1024 * 1024
"""Bytes up to which it is. Compressing holds up every other call: some 10 ms a megabyte."""


UPLOAD_RATE = 1024 * 1024
"""Bytes a second that a large chain is sent and taken at, at the very least."""


def upload_seconds(size: int) -> float:
    """Time to be given to the upload of a chain, on top of what any call gets."""
    return size / UPLOAD_RATE


@dataclass(frozen=True, slots=True)
class Keepalive:
    """When an end of a connection notices that the other one is frozen or cut off.

    Attributes:
        interval: seconds of silence after which it pings the other end.
        timeout: seconds that the other end has to answer, or the connection is closed.
    """

    interval: float
    timeout: float

    @property
    def options(self) -> list[tuple[str, int]]:
        """The options of gRPC."""
        return [
            ("grpc.keepalive_time_ms", milliseconds(self.interval)),
            ("grpc.keepalive_timeout_ms", milliseconds(self.timeout)),
            # gRPC waits for the answer to a ping for this long, by default 60 s, whatever the
            # timeout of keepalive is.
            ("grpc.http2.ping_timeout_ms", milliseconds(self.timeout)),
            ("grpc.keepalive_permit_without_calls", 1),
        ]


KEEPALIVE_OF_CLIENTS = Keepalive(interval=10.0, timeout=5.0)

KEEPALIVE_OF_SERVERS = Keepalive(interval=20.0, timeout=5.0)


def milliseconds(seconds: float) -> int:
    """As gRPC's options want it."""
    return round(seconds * 1000)
