"""Configuration of the gateway."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from spincycle.rpc.limits import PUBLIC_REQUEST_BYTES
from spincycle.runtime.config import Config, GatewayTlsConfig, Seconds, Section


class LimitsConfig(Section, frozen=True):
    """What one HTTP call may cost."""

    body_bytes: Annotated[int, Meta(ge=1024)] = PUBLIC_REQUEST_BYTES
    """Largest body that is taken."""

    bytes_in_flight: Annotated[int, Meta(ge=1024)] = 8 * PUBLIC_REQUEST_BYTES
    """Most bytes of bodies of calls that have not been answered, per listener; a further call is
    answered 503 (OVERLOADED) unless it is alone."""

    header_bytes: Annotated[int, Meta(ge=1024)] = 32 * 1024
    """Most bytes of the request line and the headers together."""

    headers: Annotated[int, Meta(ge=10)] = 100
    """Most header lines."""

    query_parameters: Annotated[int, Meta(ge=1)] = 1000
    """Most parameters in a query."""

    header_timeout: Seconds = 10.0
    """Seconds within which the headers of a call must have arrived."""

    body_timeout: Seconds = 30.0
    """Seconds within which its body must have arrived."""

    answer_timeout: Seconds = 30.0
    """Seconds within which a caller must take some more of an answer that waits for it."""

    connections: Annotated[int, Meta(ge=1)] = 2000
    """Most connections at once; further ones are answered 503."""


class GatewayConfig(Config, frozen=True):
    """What the gateway is told."""

    prefix: ClassVar[str] = "SPINCYCLE_GATEWAY_"

    listen: str = "127.0.0.1:32308"
    """Address of the API, host:port."""

    legacy_runner_listen: str = ""
    """Address of the API with the routes that job runners of the original call too, host:port on
    loopback; empty for none. These routes change what runs for any caller, so that they are never
    on the public address."""

    job_runner_listen: str = ""
    """Address of the routes that the original's request managers call on a job runner,
    host:port on loopback; empty for none. The original's port was 32307."""

    job_runner_advertise: str = ""
    """Base URL at which those routes are reached; by default http:// and the address. Its name
    must be in `hosts`, unless it is localhost or an IP address."""

    request_manager: str = "127.0.0.1:32320"
    """The request manager's internal listener, host:port or unix:/path."""

    job_log: str = "127.0.0.1:32322"
    """The job log's internal listener, host:port or unix:/path."""

    job_runner: str = "127.0.0.1:32321"
    """The job runner behind job_runner_listen, host:port or unix:/path."""

    tls: GatewayTlsConfig = GatewayTlsConfig()
    """TLS with these services. The gateway itself serves HTTP without TLS."""

    backend_timeout: Seconds = 10.0
    """Seconds within which a service must answer a call."""

    page_size: Annotated[int, Meta(ge=1, le=1000)] = 500
    """Requests that are asked for at a time while a list is written."""

    gzip_bytes: Annotated[int, Meta(ge=0)] = 4096
    """Smallest body that is compressed for a caller that accepts it; 0 compresses none."""

    keepalive: Seconds = 15.0
    """Seconds of silence after which a stream of events gets a comment."""

    max_event_streams: Annotated[int, Meta(ge=1)] = 500
    """Most streams of events at once; further ones are answered 503."""

    grace: Seconds = 5.0
    """Seconds that calls in flight have to end at shutdown."""

    hosts: tuple[str, ...] = ()
    """Names by which callers reach the gateway, such as gateway.example.com, without a port. IP
    addresses and localhost are always allowed. Calls by other names are refused, since a page of
    theirs would count as one of the gateway's own (DNS rebinding)."""

    cross_origins: tuple[str, ...] = ()
    """Origins, such as https://ops.example.com, whose pages may call the API from a browser;
    "*" means any. By default none."""

    limits: LimitsConfig = LimitsConfig()
    """What one HTTP call may cost."""
