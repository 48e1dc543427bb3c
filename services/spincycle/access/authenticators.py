"""Opens the configured authenticators."""

from __future__ import annotations

from spincycle.access.authentication import Authentication, Authenticator
from spincycle.access.caller import OPEN, Caller
from spincycle.access.client_certificates import ClientCertificates
from spincycle.access.config import AuthConfig
from spincycle.access.credentials import Credentials
from spincycle.access.local_user import LocalUser
from spincycle.access.oidc import open_oidc
from spincycle.access.plugin import load_plugin
from spincycle.access.proxy_header import ProxyHeader
from spincycle.access.token_file import TokenFile
from spincycle.runtime.config import ConfigError
from spincycle.runtime.loopback import is_loopback


class Everybody:
    """Accepts every call, with the roles of nobody."""

    name = OPEN

    async def authenticate(self, credentials: Credentials) -> Caller | None:  # noqa: ARG002 # part of the protocol
        """Return a caller without a name."""
        return Caller("", authenticator=OPEN)


def open_authentication(config: AuthConfig, listen: str) -> Authentication:
    """Return the authentication of a listener.

    Raises:
        ConfigError: other machines can reach the listener, and no authenticator is configured; or
            the configuration of an authenticator is invalid.
    """
    authenticators = _configured(config)
    is_local = is_loopback(listen)
    is_configured = bool(authenticators) or config.none
    if config.local_user or (config.local_user is None and not is_configured and is_local):
        authenticators.append(LocalUser(config.local_roles))
    if config.none:
        authenticators.append(Everybody())
    if not authenticators:
        raise ConfigError(
            f"listen: {listen} can be reached by other machines, and no authenticator is "
            "configured: configure one below auth, or set auth.none: true to let everybody do "
            "everything"
            if not is_local
            else "auth: no authenticator is configured, and auth.local_user is false"
        )
    return Authentication(authenticators)


def _configured(config: AuthConfig) -> list[Authenticator]:
    found: list[Authenticator] = []
    if config.token_file is not None:
        found.append(TokenFile(config.token_file))
    oidc = open_oidc(config.oidc)
    if oidc is not None:
        found.append(oidc)
    if config.certificates.callers:
        found.append(ClientCertificates(config.certificates.callers))
    if config.proxy.certificates:
        found.append(ProxyHeader(config.proxy))
    plugin = load_plugin(config.plugin)
    if plugin is not None:
        found.append(plugin)
    return found
