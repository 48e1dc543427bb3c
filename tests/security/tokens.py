"""Token files of people."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path


def token_of(name: str) -> str:
    """Return the token of a person."""
    return f"token-of-{name}"


def write_tokens(home: Path, people: Mapping[str, Sequence[str]]) -> Path:
    """Write a token file, given the roles of people by name, and return its path."""
    file = home / "tokens.yaml"
    file.touch(0o600)
    digests = {name: hashlib.sha256(token_of(name).encode()).hexdigest() for name in people}
    file.write_text(
        json.dumps(
            {name: {"roles": roles, "sha256": digests[name]} for name, roles in people.items()}
        )
    )
    return file
