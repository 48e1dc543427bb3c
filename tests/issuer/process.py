"""The issuer as a process, and what tests let it do."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

REPOSITORY = Path(__file__).parents[2]

TIMEOUT = 30.0
"""Seconds within which the issuer responds to a control call."""

_open = build_opener(ProxyHandler({})).open


@dataclass(frozen=True, slots=True)
class RunningIssuer:
    """A running issuer.

    Attributes:
        url: issuer identifier, http://127.0.0.1:PORT.
    """

    url: str

    def token(
        self,
        name: str = "alice",
        roles: Sequence[str] = ("ops",),
        *,
        algorithm: str = "",
        headers: dict[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """Return a signed token.

        Args:
            name, roles: of the person.
            algorithm: RS256, ES256 or EdDSA; "unpublished" for a key that no JWKS has; empty for
                that of the settings.
            headers: headers that replace those of the token; None removes one.
            **claims: claims that replace those of the token; None removes one.
        """
        wanted = {
            "name": name,
            "roles": list(roles),
            "algorithm": algorithm,
            "headers": headers or {},
            "claims": claims,
        }
        return str(self._control("token", wanted)["token"])

    def rotate(self, *, keep: bool = False) -> None:
        """Sign by new keys; `keep` the earlier ones published."""
        self._control("rotate", {"keep": keep})

    def misbehave(self, kind: str) -> None:
        """Misbehave in one of MISBEHAVIOURS; "" ends it."""
        self._control("misbehave", {"kind": kind})

    def approve(self, user_code: str, name: str = "alice", roles: Sequence[str] = ("ops",)) -> None:
        """Approve a device as a person."""
        wanted = {"user_code": user_code, "name": name, "roles": list(roles)}
        assert self._control("decide", wanted)["known"]

    def deny(self, user_code: str) -> None:
        """Deny a device."""
        assert self._control("decide", {"user_code": user_code, "name": "", "roles": []})["known"]

    def revoke_refresh_tokens(self) -> None:
        """Forget every refresh token."""
        self._control("revoke", {})

    def jwks(self) -> dict[str, Any]:
        """Return the published keys."""
        with _open(f"{self.url}/jwks", timeout=TIMEOUT) as response:
            return dict(json.load(response))

    def calls(self, path: str) -> int:
        """Return the number of calls of a path so far."""
        with _open(f"{self.url}/control/calls", timeout=TIMEOUT) as response:
            return int(json.load(response).get(path, 0))

    def _control(self, name: str, body: object) -> dict[str, Any]:
        request = Request(
            f"{self.url}/control/{name}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with _open(request, timeout=TIMEOUT) as response:
            return dict(json.load(response))


@contextmanager
def running_issuer(*arguments: str) -> Iterator[RunningIssuer]:
    """Run an issuer; for the arguments see `python -m tests.issuer --help`."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.issuer", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    ) as process:
        try:
            assert process.stdout
            url = process.stdout.readline().strip()
            assert url, "the issuer has ended"
            yield RunningIssuer(url)
        finally:
            process.terminate()
