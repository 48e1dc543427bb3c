"""Authenticates callers by client certificates, which TLS has verified."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from spincycle.access.caller import Caller
from spincycle.access.caller_names import check_name, check_roles
from spincycle.access.config import CertifiedCaller
from spincycle.access.credentials import Credentials, PeerCertificate
from spincycle.errors import NotAuthenticated
from spincycle.runtime.config import ConfigError

CERTIFICATE = "certificate"
"""Name of the authenticator."""


class ClientCertificates:
    """Accepts certificates whose name is configured.

    Args:
        callers: callers by a name of their certificates: a subject alternative name (DNS name,
            email address or URI) or the common name.

    Raises:
        ConfigError: a name or role is not valid.
    """

    name = CERTIFICATE

    def __init__(self, callers: Mapping[str, CertifiedCaller]) -> None:
        self._callers = {
            certified: _caller(certified, configured) for certified, configured in callers.items()
        }

    async def authenticate(self, credentials: Credentials) -> Caller | None:
        """Return the caller; None if it shows no certificate, or one with other names.

        Raises:
            NotAuthenticated: the names of the certificate are those of different callers.
        """
        if credentials.certificate is None:
            return None
        found = {
            self._callers[name]
            for name in names_of(credentials.certificate)
            if name in self._callers
        }
        if len(found) > 1:
            raise NotAuthenticated("the client certificate has the names of several callers")
        return found.pop() if found else None


def names_of(certificate: PeerCertificate) -> Iterable[str]:
    """Return the names by which a certificate may be configured.

    Its common name counts only if it has no subject alternative name, as for TLS servers.
    """
    return certificate.names or (certificate.common_name,)


def _caller(certified: str, configured: CertifiedCaller) -> Caller:
    name = configured.name or certified
    try:
        check_name(name)
        roles = check_roles(configured.roles)
    except ValueError as error:
        raise ConfigError(f'auth.certificates.callers: "{certified}": {error}')
    return Caller(name, roles, CERTIFICATE)
