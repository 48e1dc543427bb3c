"""Calls out of web pages: which pages of other origins may call, and how browsers learn it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from spincycle.errors import OriginNotAllowed
from spincycle.gateway.exchange import HttpResponse
from spincycle.gateway.hosts import Authority
from spincycle.runtime.config import ConfigError
from spincycle.text.shortening import shortened

ANY = "*"
"""Stands for every origin in the configuration."""

OPAQUE = "null"
"""The origin of pages that have none to name, such as files and sandboxed frames."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing; what they read, a browser keeps from pages of other origins."""

_ALLOWED_HEADERS = "Content-Type, Idempotency-Key, Last-Event-ID, X-Request-Id"
_EXPOSED_HEADERS = "Location, X-Next-Page-Token, X-Request-Id, X-Spincycle-Version"
_REMEMBERED = 600
"""Seconds for which a browser need not ask again."""

_OWN_SITES = frozenset({"same-origin", "none"})
"""Values of Sec-Fetch-Site for pages of the gateway's own origin, and for what no page starts."""

_DEFAULT_PORTS = {"http": "80", "https": "443"}

_LONGEST = 256
"""Bytes of an origin that an error quotes."""


class CrossOrigin:
    """Says which pages may read answers and make changes.

    Args:
        origins: those whose pages may, besides the gateway's own origin.

    Raises:
        ConfigError: one of them is not written as a browser sends it, and no page would match it.
    """

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(map(_checked, origins))

    def check(self, method: str, headers: Mapping[str, str]) -> None:
        """Check that no page of a foreign origin makes a change.

        A browser says in Sec-Fetch-Site how the page relates to the gateway, also behind a proxy;
        pages cannot set it. Where it is missing (plain HTTP beyond loopback, old browsers), the
        Origin header must name the host and port of the Host header. A caller with neither header
        is not a page.

        Raises:
            OriginNotAllowed: it is a page of an origin that is neither the same nor allowed.
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
        """The answer to a browser that asks before it calls; None if this is no such question.

        `known` are the methods that the path has.
        """
        asks = method == "OPTIONS" and "access-control-request-method" in headers
        if not (asks and known and self._allowed(headers)):
            return None
        answer = HttpResponse(status=204, content_type="")
        answer.headers["Access-Control-Allow-Methods"] = ", ".join(sorted(known))
        answer.headers["Access-Control-Allow-Headers"] = _ALLOWED_HEADERS
        answer.headers["Access-Control-Max-Age"] = str(_REMEMBERED)
        return answer

    def mark(self, answer: HttpResponse, headers: Mapping[str, str]) -> None:
        """Let a page of an allowed origin read the answer."""
        if not self._origins:
            return
        answer.headers["Vary"] = "Origin"
        if self._allowed(headers):
            answer.headers["Access-Control-Allow-Origin"] = headers["origin"]
            answer.headers["Access-Control-Expose-Headers"] = _EXPOSED_HEADERS

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
    """Whether an origin is that of the host that was called.

    The schemes may differ: a proxy that serves TLS calls the gateway without.
    """
    scheme, _, authority = origin.partition("://")
    default = _DEFAULT_PORTS.get(scheme)
    page, called = Authority.parse(authority), Authority.parse(host)
    if default is None or page is None or called is None:
        return False
    return (page.name, page.port or default) == (called.name, called.port or default)
