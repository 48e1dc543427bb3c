"""Errors that end a command: the message, its details, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spincycle.errors import SpinCycleError

INDENT = "       "
"""Indentation of the lines below `error: `."""

FAILED = 1
"""Exit code of a command that failed."""

UNDETERMINED = 2
"""Exit code of `watch` and `running` if the state of the request could not be read."""

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT."""

TERMINATED = 143
"""Exit code after SIGTERM: 128 + SIGTERM."""

_AUTHENTICATE = "log in: spinc login; or set a token: spinc context set <name> --token-file <file>"

_HINTS = {
    "SERVICE_UNAVAILABLE": (
        "is it running? 'spincycle dev' starts every service on this machine; set other addresses "
        "with --addr, --job-log or --rest; --debug prints details"
    ),
    "DEADLINE_EXCEEDED": "allow more time with --timeout <milliseconds>",
    "REQUEST_NOT_FOUND": "run 'spinc find' to list requests",
    "UNKNOWN_REQUEST_TYPE": "run spinc to list the requests you can start",
    "INVALID_STATE": "run 'spinc status <ID>' to see its state",
    "RERUN_NOT_ENDED": "--again runs both at once",
    "PLAN_CHANGED": (
        "run 'spinc plan <request>' to see the new plan; --yes without --plan-hash accepts any plan"
    ),
    "JOB_NOT_FOUND": "run 'spinc log <ID>' to list the jobs that ran",
    "UNIMPLEMENTED": "the request manager is older than this spinc",
    "TLS_NOT_TRUSTED": "set the certificates to trust: spinc context set <name> --ca <file>",
    "TLS_OTHER_NAME": "set the name to expect: spinc context set <name> --server-name <name>",
    "TLS_NOT_SPOKEN": "turn TLS off: spinc context set <name> --no-tls",
    "NOT_AUTHENTICATED": _AUTHENTICATE,
    "UNAUTHENTICATED": _AUTHENTICATE,
    "ACCESS_DENIED": "run 'spinc can <operation> <request|ID>' to see the rule that decides",
}
"""What to do, by error reason."""


class Problem(Exception):
    """An error that ends the command.

    Attributes:
        message: what is wrong, in one sentence without a full stop.
        hint: what to do, or empty.
        details: further lines, for example one per field.
        exit_code: exit code of the command.
        reason: reason of the error that a service returned, or empty.
    """

    def __init__(
        self,
        message: str,
        hint: str = "",
        details: tuple[str, ...] = (),
        exit_code: int = FAILED,
        reason: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details
        self.exit_code = exit_code
        self.reason = reason

    def lines(self) -> list[str]:
        """Return the lines to print on standard error."""
        below = [*self.details, *([self.hint] if self.hint else [])]
        return [f"error: {self.message}", *(INDENT + line for line in below)]


def from_service_error(error: SpinCycleError, token_hint: str = "") -> Problem:
    """Return the problem for an error that a service returned, with a hint for its reason.

    `token_hint` says what was sent of the token, if there is one.
    """
    hint = _HINTS.get(error.reason, "")
    if token_hint and hint == _AUTHENTICATE:
        hint = token_hint
    if error.reason == "INVALID_ARGS":
        kind = error.metadata.get("type")
        hint = f"run 'spinc help {kind or '<request>'}' to list its arguments"
    details = tuple(
        f"{violation.field}: {violation.description}"
        for violation in error.violations
        if violation.description != error.message
    )
    return Problem(error.message, hint, details, reason=error.reason)
