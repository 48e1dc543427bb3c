"""Identifies the callers of an internal listener, and decides what they may call."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
import structlog

from spincycle.errors import SpinCycleError
from spincycle.identity.service_identity import ServiceIdentity

Context = grpc.aio.ServicerContext[Any, Any]

TOKEN = "spincycle-identity"  # noqa: S105 # the key, not a token
"""Metadata key of a token."""

_caller: ContextVar[ServiceIdentity | None] = ContextVar("caller", default=None)


def caller() -> ServiceIdentity | None:
    """Return the identified caller of the current call; None on a listener without identities."""
    return _caller.get()


def caller_id() -> str:
    """Return the SPIFFE ID of the caller of the current call; "" without an identity."""
    identity = _caller.get()
    return "" if identity is None else str(identity)


def set_identity(identity: ServiceIdentity) -> None:
    """Make a service the caller of the current call."""
    _caller.set(identity)


class Identification(Protocol):
    """Finds out who calls."""

    def identify(self, context: Context) -> ServiceIdentity:
        """Return the identity of the caller.

        Raises:
            ValueError: the caller has none; the message says why.
        """
        ...


class CertificateIdentification:
    """Identifies callers by the SPIFFE IDs of their certificates, which TLS has verified."""

    def __init__(self, trust_domain: str) -> None:
        self._trust_domain = trust_domain

    def identify(self, context: Context) -> ServiceIdentity:
        """Return the identity in the caller's certificate.

        Raises:
            ValueError: the certificate does not have exactly one URI, or that is not the identity
                of a service in the trust domain.
        """
        # Common and DNS names count for nothing.
        uris = list(context.auth_context().get("peer_uri", ()))
        if len(uris) != 1:
            raise ValueError(
                f"its certificate has {len(uris)} URIs as subject alternative names, not one"
            )
        identity = ServiceIdentity.parse(uris[0].decode(errors="replace"))
        if identity.trust_domain != self._trust_domain:
            raise ValueError(
                f'{identity} is not in the trust domain "{self._trust_domain}" of this service'
            )
        return identity


class TokenIdentification:
    """Identifies callers over a Unix socket by their tokens.

    Args:
        tokens: SPIFFE IDs by the SHA-256 digest of a token in hex letters.

    Raises:
        ValueError: a value is not the identity of a service.
    """

    def __init__(self, tokens: Mapping[str, str]) -> None:
        self._identities = {
            digest.lower(): ServiceIdentity.parse(spiffe_id) for digest, spiffe_id in tokens.items()
        }

    def identify(self, context: Context) -> ServiceIdentity:
        """Return the identity of the caller's token.

        Raises:
            ValueError: there is no token, or it is not known.
        """
        metadata = context.invocation_metadata() or ()
        tokens = [value for key, value in metadata if key == TOKEN]
        if len(tokens) != 1 or not isinstance(tokens[0], str):
            raise ValueError(f"it has {len(tokens)} identity tokens, not one")
        digest = hashlib.sha256(tokens[0].encode()).hexdigest()
        for known, identity in self._identities.items():
            if hmac.compare_digest(known, digest):
                return identity
        raise ValueError("its identity token is unknown")


@dataclass(frozen=True, slots=True)
class RefusedCall:
    """A call that was refused for want of an identity or of the right to make it.

    Attributes:
        caller: SPIFFE ID of the caller; empty if it was not identified.
        peer: address of the caller, as gRPC names it.
    """

    method: str
    caller: str
    peer: str
    error: SpinCycleError


OnRefusal = Callable[[RefusedCall], None]


def log_refusal(refused: RefusedCall) -> None:
    """Log a refused call."""
    structlog.get_logger().warning(
        "call refused",
        method=refused.method.removeprefix("/"),
        caller=refused.caller,
        peer=refused.peer,
        reason=refused.error.reason,
        problem=refused.error.message,
    )


class RefusalLog:
    """Logs refused calls; equal ones once per period, then with their number.

    Refusals are equal if caller, method and reason are. Nobody can fill the log by such calls.

    Args:
        period: seconds within which equal refusals are counted and not logged again.
        kinds: most different refusals that are logged in a period.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        period: float = 60.0,
        kinds: int = 60,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._period = period
        self._kinds = kinds
        self._clock = clock
        self._ends_at = float("-inf")
        self._seen: Counter[tuple[str, str, str]] = Counter()

    def __call__(self, refused: RefusedCall) -> None:
        """Log a refused call, or count it."""
        now = self._clock()
        if now >= self._ends_at:
            self._end_period()
            self._ends_at = now + self._period
        kind = (refused.caller, refused.method.removeprefix("/"), refused.error.reason)
        if kind in self._seen:
            self._seen[kind] += 1
        elif len(self._seen) < self._kinds:
            self._seen[kind] = 0
            log_refusal(refused)

    def _end_period(self) -> None:
        seen, self._seen = self._seen, Counter()
        for (spiffe_id, method, reason), repeats in seen.items():
            if repeats:
                structlog.get_logger().warning(
                    "calls refused repeatedly",
                    method=method,
                    caller=spiffe_id,
                    reason=reason,
                    repeats=repeats,
                )


class RefusalCounter:
    """Counts refused calls, and passes them on.

    Attributes:
        counts: refused calls by method, package.Service/Method, and error reason.
    """

    def __init__(self, on_refusal: OnRefusal) -> None:
        self._on_refusal = on_refusal
        self.counts: Counter[tuple[str, str]] = Counter()

    def __call__(self, refused: RefusedCall) -> None:
        """Count a refused call, and pass it on."""
        self.counts[refused.method.removeprefix("/"), refused.error.reason] += 1
        self._on_refusal(refused)
