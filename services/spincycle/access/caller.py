"""The caller of a call: a person, a program or a service."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

SERVICE = "service"
"""Authenticator of the other services, which may call whatever the caller table admits."""

OPEN = "none"
"""Authenticator of callers that nobody authenticated."""


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller.

    Attributes:
        name: user of the requests that it creates.
        roles: in the order in which the authenticator names them.
        authenticator: name of the authenticator that accepted it.
        peer: address of the caller.
        expires_at: end of its credential in seconds since 1970; None if it has none.
    """

    name: str
    roles: tuple[str, ...] = ()
    authenticator: str = OPEN
    peer: str = ""
    expires_at: float | None = None

    @property
    def is_service(self) -> bool:
        """Whether it is another service, acting for itself."""
        return self.authenticator == SERVICE


NOBODY = Caller("")
"""A caller that was not authenticated."""

_current: ContextVar[Caller] = ContextVar("current_caller", default=NOBODY)


def current_caller() -> Caller:
    """Return the caller of the current call; NOBODY outside of calls."""
    return _current.get()


def set_current_caller(caller: Caller) -> None:
    """Make a caller that of the current call."""
    _current.set(caller)
