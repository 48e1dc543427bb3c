"""Ids of calls, which appear in the log of the gateway and in the audit log."""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Sequence
from contextvars import ContextVar

CALL_ID = "x-request-id"
"""Header and metadata key by which a caller gives its call an id."""

_VALID = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)
_MOST_CALLS = 0xFFFFFFFF

_current: ContextVar[str] = ContextVar("call_id", default="")

# Random letters per process, then a number.
_process = secrets.token_hex(4)
_number = itertools.count()


def call_id_of(given: str) -> str:
    """Return the id that a caller gave its call; a new one if that is not valid."""
    if _VALID.fullmatch(given):
        return given
    return f"{_process}{next(_number) & _MOST_CALLS:08x}"


def current_call_id() -> str:
    """Return the id of the current call; empty outside of calls of people and programs."""
    return _current.get()


def set_current_call_id(given: Sequence[str]) -> None:
    """Give the current call an id: the one in its metadata if that is valid, or a new one."""
    _current.set(call_id_of(given[0] if len(given) == 1 else ""))
