"""Calls out of web pages of other origins, for those origins that are allowed to make them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from spincycle.gateway.exchange import Answer

ANY = "*"
"""Stands for every origin in the configuration."""

_ALLOWED_HEADERS = "Content-Type, Idempotency-Key, Last-Event-ID, X-Request-Id"
_EXPOSED_HEADERS = "Location, X-Next-Page-Token, X-Request-Id, X-Spincycle-Version"
_REMEMBERED = 600
"""Seconds for which a browser need not ask again."""


class CrossOrigin:
    """Tells browsers which pages may read answers; says nothing unless an origin is allowed."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origins)

    def preflight(
        self, method: str, headers: Mapping[str, str], known: Sequence[str]
    ) -> Answer | None:
        """The answer to a browser that asks before it calls; None if this is no such question.

        `known` are the methods that the path has.
        """
        asks = method == "OPTIONS" and "access-control-request-method" in headers
        if not (asks and known and self._allowed(headers)):
            return None
        answer = Answer(status=204, content_type="")
        answer.headers["Access-Control-Allow-Methods"] = ", ".join(sorted(known))
        answer.headers["Access-Control-Allow-Headers"] = _ALLOWED_HEADERS
        answer.headers["Access-Control-Max-Age"] = str(_REMEMBERED)
        return answer

    def mark(self, answer: Answer, headers: Mapping[str, str]) -> None:
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
