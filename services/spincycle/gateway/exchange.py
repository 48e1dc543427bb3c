"""One HTTP call and its answer, as the routes see them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

JSON_TYPE = "application/json"


def media_type(headers: Mapping[str, str]) -> str:
    """Type of the body of a call, in lower case and without parameters; empty if not given."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One HTTP call whose route is known and whose body has been read.

    Attributes:
        method: the method, in capitals.
        path: the path as it came, for the log.
        params: what the route's placeholders stand for.
        query: values of the query by name, in order.
        headers: headers by lower-case name; of repeated ones the last.
        body: the body, empty if the route takes none.
        id: the call's id, the caller's own if it sent a usable one.
    """

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, list[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    id: str = ""

    def first(self, name: str) -> str:
        """First value of a query parameter; empty if it is not there."""
        values = self.query.get(name)
        return values[0] if values else ""


@dataclass(slots=True)
class HttpResponse:
    """What goes back.

    Attributes:
        body: the body, or its parts as they come.
        status: HTTP status.
        headers: further headers.
        content_type: type of the body; empty for no header.
        live: whether the parts come as things happen, so that none may wait for another.
    """

    body: bytes | AsyncIterator[bytes] = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = JSON_TYPE
    live: bool = False


def nothing() -> HttpResponse:
    """200 with no body and no type, as of the original's handlers that return nothing."""
    return HttpResponse(content_type="")
