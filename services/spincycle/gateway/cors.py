"""Cross-origin calls of web pages: which are allowed, and the CORS headers for browsers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from spincycle.errors import OriginNotAllowed
from spincycle.gateway.hosts import Authority
from spincycle.gateway.http_messages import HttpResponse
from spincycle.runtime.config import ConfigError
from spincycle.text.shortening import shortened

ANY = "*"
"""Stands for every origin in the configuration."""

OPAQUE = "null"
"""The origin that browsers send for files and sandboxed frames."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing; browsers hide their responses from pages of other origins."""

_ALLOWED_HEADERS = "Content-Type, Idempotency-Key, Last-Event-ID, X-Request-Id"
_EXPOSED_HEADERS = "Location, X-Next-Page-Token, X-Request-Id, X-Spincycle-Version"
_MAX_AGE = 600
"""Seconds for which a browser may cache the preflight response."""

_OWN_SITES = frozenset({"same-origin", "none"})
"""Values of Sec-Fetch-Site for same-origin pages and for calls not made by a page."""

_DEFAULT_PORTS = {"http": "80", "https": "443"}

_LONGEST = 256
"""Most characters of an origin quoted in an error."""


class CrossOrigin:
    """Checks the origin of calls and sets the CORS headers of responses.

    Args:
        origins: allowed origins besides the gateway's own.

    Raises:
        ConfigError: an origin is not written as browsers send it, so no page would match it.
    """

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(map(_checked, origins))

    def check(self, method: str, headers: Mapping[str, str]) -> None:
        """Reject a call that could change something from a page of a foreign origin.

        Browsers set Sec-Fetch-Site, also behind a proxy, and pages cannot change it. Without it
        (plain HTTP beyond loopback, old browsers), the Origin header must match the host and port
        of the Host header. A caller that sends neither header is not a page.

        Raises:
            OriginNotAllowed: the page's origin is neither the gateway's own nor allowed.
        """
        if method in SAFE_METHODS or self._allowed(headers):
            return
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if site is None and origin is None:
            return
        if site in _OWN_SITES or (site is None and _is_own(origin or "", headers.get("host", ""))):
            return
        raise OriginNotAllowed(shortened(origin or "another site", _LONGEST))

    def preflight(
        self, method: str, headers: Mapping[str, str], known: Sequence[str]
    ) -> HttpResponse | None:
        """Return the response to a CORS preflight; None if the call is not an allowed one.

        `known` are the methods of the path.
        """
        is_preflight = method == "OPTIONS" and "access-control-request-method" in headers
        if not (is_preflight and known and self._allowed(headers)):
            return None
        response = HttpResponse(status=204, content_type="")
        response.headers["Access-Control-Allow-Methods"] = ", ".join(sorted(known))
        response.headers["Access-Control-Allow-Headers"] = _ALLOWED_HEADERS
        response.headers["Access-Control-Max-Age"] = str(_MAX_AGE)
        return response

    def mark(self, response: HttpResponse, headers: Mapping[str, str]) -> None:
        """Set the headers with which a browser lets an allowed page read the response."""
        if not self._origins:
            return
        response.headers["Vary"] = "Origin"
        if self._allowed(headers):
            response.headers["Access-Control-Allow-Origin"] = headers["origin"]
            response.headers["Access-Control-Expose-Headers"] = _EXPOSED_HEADERS

    def _allowed(self, headers: Mapping[str, str]) -> bool:
        origin = headers.get("origin")
        return origin is not None and (origin in self._origins or ANY in self._origins)


def _checked(origin: str) -> str:
    if origin in {ANY, OPAQUE}:
        return origin
    scheme, separator, authority = origin.partition("://")
    host = Authority.parse(authority)
    if not (scheme and separator and host) or origin != origin.lower():
        raise ConfigError(
            f'cross_origins: "{origin}" must be an origin in lower case, scheme://host or '
            f'scheme://host:port without a path, or "{ANY}" or "{OPAQUE}"'
        )
    if host.port and host.port == _DEFAULT_PORTS.get(scheme):
        raise ConfigError(
            f'cross_origins: "{origin}" must be written without :{host.port}, as browsers leave '
            "out the scheme's default port"
        )
    return origin


def _is_own(origin: str, host: str) -> bool:
    """Return whether an origin has the host and port of the Host header.

    The schemes may differ, as a proxy that serves TLS calls the gateway without.
    """
    scheme, _, authority = origin.partition("://")
    default = _DEFAULT_PORTS.get(scheme)
    page, called = Authority.parse(authority), Authority.parse(host)
    if default is None or page is None or called is None:
        return False
    return (page.name, page.port or default) == (called.name, called.port or default)
