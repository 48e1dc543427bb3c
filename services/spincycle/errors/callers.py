"""What a caller of the gateway may not do, whatever the call asks for."""

from __future__ import annotations

from dataclasses import dataclass

from spincycle.errors.base import SpinCycleError


@dataclass(eq=False)
class HostNotAllowed(SpinCycleError):
    """the host "{host}" is not allowed: call the gateway by an IP address or as localhost, or add
    the name to hosts in its configuration"""

    reason = "HOST_NOT_ALLOWED"
    code = "PERMISSION_DENIED"
    http = 403
    remedy = (
        "If the name is the gateway's, add it to `hosts` of the gateway "
        "(`SPINCYCLE_GATEWAY_HOSTS`, a list). Otherwise a page tried to reach the gateway under "
        "a name of its own."
    )

    host: str


@dataclass(eq=False)
class OriginNotAllowed(SpinCycleError):
    """a page of {origin} may not change anything here: if it is trusted, add its origin to
    cross_origins in the gateway's configuration"""

    reason = "ORIGIN_NOT_ALLOWED"
    code = "PERMISSION_DENIED"
    http = 403
    remedy = (
        "Add the origin to `cross_origins` of the gateway. Behind a proxy, have it pass the "
        "`Host` header on as the browser sent it."
    )

    origin: str


@dataclass(eq=False)
class JsonRequired(SpinCycleError):
    """the call must have the header Content-Type: application/json, also without a body"""

    reason = "JSON_REQUIRED"
    code = "INVALID_ARGUMENT"
    http = 415
    remedy = "Send the header `Content-Type: application/json`."
