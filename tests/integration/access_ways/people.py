"""People with one role each, and their tokens."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from tests.security.installation import Settings

from spincycle.identity.service_identity import GATEWAY, JOB_LOG, REQUEST_MANAGER

SPECS = Path(__file__).parent / "specs"

NOBODY = "nobody"
"""A caller without a token."""

PEOPLE = {
    "outsider": [],
    "viewer": ["viewer"],
    "starter": ["starter"],
    "stopper": ["stopper"],
    "owner": ["owner"],
    "admin": ["admin"],
}
"""Roles by name."""

CALLERS = (*PEOPLE, NOBODY)


def token(name: str) -> str:
    """Return the token of a person; empty for nobody."""
    return "" if name == NOBODY else f"token-of-{name}"


def settings(home: Path) -> Settings:
    """Settings of an installation in which these people have tokens, and others nothing."""
    file = home / "tokens.yaml"
    file.touch(0o600)
    file.write_text(
        json.dumps(
            {
                name: {"roles": roles, "sha256": hashlib.sha256(token(name).encode()).hexdigest()}
                for name, roles in PEOPLE.items()
            }
        )
    )
    auth = {"AUTH__TOKEN_FILE": str(file)}
    return {
        REQUEST_MANAGER: auth | {"SPECS_DIR": str(SPECS), "ACCESS__STRICT": "true"},
        JOB_LOG: auth,
        GATEWAY: auth | {"KEEPALIVE": "0.2"},
    }
