"""Configuration of authentication and of access rules."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from spincycle.runtime.config import Section

Count = Annotated[int, Meta(ge=0)]


class OidcConfig(Section, frozen=True):
    """Tokens (JWT) of an OpenID Connect issuer."""

    issuer: str = ""
    """Identifier of the issuer, an https URL, as in the claim iss of its tokens; empty for none.
    On loopback it may be http."""

    audience: tuple[str, ...] = ()
    """Audiences of which a token must have at least one, as in its claim aud."""

    jwks_uri: str = ""
    """URL of the public keys; empty to read it from the issuer's discovery document."""

    algorithms: tuple[str, ...] = ("RS256", "ES256", "EdDSA")
    """Accepted algorithms of signatures."""

    name_claim: str = "sub"
    """Claim with the name of the caller: a lasting one, which the caller cannot choose. A "." goes
    to a claim inside of another one."""

    roles_claim: str = "roles"
    """Claim with the roles of the caller, a list or a text with spaces between them, such as groups
    or realm_access.roles."""

    leeway: Annotated[float, Meta(ge=0, le=300)] = 30.0
    """Seconds by which the clock of the issuer may differ."""

    ca: Path | None = None
    """CA certificates of the issuer's servers; not set, those of the system count."""


class CertifiedCaller(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The caller that a client certificate stands for."""

    name: str = ""
    """Name of the caller; empty for the name in the certificate."""

    roles: tuple[str, ...] = ()
    """Roles of the caller."""


class CertificatesConfig(Section, frozen=True):
    """Client certificates."""

    callers: dict[str, CertifiedCaller] = msgspec.field(default_factory=dict)
    """Callers by a name in their certificate, a subject alternative name, or without any the common
    name: `name: {name: …, roles: [role, …]}`. The listener must ask for certificates."""

    listen: str = ""
    """Address of a further gRPC listener, host:port, whose clients must present a certificate;
    empty for none. It has the certificate of the public listener. The gateway has no such listener:
    with tls.client_ca its own one asks for certificates."""

    ca: Path | None = None
    """CA certificates of the clients of that listener."""


class ProxyConfig(Section, frozen=True):
    """A proxy that authenticates callers and names them in headers."""

    certificates: tuple[str, ...] = ()
    """Names in the client certificates of such proxies; without them the headers count for nothing.
    The proxy must replace these headers of its callers. The listener must ask for certificates."""

    name_header: Annotated[str, Meta(min_length=1)] = "x-forwarded-user"
    """Header with the name of the caller."""

    roles_header: str = "x-forwarded-groups"
    """Header with the roles of the caller, separated by commas; empty for none."""


class AuthConfig(Section, frozen=True):
    """How the callers of the public listener are authenticated."""

    none: bool = False
    """Authenticate nobody: every caller may do everything. Otherwise a listener that other machines
    can reach does not start without an authenticator."""

    token_file: Path | None = None
    """YAML file with the bearer tokens that are accepted: `name: {roles: [role, …], sha256: digest
    of the token}`. It is read again within a second of a change. `spincycle tokens new` adds to
    it."""

    oidc: OidcConfig = OidcConfig()
    """Tokens (JWT) of an OpenID Connect issuer."""

    certificates: CertificatesConfig = CertificatesConfig()
    """Client certificates."""

    proxy: ProxyConfig = ProxyConfig()
    """A proxy that authenticates callers and names them in headers."""

    plugin: str = ""
    """Name of a plug-in, an entry point of the group spincycle.access, that authenticates callers;
    on request managers it also has to allow every operation but view. Empty for none."""

    local_user: bool | None = None
    """Whether root and the account of the process are accepted without a credential on loopback
    listeners. Not set, they are if no other authenticator is configured."""

    local_roles: tuple[str, ...] = ("admin",)
    """Roles of these local users."""


class LimitsConfig(Section, frozen=True):
    """Limits of one caller; 0 means no limit."""

    open_requests: Count = 0
    """Most requests of one user that have not ended. Concurrent calls can exceed it by a few."""

    requests_per_minute: Count = 0
    """Most requests that one caller creates per minute, in each copy of the request manager."""

    streams: Count = 0
    """Most open Watch streams of one caller, in each copy of the request manager."""


class AccessConfig(Section, frozen=True):
    """Access rules for authenticated callers."""

    admin_roles: tuple[str, ...] = ("admin",)
    """Roles that may do everything."""

    impersonator_roles: tuple[str, ...] = ()
    """Roles that may create requests for other users, as portals do."""

    strict: bool | None = None
    """Whether requests whose specs have no ACL are for admin roles only. Not set, they are if other
    machines can reach the public listener."""

    limits: LimitsConfig = LimitsConfig()
    """Limits of one caller."""
