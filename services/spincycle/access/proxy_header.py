"""Authenticates callers whom a trusted proxy names in headers."""

from __future__ import annotations

from collections.abc import Sequence

from spincycle.access.caller import Caller
from spincycle.access.caller_names import check_name, check_roles
from spincycle.access.client_certificates import names_of
from spincycle.access.config import ProxyConfig
from spincycle.access.credentials import Credentials
from spincycle.errors import NotAuthenticated

PROXY = "proxy"
"""Name of the authenticator."""


class ProxyHeader:
    """Accepts the caller that a proxy names, if the proxy shows a configured certificate.

    From any other caller the headers count for nothing.
    """

    name = PROXY

    def __init__(self, config: ProxyConfig) -> None:
        self._certificates = frozenset(config.certificates)
        self._name_header = config.name_header.lower()
        self._roles_header = config.roles_header.lower()

    async def authenticate(self, credentials: Credentials) -> Caller | None:
        """Return the caller; None if the call does not come from a proxy.

        Raises:
            NotAuthenticated: the proxy names no caller, several, or one that is not valid.
        """
        certificate = credentials.certificate
        if certificate is None or self._certificates.isdisjoint(names_of(certificate)):
            return None
        name = self._only(credentials, self._name_header)
        if name is None:
            raise NotAuthenticated(f"the proxy names no caller in the header {self._name_header}")
        roles = self._only(credentials, self._roles_header) if self._roles_header else None
        listed = (roles or "").replace(",", " ").split()
        try:
            check_name(name)
            return Caller(name, check_roles(listed), self.name)
        except ValueError as error:
            raise NotAuthenticated(f"the proxy names a caller that is not valid: {error}")

    def _only(self, credentials: Credentials, header: str) -> str | None:
        values: Sequence[str] = credentials.headers.get(header, ())
        if len(values) > 1:
            raise NotAuthenticated(f"the call has {len(values)} headers {header}, not one")
        return values[0] if values else None
