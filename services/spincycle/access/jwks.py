"""The public keys of an issuer of tokens: fetched, cached, rotated."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import jwt
import structlog
from jwt.exceptions import PyJWTError

from spincycle.access.authentication import OnChange
from spincycle.access.http_document import TIMEOUT, NotFetched, fetch_document
from spincycle.errors import AuthenticationUnavailable, NotAuthenticated
from spincycle.runtime import deadline

REFRESH_INTERVAL = 300.0
"""Seconds between two fetches of the keys in the background."""

MIN_INTERVAL = 10.0
"""Seconds between two fetches, whatever tokens come and however often fetching fails."""

MAX_KEYS = 64
"""Most keys of an issuer that are used."""

MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192

KEY_TYPES: Mapping[str, tuple[str, str]] = {
    "RS256": ("RSA", ""),
    "RS384": ("RSA", ""),
    "RS512": ("RSA", ""),
    "PS256": ("RSA", ""),
    "PS384": ("RSA", ""),
    "PS512": ("RSA", ""),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""Type and curve of the keys of each algorithm: signatures only, nothing with a shared secret."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """One key of an issuer.

    Attributes:
        kid: its id; empty if it has none.
        type: type and curve, as in KEY_TYPES.
        algorithm: the only algorithm that it is for; empty if the issuer does not say.
        key: the key, for PyJWT.
    """

    kid: str
    type: tuple[str, str]
    algorithm: str
    key: Any

    def fits(self, algorithm: str) -> bool:
        """Return whether it verifies signatures of an algorithm."""
        return KEY_TYPES[algorithm] == self.type and self.algorithm in ("", algorithm)


class IssuerKeys:
    """Caches the keys of an issuer; keeps them while it is away.

    Args:
        issuer: its identifier, a URL.
        jwks_uri: URL of the keys; empty to read it from the issuer's discovery document.
        tls: verifies the servers of both.
        clock: monotonic seconds.

    Attributes:
        generation: number of changes of the keys.
    """

    def __init__(
        self,
        issuer: str,
        jwks_uri: str,
        tls: ssl.SSLContext,
        clock: Callable[[], float] = time.monotonic,
        timeout: float = TIMEOUT,
    ) -> None:
        self._issuer = issuer
        self._jwks_uri = jwks_uri
        self._tls = tls
        self._clock = clock
        self._timeout = timeout
        self._keys: dict[str, list[PublicKey]] = {}
        self._document: object = None
        self._attempted_at = float("-inf")
        self._problem = ""
        self._fetching: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self.generation = 0

    async def find(self, kid: str, algorithm: str) -> list[PublicKey]:
        """Return the keys that may have signed a token.

        Args:
            kid: id of the key in the token; empty if it has none.
            algorithm: that of the token, one of KEY_TYPES.

        Raises:
            NotAuthenticated: the issuer has no such key.
            AuthenticationUnavailable: it may have one, and its keys cannot be fetched.
        """
        if found := self._matching(kid, algorithm):
            return found
        await self._refresh_if_due()
        if found := self._matching(kid, algorithm):
            return found
        if self._problem:
            raise AuthenticationUnavailable(
                f"the keys of the issuer could not be fetched: {self._problem}"
            )
        raise NotAuthenticated(f"the issuer {self._issuer} has no key that signs such a token")

    async def watch(self, on_change: OnChange) -> None:
        """Fetch the keys at once and again every REFRESH_INTERVAL, until cancelled."""
        while True:
            await self._refresh_if_due()
            with suppress(TimeoutError):
                async with asyncio.timeout(MIN_INTERVAL if self._problem else REFRESH_INTERVAL):
                    await self._changed.wait()
            if self._changed.is_set():
                self._changed.clear()
                await on_change()

    def _matching(self, kid: str, algorithm: str) -> list[PublicKey]:
        # Without an id in the token, only a key without an id, or the only one, is meant.
        keys = self._keys.get(kid, [])
        if not kid and not keys and len(self._keys) == 1:
            (keys,) = self._keys.values()
        return [key for key in keys if key.fits(algorithm)]

    async def _refresh_if_due(self) -> None:
        """Wait for the current fetch, or start one if the last began MIN_INTERVAL ago."""
        if self._fetching is None or self._fetching.done():
            if self._clock() < self._attempted_at + MIN_INTERVAL:
                return
            self._attempted_at = self._clock()
            self._fetching = asyncio.create_task(
                self._refresh(), context=deadline.without_deadline()
            )
        # Other calls wait for it, too.
        await asyncio.shield(self._fetching)

    async def _refresh(self) -> None:
        try:
            document = await fetch_document(await self._uri(), self._tls, self._timeout)
            keys = await asyncio.to_thread(parse_jwks, document)
        except NotFetched as error:
            if str(error) != self._problem:
                self._problem = str(error)
                structlog.get_logger().error(
                    "keys not fetched", issuer=self._issuer, problem=self._problem
                )
            return
        had_problem, self._problem = bool(self._problem), ""
        is_changed = document != self._document
        if is_changed:
            self._document, self._keys = document, keys
            self.generation += 1
            self._changed.set()
        if is_changed or had_problem:
            structlog.get_logger().info("keys fetched", issuer=self._issuer, kids=sorted(keys))

    async def _uri(self) -> str:
        """Return the URL of the keys."""
        if self._jwks_uri:
            return self._jwks_uri
        url = self._issuer.rstrip("/") + "/.well-known/openid-configuration"
        document = await fetch_document(url, self._tls, self._timeout)
        if document.get("issuer") != self._issuer:
            raise NotFetched(f"{url} describes another issuer than {self._issuer}")
        uri = document.get("jwks_uri")
        if not isinstance(uri, str):
            raise NotFetched(f"{url} has no jwks_uri")
        return uri


def parse_jwks(document: Mapping[str, Any]) -> dict[str, list[PublicKey]]:
    """Return the usable public keys of a JWKS by id; others are left out.

    Raises:
        NotFetched: there is none.
    """
    entries = document.get("keys")
    keys: dict[str, list[PublicKey]] = {}
    for entry in entries[:MAX_KEYS] if isinstance(entries, list) else ():
        key = _public_key(entry)
        if key is not None:
            keys.setdefault(key.kid, []).append(key)
    if not keys:
        raise NotFetched("the issuer has no public key that can be used")
    return keys


def _public_key(entry: object) -> PublicKey | None:
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig" or "d" in entry:
        return None
    kid, algorithm = entry.get("kid", ""), entry.get("alg", "")
    type_ = (str(entry.get("kty")), str(entry.get("crv", "")))
    if not isinstance(kid, str) or not isinstance(algorithm, str):
        return None
    fitting = [name for name, wanted in KEY_TYPES.items() if wanted == type_]
    if not fitting or algorithm not in ("", *fitting):
        return None
    try:
        key = jwt.PyJWK.from_dict(entry, algorithm or fitting[0]).key
    except (PyJWTError, ValueError, TypeError, KeyError):
        return None
    if type_[0] == "RSA" and not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        return None
    return PublicKey(kid, type_, algorithm, key)
