"""Failures as the original words them: two body shapes, by who refuses."""

from __future__ import annotations

from spincycle.errors import SpinCycleError
from spincycle.gateway.exchange import HttpResponse
from spincycle.rest_codec.encoding import to_text
from spincycle.rest_codec.messages import ERROR
from spincycle.rpc.status import to_message


class HttpError(Exception):
    """A call that is refused before any service is asked.

    Attributes:
        status: HTTP status.
        message: the whole of what the caller is told.
        headers: further headers of the answer.
    """

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def bare(status: int, message: str, headers: dict[str, str] | None = None) -> HttpResponse:
    """The answer of the original's framework, and of its job runner: a message alone."""
    return HttpResponse(to_text({"message": message}), status, headers=headers or {})


def told(error: SpinCycleError) -> HttpResponse:
    """The answer of the original's request manager: the Error message."""
    return HttpResponse(to_text(ERROR.encode(to_message(error))), error.http)


def refused(error: SpinCycleError) -> HttpResponse:
    """The answer of the original's job runner to a failure: its message alone."""
    return bare(error.http, error.message)
