"""Interprets refusals of the API server: whom or what they concern, and their messages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from spincycle.kubernetes_jobs.errors import ApiRefused, ApiUnavailable
from spincycle.model.duration import format_duration

if TYPE_CHECKING:
    from spincycle.kubernetes_jobs.manifest import Manifest

UNAUTHORIZED, FORBIDDEN, NOT_FOUND = 401, 403, 404

_OVERLOADED = frozenset({408, 429, 500, 502, 503, 504})

_LACKS_PERMISSION = re.compile(r"\bcannot \w+ (?:resource|path) ")
"""The words of the authorizer."""

_DECISION = re.compile(
    r"(?:exceeded|failed|unknown for) quota: |violates PodSecurity|denied (?:the )?request"
)
"""The words of those admission plug-ins whose refusal concerns the object and not the caller."""

_FULL_QUOTA = re.compile(r"exceeded quota: (?P<name>[^,]+), (?P<figures>.+)", re.DOTALL)
_UNKNOWN_QUOTA = re.compile(r"status unknown for quota: (?P<name>[^,]+)")


def failure(code: int, status: Manifest, retry_after: float = 0.0) -> ApiRefused | ApiUnavailable:
    """Return the error for a failed call; `status` is the Status of its response or ERROR event."""
    message = str(status.get("message") or "no reason given")
    if code in _OVERLOADED:
        return ApiUnavailable(f"{code}: {message}", retry_after)
    causes = (status.get("details") or {}).get("causes") or ()
    reasons = frozenset(str(cause.get("reason") or "") for cause in causes)
    return ApiRefused(code, str(status.get("reason") or ""), message, reasons)


def concerns_caller(refused: ApiRefused) -> bool:
    """Return whether credentials or permissions were refused, and not an object.

    A 403 of unknown wording does: a server that has just started, or a proxy, has several.
    """
    if refused.status == UNAUTHORIZED:
        return True
    if refused.status != FORBIDDEN or namespace_is_deleted(refused):
        return False
    message = str(refused)
    return bool(_LACKS_PERMISSION.search(message)) or not _DECISION.search(message)


def namespace_is_deleted(refused: ApiRefused) -> bool:
    """Return whether a creation was refused because the namespace is being deleted."""
    return "NamespaceTerminating" in refused.causes or (
        refused.status == FORBIDDEN and "because it is being terminated" in str(refused)
    )


def lacking_room(refused: ApiRefused) -> str:
    """Return the quota that has no room and its figures, as a status text; empty: not a quota."""
    if refused.status != FORBIDDEN:
        return ""
    if full := _FULL_QUOTA.search(str(refused)):
        return f"no room in quota {full['name']}: {full['figures']}"
    if unknown := _UNKNOWN_QUOTA.search(str(refused)):
        return f"no room in quota {unknown['name']}: its use is not computed yet"
    return ""


def describe_refusal(refused: ApiRefused, action: str) -> str:
    """Return an error message: what was rejected, why, and what to do."""
    text = f"cannot {action}: "
    if refused.status == UNAUTHORIZED:
        text += "the API server rejects the runner's credentials: "
    text += str(refused)
    if refused.retried_for:
        text += f" (retried for {format_duration(refused.retried_for)})"
    if namespace_is_deleted(refused):
        return f"{text}; wait until it is gone and create it again, or name another namespace"
    if refused.reason == "Conflict":
        return f"{text}; start fewer Kubernetes Jobs at once in the namespace"
    if refused.status == FORBIDDEN and _LACKS_PERMISSION.search(str(refused)):
        return (
            f"{text}; if the runner lacks permissions, bind its service account to the role in"
            " docs/how-to/kubernetes-job.md"
        )
    return text
