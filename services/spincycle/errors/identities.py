"""Errors of callers of an internal listener that are not identified or not entitled."""

from __future__ import annotations

from dataclasses import dataclass

from spincycle.errors.base import SpinCycleError


@dataclass(eq=False)
class NotIdentified(SpinCycleError):
    """{method} is for identified services only: {problem}"""

    reason = "NOT_IDENTIFIED"
    code = "UNAUTHENTICATED"
    http = 401
    remedy = (
        "Give the calling service a certificate with exactly one SPIFFE ID of the trust domain "
        "(`spincycle certs issue`). People and programs call the public listeners instead."
    )

    method: str
    problem: str


@dataclass(eq=False)
class CallerNotAllowed(SpinCycleError):
    """{caller} may not call {method}, which is for: {allowed}"""

    reason = "CALLER_NOT_ALLOWED"
    code = "PERMISSION_DENIED"
    http = 403
    remedy = (
        "Check that each service has a certificate of its own. For the original's job runners "
        "behind a gateway, set `legacy_runner_calls` on the service called."
    )

    caller: str
    method: str
    allowed: str


@dataclass(eq=False)
class NotYours(SpinCycleError):
    """{caller} may not act for {subject}: {problem}"""

    reason = "NOT_YOURS"
    code = "PERMISSION_DENIED"
    http = 403
    remedy = (
        "A runner acts only for the runner ids that it registered and for requests that are "
        "assigned to them. If no attack explains it, check that request managers and job logs "
        "have the same grant keys."
    )

    caller: str
    subject: str
    problem: str
    request_id: str = ""
