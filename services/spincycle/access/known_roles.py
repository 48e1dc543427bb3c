"""The roles that callers of a service can have."""

from __future__ import annotations

from spincycle.access.authentication import Authentication
from spincycle.access.caller import OPEN
from spincycle.access.config import AccessConfig, AuthConfig
from spincycle.access.local_user import LOCAL_USER
from spincycle.access.token_file import TOKEN_FILE, TokenFile


def known_roles(
    authentication: Authentication, auth: AuthConfig, access: AccessConfig
) -> frozenset[str] | None:
    """Return the roles of the token file and of the configuration.

    None without a token file, or if another authenticator can bring any role.
    """
    tokens = authentication.find(TokenFile)
    if tokens is None or not {TOKEN_FILE, LOCAL_USER, OPEN}.issuperset(authentication.names):
        return None
    return tokens.roles.union(access.admin_roles, access.impersonator_roles, auth.local_roles)
