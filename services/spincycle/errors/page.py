"""Prints docs/reference/errors.md from the catalogue: `python -m spincycle.errors.page`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

from spincycle.errors import RemoteError, SpinCycleError, catalogue

_HEAD = """\
# Errors

Made by `make generate` from [services/spincycle/errors](../../services/spincycle/errors).

Every failed call of every service ends with a gRPC status that carries, as details:

- `google.rpc.ErrorInfo`: the reason from the table below, the domain `spincycle`, and what the
  message says as metadata;
- `google.rpc.BadRequest`, if fields are at fault: one violation a field;
- `google.rpc.RetryInfo`, if the same call can be made again: how long to wait before that;
- `spincycle.v1.Error`, last: message, reason, request and HTTP status.

Go by the reason; it never changes its meaning. Over REST the same failure is answered as
`{"message", "requestId", "httpStatus"}` with the HTTP status of the table.

Some failures are gRPC's own, and come without details: `UNAVAILABLE` if there is no connection,
`DEADLINE_EXCEEDED` and `CANCELLED` if the caller's own time is up, and `RESOURCE_EXHAUSTED`
("Received message larger than max", "Decompressed message larger than max") for a message above the
limit of the listener, which [grpc.md](grpc.md) names.

| Reason | gRPC code | HTTP | Again? | Message | What to do |
| --- | --- | --- | --- | --- | --- |
"""


def error_page() -> str:
    """The page as Markdown."""
    rows = [
        "| " + " | ".join(_cells(entry)) + " |\n"
        for entry in sorted(catalogue().values(), key=lambda entry: entry.reason)
        if entry is not RemoteError
    ]
    return _HEAD + "".join(rows)


def _cells(entry: type[SpinCycleError]) -> Iterator[str]:
    yield f"`{entry.reason}`"
    yield entry.code
    yield str(entry.http)
    yield _again(entry)
    yield _message(entry)
    yield entry.remedy


def _again(entry: type[SpinCycleError]) -> str:
    if not entry.retryable:
        return "no"
    return f"after {entry.retry_after:g} s" if entry.retry_after else "at once"


def _message(entry: type[SpinCycleError]) -> str:
    text = " ".join((entry.__doc__ or "").split())
    if text == "{problem}":
        return "says what is wrong, and where"
    return re.sub(r"\{(\w+)\}", r"*\1*", text).replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(error_page())
