"""Configuration of the gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from msgspec import Meta

from spincycle.access.config import AuthConfig
from spincycle.rpc.limits import PUBLIC_REQUEST_BYTES
from spincycle.runtime.config import Config, IdentityConfig, PublicTlsConfig, Seconds, Section


class HttpLimitsConfig(Section, frozen=True):
    """Limits of one HTTP call and one connection."""

    body_bytes: Annotated[int, Meta(ge=1024)] = PUBLIC_REQUEST_BYTES
    """Largest request body."""

    bytes_in_flight: Annotated[int, Meta(ge=1024)] = 8 * PUBLIC_REQUEST_BYTES
    """Most bytes of request bodies of all calls in flight, per listener. A further call is rejected
    with 503 (OVERLOADED) unless it is the only one."""

    header_bytes: Annotated[int, Meta(ge=1024)] = 32 * 1024
    """Most bytes of the request line and the headers."""

    headers: Annotated[int, Meta(ge=10)] = 100
    """Most header lines."""

    query_parameters: Annotated[int, Meta(ge=1)] = 1000
    """Most query parameters."""

    header_timeout: Seconds = 10.0
    """Seconds to receive the headers of a call, and before that for the TLS handshake."""

    body_timeout: Seconds = 30.0
    """Seconds to receive the body of a call."""

    answer_timeout: Seconds = 30.0
    """Seconds without progress after which a caller that does not read its response is
    disconnected."""

    connections: Annotated[int, Meta(ge=1)] = 2000
    """Most connections at once; further ones are rejected with 503."""


class ApiTlsConfig(PublicTlsConfig, frozen=True):
    """TLS of the API; all files are PEM, and are read again when they change."""

    client_ca: Path | None = None
    """CA certificates of clients; set, a client may present a certificate signed by one of them,
    for auth.certificates and auth.proxy."""


class GatewayConfig(Config, frozen=True):
    """Configuration of the gateway."""

    prefix: ClassVar[str] = "SPINCYCLE_GATEWAY_"

    listen: str = "127.0.0.1:32308"
    """Address of the API, host:port."""

    legacy_runner_listen: str = ""
    """Address of the API including the routes that the original's job runners call, host:port on
    loopback; empty for none. Any caller can change running requests with these routes, so they
    are never served on the public address."""

    job_runner_listen: str = ""
    """Address of the routes that the original's request managers call on a job runner,
    host:port on loopback; empty for none. The original's port was 32307."""

    job_runner_advertise: str = ""
    """Base URL of those routes for callers; by default http:// and the address. Its host name must
    be in `hosts`, unless it is localhost or an IP address."""

    request_manager: str = "127.0.0.1:32320"
    """The request manager's internal listener, host:port or unix:/path."""

    job_log: str = "127.0.0.1:32322"
    """The job log's internal listener, host:port or unix:/path."""

    job_runner: str = "127.0.0.1:32321"
    """The job runner behind job_runner_listen, host:port or unix:/path."""

    internal: IdentityConfig = IdentityConfig()
    """How the gateway and these services identify themselves to each other."""

    tls: ApiTlsConfig = ApiTlsConfig()
    """TLS of the API on `listen`; the other two addresses are on loopback, without TLS."""

    auth: AuthConfig = AuthConfig()
    """How callers of the API are authenticated; configure it as on the request managers, which
    verify bearer tokens again."""

    backend_timeout: Seconds = 10.0
    """Deadline of a call to a service, in seconds."""

    page_size: Annotated[int, Meta(ge=1, le=1000)] = 500
    """Requests read per page while a list is written."""

    gzip_bytes: Annotated[int, Meta(ge=0)] = 4096
    """Smallest response body that is compressed if the caller accepts gzip; 0 turns it off."""

    keepalive: Seconds = 15.0
    """Seconds without an event after which a comment is sent on an event stream."""

    max_event_streams: Annotated[int, Meta(ge=1)] = 500
    """Most event streams at once; further ones are rejected with 503."""

    max_event_streams_per_caller: Annotated[int, Meta(ge=1)] = 100
    """Most event streams of one caller at once; further ones are rejected with 429. Callers that
    are not authenticated are not counted apart."""

    grace: Seconds = 5.0
    """Seconds that calls in flight have to end after SIGTERM."""

    hosts: tuple[str, ...] = ()
    """Host names of the gateway, such as gateway.example.com, without a port. IP addresses and
    localhost are always allowed. Calls to other names are rejected: a browser would treat a page
    under such a name as same-origin with the gateway (DNS rebinding)."""

    cross_origins: tuple[str, ...] = ()
    """Origins, such as https://ops.example.com, whose pages may call the API from a browser;
    "*" means any. By default none."""

    limits: HttpLimitsConfig = HttpLimitsConfig()
    """Limits of one HTTP call and one connection."""
