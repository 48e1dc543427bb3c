"""Tokens by which the services of a stack identify themselves over Unix sockets."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping

from spincycle.identity.service_identity import DEFAULT_TRUST_DOMAIN, ServiceIdentity


class IdentityTokens:
    """Tokens for the services of one stack, made anew at each start and kept in memory only."""

    def __init__(self) -> None:
        self._tokens: dict[ServiceIdentity, str] = {}

    def issue(self, service: str, instance: str = "1") -> str:
        """Return the token of a service, a new one at the first call."""
        identity = ServiceIdentity(DEFAULT_TRUST_DOMAIN, service, instance)
        return self._tokens.setdefault(identity, secrets.token_urlsafe(32))

    def known(self) -> Mapping[str, str]:
        """Return the SPIFFE IDs by the digests of their tokens, for those who verify them."""
        return {
            hashlib.sha256(token.encode()).hexdigest(): str(identity)
            for identity, token in self._tokens.items()
        }
