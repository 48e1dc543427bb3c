"""HTTP requests and responses as the routes use them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

JSON_TYPE = "application/json"


def media_type(headers: Mapping[str, str]) -> str:
    """Return the media type of a body in lower case, without parameters; empty if not given."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A routed HTTP call with its body.

    Attributes:
        method: the method, in capitals.
        path: the undecoded path.
        params: values of the route's placeholders.
        query: query values by name, in order.
        headers: headers by lower-case name; the last one if repeated.
        body: the body; empty if the route takes none.
        id: id of the call; the caller's own if it sent a valid one.
    """

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, list[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    id: str = ""

    def first(self, name: str) -> str:
        """Return the first value of a query parameter; empty if it is missing."""
        values = self.query.get(name)
        return values[0] if values else ""


@dataclass(slots=True)
class HttpResponse:
    """The response to an HTTP call.

    Attributes:
        body: the body, or an iterator of its parts.
        status: HTTP status.
        headers: additional headers.
        content_type: type of the body; empty for no header.
        live: whether each part must be sent immediately.
    """

    body: bytes | AsyncIterator[bytes] = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = JSON_TYPE
    live: bool = False


def nothing() -> HttpResponse:
    """Return 200 without a body and a content type, as the original does."""
    return HttpResponse(content_type="")
