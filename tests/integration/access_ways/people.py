"""People with one role each, and their tokens."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.security.installation import Settings
from tests.security.tokens import token_of, write_tokens

from spincycle.identity.service_identity import GATEWAY, JOB_LOG, REQUEST_MANAGER

SPECS = Path(__file__).parent / "specs"

NOBODY = "nobody"
"""A caller without a token."""

PEOPLE: dict[str, list[str]] = {
    "outsider": [],
    "viewer": ["viewer"],
    "starter": ["starter"],
    "stopper": ["stopper"],
    "owner": ["owner"],
    "admin": ["admin"],
}
"""Roles by name."""

LEAVER = "leaver"
"""A viewer whose token a test removes."""

CALLERS = (*PEOPLE, NOBODY)


def token(name: str) -> str:
    """Return the token of a person; empty for nobody."""
    return "" if name == NOBODY else token_of(name)


def settings(home: Path) -> Settings:
    """Settings of an installation in which these people have tokens, and others nothing.

    Its specs are in `home / "specs"`.
    """
    file = write_tokens(home, {**PEOPLE, LEAVER: ["viewer"]})
    specs = shutil.copytree(SPECS, home / "specs")
    auth = {"AUTH__TOKEN_FILE": str(file)}
    return {
        REQUEST_MANAGER: auth | {"SPECS_DIR": str(specs), "ACCESS__STRICT": "true"},
        JOB_LOG: auth,
        GATEWAY: auth | {"KEEPALIVE": "0.2"},
    }


def remove_token(home: Path, name: str) -> None:
    """Remove the token of a person from the token file."""
    people = {**PEOPLE, LEAVER: ["viewer"]}
    del people[name]
    write_tokens(home, people)
