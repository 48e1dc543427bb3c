"""The device authorization grant (RFC 8628), and the refresh tokens that it issues."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"

PENDING = "pending"
DENIED = "denied"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who signs in."""

    name: str
    roles: tuple[str, ...] = ()


class OAuthError(Exception):
    """An error response of the token endpoint."""


@dataclass(slots=True)
class Grant:
    """One device that waits for a person.

    Attributes:
        person: who approved it; PENDING or DENIED before.
        polled_at: monotonic time of the last poll.
    """

    user_code: str
    ends_at: float
    person: Person | str = PENDING
    polled_at: float = float("-inf")


@dataclass
class DeviceFlow:
    """The devices that wait, and the refresh tokens of those that were approved.

    Attributes:
        interval: seconds that a device waits between polls.
        lifetime: seconds until a device code expires.
        approves: who approves every device at once; None to wait for `approve`.
    """

    interval: float
    lifetime: float
    approves: Person | None = None
    clock: Callable[[], float] = time.monotonic
    _grants: dict[str, Grant] = field(default_factory=dict)
    _refresh: dict[str, Person] = field(default_factory=dict)

    def start(self) -> tuple[str, Grant]:
        """Return a device code and its grant."""
        device_code = secrets.token_urlsafe(32)
        user_code = "-".join(secrets.token_hex(2).upper() for _ in range(2))
        grant = Grant(user_code, self.clock() + self.lifetime, self.approves or PENDING)
        self._grants[device_code] = grant
        return device_code, grant

    def decide(self, user_code: str, decision: Person | str) -> bool:
        """Approve or deny a device; return whether the code is known."""
        for grant in self._grants.values():
            if grant.user_code == user_code:
                grant.person = decision
                return True
        return False

    def poll(self, device_code: str) -> tuple[Person, str]:
        """Return the person of an approved device, and a refresh token.

        Raises:
            OAuthError: it is not approved, or polls too fast.
        """
        grant = self._grants.get(device_code)
        if grant is None:
            raise OAuthError("invalid_grant")
        now = self.clock()
        early = now < grant.polled_at + self.interval
        grant.polled_at = now
        if now > grant.ends_at:
            raise OAuthError("expired_token")
        if grant.person == DENIED:
            raise OAuthError("access_denied")
        if isinstance(grant.person, str):
            raise OAuthError("slow_down" if early else "authorization_pending")
        del self._grants[device_code]
        return grant.person, self._issue(grant.person)

    def refresh(self, token: str) -> tuple[Person, str]:
        """Return the person of a refresh token, and the next one; each is valid once.

        Raises:
            OAuthError: it is not known.
        """
        person = self._refresh.pop(token, None)
        if person is None:
            raise OAuthError("invalid_grant")
        return person, self._issue(person)

    def revoke_all(self) -> None:
        """Forget every refresh token."""
        self._refresh.clear()

    def _issue(self, person: Person) -> str:
        token = secrets.token_urlsafe(32)
        self._refresh[token] = person
        return token
