"""Error responses in the two body shapes of the original."""

from __future__ import annotations

from spincycle.errors import SpinCycleError
from spincycle.gateway.http_messages import HttpResponse
from spincycle.rest_codec.encoding import to_text
from spincycle.rest_codec.messages import ERROR
from spincycle.rpc.status import to_message

UNAUTHORIZED = 401
TOO_MANY = 429


class HttpError(Exception):
    """An error of a call that is rejected by the gateway itself.

    Attributes:
        status: HTTP status.
        message: text of the response body.
        headers: additional headers of the response.
    """

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def message_response(
    status: int, message: str, headers: dict[str, str] | None = None
) -> HttpResponse:
    """Return the error body of the original's framework: a message alone."""
    return HttpResponse(to_text({"message": message}), status, headers=headers or {})


def error_response(error: SpinCycleError) -> HttpResponse:
    """Return the error body of the original's request manager: the Error message."""
    return HttpResponse(
        to_text(ERROR.encode(to_message(error))), error.http, headers=_headers(error)
    )


def _headers(error: SpinCycleError) -> dict[str, str]:
    if error.http == UNAUTHORIZED:
        return {"WWW-Authenticate": 'Bearer realm="spincycle"'}
    if error.http == TOO_MANY:
        return {"Retry-After": f"{error.retry_after:.0f}"}
    return {}


def legacy_error_response(error: SpinCycleError) -> HttpResponse:
    """Return the error body of the original's job runner: a message alone."""
    return message_response(error.http, error.message)
