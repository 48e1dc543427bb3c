"""Statuses with which an API server refuses a call, in the words of a real one."""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web

ACCOUNT = "system:serviceaccount:spincycle:job-runner"

CONFLICT = (
    'Operation cannot be fulfilled on resourcequotas "{quota}": the object has been modified;'
    " please apply your changes to the latest version and try again"
)

_VERBS = {"POST": "create", "PATCH": "patch", "DELETE": "delete"}


def status(code: int, reason: str, message: str, cause: str = "") -> dict[str, Any]:
    """Return a Status; `cause` is the reason of its one cause."""
    made = {"kind": "Status", "code": code, "reason": reason, "message": message}
    return {**made, "details": {"causes": [{"reason": cause}]}} if cause else made


def refusal(
    code: int, reason: str, message: str, headers: dict[str, str] | None = None, cause: str = ""
) -> web.Response:
    """Return the response that has this Status."""
    return web.json_response(status(code, reason, message, cause), status=code, headers=headers)


def forbidden_message(request: web.Request) -> str:
    """Return the message of the authorizer for a call whose account has no role."""
    steps = re.sub(r".*/namespaces/[^/]+/", "", request.path).split("/")
    resource = "/".join([steps[0], *steps[2:]])
    verb = _VERBS.get(request.method) or ("get" if len(steps) > 1 else "list")
    if "watch" in request.query:
        verb = "watch"
    group = "batch" if steps[0] == "jobs" else ""
    described = f"{steps[0]}.{group}" if group else steps[0]
    named = f' "{steps[1]}"' if len(steps) > 1 else ""
    namespace = request.match_info["namespace"]
    return (
        f'{described}{named} is forbidden: User "{ACCOUNT}" cannot {verb} resource "{resource}"'
        f' in API group "{group}" in the namespace "{namespace}"'
    )


def terminating(name: str, namespace: str) -> web.Response:
    """Return the refusal of a new object by a namespace that is being deleted."""
    message = (
        f'jobs.batch "{name}" is forbidden: unable to create new content in namespace'
        f" {namespace} because it is being terminated"
    )
    return refusal(403, "Forbidden", message, cause="NamespaceTerminating")


def quota_exceeded(name: str, quota: str, used: int, limit: int) -> web.Response:
    """Return the refusal of a Job by a quota that is full."""
    message = (
        f'jobs.batch "{name}" is forbidden: exceeded quota: {quota}, requested:'
        f" count/jobs.batch=1, used: count/jobs.batch={used}, limited: count/jobs.batch={limit}"
    )
    return refusal(403, "Forbidden", message)
