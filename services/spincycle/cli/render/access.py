"""The output of `whoami` and `can`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spincycle.cli.render.text import hanging, one_line
from spincycle.cli.render.times import clock, seconds
from spincycle.model.duration import format_duration

if TYPE_CHECKING:
    from spincycle.v1 import access_service_pb2

_LABELS = 10
"""Columns of a label, its colon and a blank."""


def caller_lines(
    caller: access_service_pb2.WhoAmIResponse, address: str, now: float, width: int | None = None
) -> list[str]:
    """Return the output of `spinc whoami`."""
    expires = seconds(caller, "expires_at")
    rows = {
        "name": caller.name or "(no name)",
        "roles": _listed(caller.roles),
        "admin": "yes" if caller.admin else "no",
        "known by": caller.authenticator,
        "until": ""
        if expires is None
        else f"{clock(expires)} (in {format_duration(max(expires - now, 0))})",
        "address": address,
    }
    return _block(rows, width)


def decision_lines(
    decision: access_service_pb2.CheckAccessResponse, width: int | None = None
) -> list[str]:
    """Return the output of `spinc can`."""
    rows = {
        "yes" if decision.allowed else "no": decision.message,
        "rule": decision.rule,
        "roles": _listed(decision.granting_roles),
    }
    return _block(rows, width)


def _block(rows: dict[str, str], width: int | None) -> list[str]:
    lines = [f"{label:>{_LABELS - 2}}: {one_line(text)}" for label, text in rows.items() if text]
    return [part for line in lines for part in hanging(line, _LABELS, width)]


def _listed(roles: Sequence[str]) -> str:
    return ", ".join(roles) or "(none)"
