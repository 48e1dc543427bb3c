"""The arguments of a request after validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spincycle.model.job_chain import Value

REDACTED = "(secret)"
"""Text shown instead of a secret value."""


@dataclass(frozen=True, slots=True)
class RequestArg:
    """One argument; see spincycle.v1.RequestArg for its fields."""

    pos: int
    name: str
    desc: str
    type: str
    given: bool = False
    default: Value = None
    value: Value = None
    secret: bool = False
    value_type: str = ""
