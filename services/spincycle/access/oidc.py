"""Authenticates callers by signed tokens (JWT) of an OpenID Connect issuer."""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt
import orjson
from jwt.exceptions import PyJWTError

from spincycle.access.authentication import OnChange, bearer_token
from spincycle.access.caller import Caller
from spincycle.access.caller_names import check_name, check_roles
from spincycle.access.config import OidcConfig
from spincycle.access.credentials import MAX_TOKEN_BYTES, Credentials
from spincycle.access.http_document import check_url
from spincycle.access.jwks import KEY_TYPES, IssuerKeys, PublicKey
from spincycle.batching.lru import Lru
from spincycle.errors import NotAuthenticated
from spincycle.runtime.config import ConfigError

OIDC = "oidc"
"""Name of the authenticator."""

CACHED_TOKENS = 10_000
"""Most verified tokens that are cached."""

MAX_HEADER_BYTES = 2048
"""Largest decoded header of a token."""


class InvalidToken(Exception):
    """A token is not valid; the message says why, and never has a part of it."""


@dataclass(frozen=True, slots=True)
class UnverifiedToken:
    """A token whose signature has not been verified.

    Attributes:
        algorithm, kid: of its header; the id is empty if it has none.
        claims: what it says.
    """

    algorithm: str
    kid: str
    claims: Mapping[str, Any]


class Oidc:
    """Accepts the tokens of one issuer. Verified tokens are cached until they expire.

    Args:
        config: the issuer, and what its tokens must have.
        keys: keys of the issuer.
        clock: seconds since 1970.
    """

    name = OIDC

    def __init__(
        self, config: OidcConfig, keys: IssuerKeys, clock: Callable[[], float] = time.time
    ) -> None:
        self._config = config
        self._keys = keys
        self._clock = clock
        self._verifier = jwt.PyJWS(list(config.algorithms))
        self._verified: Lru[bytes, Caller] = Lru(CACHED_TOKENS)
        self._generation = keys.generation

    async def authenticate(self, credentials: Credentials) -> Caller | None:
        """Return the caller; None if it shows no token of the issuer.

        Raises:
            NotAuthenticated: the token is malformed, expired, for others, or not signed by a key
                of the issuer.
            AuthenticationUnavailable: the keys of the issuer cannot be fetched.
        """
        token = bearer_token(credentials)
        if token.count(".") != 2 or len(token) > MAX_TOKEN_BYTES or not token.isascii():
            return None
        if self._generation != self._keys.generation:
            # A key may be gone because it is no longer safe.
            self._verified, self._generation = Lru(CACHED_TOKENS), self._keys.generation
        digest = hashlib.sha256(token.encode()).digest()
        caller = self._verified.get(digest)
        if caller is not None:
            if caller.expires_at is not None and caller.expires_at <= self._clock():
                raise NotAuthenticated("the token has expired")
            return caller
        try:
            unverified = parse_token(token)
            if unverified.claims.get("iss") != self._config.issuer:
                return None
            self._check_claims(unverified)
            caller = caller_of(unverified.claims, self._config)
        except InvalidToken as error:
            raise NotAuthenticated(f"the token {error}")
        keys = await self._keys.find(unverified.kid, unverified.algorithm)
        if not any(self._is_signed_by(key, token, unverified.algorithm) for key in keys):
            raise NotAuthenticated("the signature of the token is not valid")
        self._verified.put(digest, caller)
        return caller

    async def watch(self, on_change: OnChange) -> None:
        """Keep the keys of the issuer current, until cancelled."""
        await self._keys.watch(on_change)

    def _check_claims(self, token: UnverifiedToken) -> None:
        """Check algorithm, audience and times, which costs less than verifying the signature.

        Raises:
            InvalidToken: one is not accepted.
        """
        if token.algorithm not in self._config.algorithms:
            raise InvalidToken("is signed by an algorithm that is not accepted")
        claims, now, leeway = token.claims, self._clock(), self._config.leeway
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if not any(one in self._config.audience for one in audiences if isinstance(one, str)):
            raise InvalidToken("is for another audience")
        expires = _time(claims, "exp")
        if expires is None:
            raise InvalidToken("has no exp")
        if expires + leeway <= now:
            raise InvalidToken("has expired")
        for claim in ("nbf", "iat"):
            since = _time(claims, claim)
            if since is not None and since - leeway > now:
                raise InvalidToken(f"is not valid yet ({claim}); check the clocks")

    def _is_signed_by(self, key: PublicKey, token: str, algorithm: str) -> bool:
        try:
            self._verifier.decode(token, key.key, algorithms=[algorithm])
        except (PyJWTError, ValueError, TypeError):
            return False
        return True


def open_oidc(config: OidcConfig) -> Oidc | None:
    """Return the authenticator of the configured issuer; None without one.

    Raises:
        ConfigError: the configuration is invalid.
    """
    if not config.issuer:
        return None
    for setting, url in (("issuer", config.issuer), ("jwks_uri", config.jwks_uri)):
        try:
            if url:
                check_url(url)
        except ValueError as error:
            raise ConfigError(f"auth.oidc.{setting}: {error}")
    if not config.audience or not all(config.audience):
        raise ConfigError(
            "auth.oidc.audience: not set; without it the tokens of every program of the issuer "
            "would be accepted"
        )
    unknown = [name for name in config.algorithms if name not in KEY_TYPES]
    if unknown or not config.algorithms:
        raise ConfigError(
            f"auth.oidc.algorithms: {', '.join(unknown) or 'empty'}; name some of "
            f"{', '.join(KEY_TYPES)}"
        )
    try:
        tls = ssl.create_default_context(cafile=config.ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"auth.oidc.ca: cannot read {config.ca}: {error}")
    return Oidc(config, IssuerKeys(config.issuer, config.jwks_uri, tls))


def parse_token(token: str) -> UnverifiedToken:
    """Return what a token says of itself.

    Raises:
        InvalidToken: it is malformed, has extensions that must be understood, or is not signed.
    """
    parts = token.split(".")
    if len(parts) != 3 or not all(parts):
        raise InvalidToken("does not have a header, claims and a signature")
    encoded = _decode(parts[0])
    if len(encoded) > MAX_HEADER_BYTES:
        raise InvalidToken(f"has a header of more than {MAX_HEADER_BYTES} bytes")
    header, claims = _object(encoded), _object(_decode(parts[1]))
    _decode(parts[2])
    algorithm, kid = header.get("alg"), header.get("kid", "")
    if not isinstance(algorithm, str) or not isinstance(kid, str):
        raise InvalidToken("has a malformed header")
    if "crit" in header or header.get("b64", True) is not True:
        raise InvalidToken("has a header that is not supported")
    return UnverifiedToken(algorithm, kid, claims)


def caller_of(claims: Mapping[str, Any], config: OidcConfig) -> Caller:
    """Return the caller that the claims of a token name.

    Raises:
        InvalidToken: they do not name one, or a name is malformed.
    """
    name = _claim(claims, config.name_claim)
    if not isinstance(name, str):
        raise InvalidToken(f'has no claim "{config.name_claim}" with a name')
    roles = _claim(claims, config.roles_claim)
    if roles is None:
        roles = []
    elif isinstance(roles, str):
        roles = roles.split()
    if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
        raise InvalidToken(f'has a claim "{config.roles_claim}" that is not a list of texts')
    try:
        check_name(name)
        checked = check_roles(roles)
    except ValueError as error:
        raise InvalidToken(f"names a caller that is not valid: {error}")
    return Caller(name, checked, OIDC, expires_at=_expiry(claims, config.leeway))


def _expiry(claims: Mapping[str, Any], leeway: float) -> float | None:
    expires = _time(claims, "exp")
    return None if expires is None else expires + leeway


def _claim(claims: Mapping[str, Any], path: str) -> object:
    """Return a claim; a "." may separate the keys of nested objects."""
    if path in claims:
        return claims[path]
    value: object = claims
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _time(claims: Mapping[str, Any], claim: str) -> float | None:
    value = claims.get(claim)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidToken(f"has a malformed {claim}")
    return float(value)


def _decode(part: str) -> bytes:
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise InvalidToken("is not encoded in base64url")


def _object(encoded: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(encoded)
    except orjson.JSONDecodeError:
        raise InvalidToken("has a part that is not JSON")
    if not isinstance(value, dict):
        raise InvalidToken("has a part that is not a JSON object")
    return value
