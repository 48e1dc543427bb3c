"""Errors of calls that the gateway rejects whatever they contain."""

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
        "If the host name is the gateway's, add it to `hosts` in its configuration "
        "(`SPINCYCLE_GATEWAY_HOSTS`, a list). Otherwise a web page tried to reach the gateway "
        "under a foreign host name (DNS rebinding)."
    )

    host: str


@dataclass(eq=False)
class OriginNotAllowed(SpinCycleError):
    """pages of {origin} may not make changes through this gateway: if the origin is trusted, add it
    to cross_origins in the gateway's configuration"""

    reason = "ORIGIN_NOT_ALLOWED"
    code = "PERMISSION_DENIED"
    http = 403
    remedy = (
        "Add the origin to `cross_origins` of the gateway. Configure a proxy in front of the "
        "gateway to forward the browser's `Host` header unchanged."
    )

    origin: str


@dataclass(eq=False)
class JsonRequired(SpinCycleError):
    """the call must have the header Content-Type: application/json, even without a body"""

    reason = "JSON_REQUIRED"
    code = "INVALID_ARGUMENT"
    http = 415
    remedy = "Send the header `Content-Type: application/json`."
