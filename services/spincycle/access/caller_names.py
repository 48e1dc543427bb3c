"""Checks the names of callers and roles that authenticators find."""

from __future__ import annotations

from collections.abc import Iterable

MAX_BYTES = 256
"""Largest name of a caller or role."""

MAX_ROLES = 256
"""Most roles of a caller."""


def check_name(name: str, kind: str = "name") -> None:
    """Check the name of a caller or role.

    Raises:
        ValueError: it is empty, too long, or cannot be printed; the message says so.
    """
    if not name or name != name.strip():
        raise ValueError(f"the {kind} is empty, or begins or ends with a space")
    if len(name.encode(errors="surrogatepass")) > MAX_BYTES:
        raise ValueError(f"the {kind} is longer than {MAX_BYTES} bytes")
    if not name.isprintable():
        raise ValueError(f"the {kind} has characters that cannot be printed")


def check_roles(roles: Iterable[str]) -> tuple[str, ...]:
    """Return the roles without duplicates, in their order.

    Raises:
        ValueError: there are more than MAX_ROLES, or one is not valid.
    """
    distinct = tuple(dict.fromkeys(roles))
    if len(distinct) > MAX_ROLES:
        raise ValueError(f"there are more than {MAX_ROLES} roles")
    for role in distinct:
        check_name(role, "role")
    return distinct
