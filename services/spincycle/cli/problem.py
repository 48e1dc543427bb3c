"""What a person is told when something went wrong: one line, the details, what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spincycle.errors import SpinCycleError

INDENT = "       "
"""Blanks before what stands below `error: `."""

FAILED = 1
"""Exit code of a command that failed."""

NO_ANSWER = 2
"""Exit code of a command whose exit code is its answer, if there is no answer."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it for SIGINT."""

TERMINATED = 143
"""Exit code after SIGTERM, likewise."""

_HINTS = {
    "SERVICE_UNAVAILABLE": (
        "is it running? spincycle dev starts all here; --addr, --job-log and --rest name other "
        "addresses; --debug tells more"
    ),
    "DEADLINE_EXCEEDED": "--timeout gives it more milliseconds",
    "REQUEST_NOT_FOUND": "spinc find lists requests",
    "UNKNOWN_REQUEST_TYPE": "spinc lists the requests that can be started",
    "INVALID_STATE": "spinc status <ID> tells its state",
    "PLAN_CHANGED": "spinc plan <request> shows the one of now; --yes alone takes any",
    "JOB_NOT_FOUND": "spinc log <ID> lists the jobs that ran",
    "UNIMPLEMENTED": "the request manager is older than this spinc",
    "TLS_NOT_TRUSTED": "spinc context set <name> --ca FILE names the certificates to trust",
    "TLS_OTHER_NAME": "spinc context set <name> --server-name NAME tells which name to expect",
    "TLS_NOT_SPOKEN": "spinc context set <name> --no-tls speaks to it without",
    "UNAUTHENTICATED": "spinc context set <name> --token-file keeps a token",
}


class Problem(Exception):
    """Something that ends the command.

    Attributes:
        message: what is wrong, in one sentence without a full stop.
        hint: what to do, or empty.
        details: further lines, for example one a field.
        exit_code: exit code of the command.
        reason: name of the failure in the catalogue of errors, or empty.
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
        """What to print on standard error."""
        below = [*self.details, *([self.hint] if self.hint else [])]
        return [f"error: {self.message}", *(INDENT + line for line in below)]


def from_catalogue(error: SpinCycleError) -> Problem:
    """A failure that a service told."""
    hint = _HINTS.get(error.reason, "")
    if error.reason == "INVALID_ARGS":
        kind = error.metadata.get("type")
        hint = f"spinc help {kind or '<request>'} lists its arguments"
    details = tuple(
        f"{violation.field}: {violation.description}"
        for violation in error.violations
        if violation.description != error.message
    )
    return Problem(error.message, hint, details, reason=error.reason)
