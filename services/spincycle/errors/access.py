"""Errors of callers that are not authenticated, or may not do what they ask for."""

from __future__ import annotations

from dataclasses import dataclass

from spincycle.errors.base import SpinCycleError


@dataclass(eq=False)
class NotAuthenticated(SpinCycleError):
    """the caller is not authenticated: {problem}"""

    reason = "NOT_AUTHENTICATED"
    code = "UNAUTHENTICATED"
    http = 401
    remedy = (
        "Show a credential that the installation accepts: a bearer token, or whatever its operator "
        "configured below `auth`. `spinc whoami` shows how a call is seen."
    )

    problem: str


@dataclass(eq=False)
class AuthenticationUnavailable(SpinCycleError):
    """the credential cannot be verified now: {problem}"""

    reason = "AUTHENTICATION_UNAVAILABLE"
    code = "UNAVAILABLE"
    http = 503
    retryable = True
    remedy = "Repeat the call. If it lasts, check the issuer of the tokens."

    problem: str


@dataclass(eq=False)
class AccessDenied(SpinCycleError):
    """the caller "{caller}" may not {operation} {subject}: {why} (roles of the caller: {roles};
    roles that may: {granting_roles})"""

    reason = "ACCESS_DENIED"
    code = "PERMISSION_DENIED"
    http = 403
    remedy = (
        "Ask for one of the roles that the message names, or have the ACL of the spec changed. "
        "`spinc can` explains a decision."
    )

    caller: str
    operation: str
    subject: str
    why: str
    roles: str
    granting_roles: str
    request_id: str = ""


@dataclass(eq=False)
class TooManyOpenRequests(SpinCycleError):
    """the caller "{caller}" has {limit} requests that have not ended, the most that are allowed"""

    reason = "TOO_MANY_OPEN_REQUESTS"
    code = "RESOURCE_EXHAUSTED"
    http = 429
    retryable = True
    retry_after = 30.0
    remedy = "Wait until requests have ended, or have `access.limits.open_requests` raised."

    caller: str
    limit: int


@dataclass(eq=False)
class TooManyCreations(SpinCycleError):
    """the caller "{caller}" creates more than {limit} requests a minute, the most allowed"""

    reason = "TOO_MANY_CREATIONS"
    code = "RESOURCE_EXHAUSTED"
    http = 429
    retryable = True
    retry_after = 5.0
    remedy = "Create requests more slowly, or have `access.limits.requests_per_minute` raised."

    caller: str
    limit: int


@dataclass(eq=False)
class TooManyStreams(SpinCycleError):
    """the caller "{caller}" has {limit} open streams, the most that are allowed"""

    reason = "TOO_MANY_STREAMS"
    code = "RESOURCE_EXHAUSTED"
    http = 429
    retryable = True
    retry_after = 5.0
    remedy = (
        "Close streams, watch by a filter, or have the limit raised: `access.limits.streams` of "
        "the request managers, or `max_event_streams_per_caller` of the gateway."
    )

    caller: str
    limit: int
