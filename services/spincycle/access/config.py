"""Configuration of authentication and of access rules."""

from __future__ import annotations

from pathlib import Path

from spincycle.runtime.config import Section


class AuthConfig(Section, frozen=True):
    """How the callers of the public listener are authenticated."""

    none: bool = False
    """Authenticate nobody: every caller may do everything. Otherwise a listener that other machines
    can reach does not start without an authenticator."""

    token_file: Path | None = None
    """YAML file with the bearer tokens that are accepted: `name: {roles: [role, …], sha256: digest
    of the token}`. It is read again within a second of a change. `spincycle tokens new` adds to
    it."""

    plugin: str = ""
    """Name of a plug-in, an entry point of the group spincycle.access, that authenticates callers;
    on request managers it also has to allow every operation. Empty for none."""

    local_user: bool | None = None
    """Whether root and the account of the process are accepted without a credential on loopback
    listeners. Not set, they are if no other authenticator is configured."""

    local_roles: tuple[str, ...] = ("admin",)
    """Roles of these local users."""


class AccessConfig(Section, frozen=True):
    """What authenticated callers may do."""

    admin_roles: tuple[str, ...] = ("admin",)
    """Roles that may do everything."""

    impersonator_roles: tuple[str, ...] = ()
    """Roles that may create requests for other users, as portals do."""

    strict: bool | None = None
    """Whether requests whose specs have no ACL are for admin roles only. Not set, they are if other
    machines can reach the public listener."""
