"""The arguments of a request as they were understood."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spincycle.model.job_chain import Value

REDACTED = "(secret)"
"""What is shown in place of a secret value."""


@dataclass(frozen=True, slots=True)
class RequestArg:
    """One argument; see spincycle.v1.RequestArg for what each field means."""

    pos: int
    name: str
    desc: str
    type: str
    given: bool = False
    default: Value = None
    value: Value = None
    secret: bool = False
    value_type: str = ""
