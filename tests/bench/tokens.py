"""How long the verification of a token takes, beside its bare parts."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

import jwt
from tests.issuer.process import running_issuer

from spincycle.access.authentication import Authentication
from spincycle.access.authenticators import open_authentication
from spincycle.access.config import AuthConfig, OidcConfig
from spincycle.access.credentials import Credentials

TOKENS = 200

REPETITIONS = 20
"""Calls with each cached token."""


@dataclass(slots=True)
class TokenCosts:
    """Medians over many tokens of one algorithm.

    Attributes:
        algorithm: that of the signatures.
        first_ms: milliseconds of the first call with a token.
        bare_ms: milliseconds of the verification of its signature alone.
        cached_us: microseconds of a further call.
        bare_us: microseconds of the digest and one dictionary look-up.
    """

    algorithm: str
    first_ms: float
    bare_ms: float
    cached_us: float
    bare_us: float


async def take_token_costs(algorithm: str) -> TokenCosts:
    """Measure with the keys of an issuer on this machine."""
    with running_issuer("--algorithm", algorithm) as issuer:
        tokens = [issuer.token(n=number) for number in range(TOKENS)]
        keys = {entry["kid"]: jwt.PyJWK(entry) for entry in issuer.jwks()["keys"]}
        config = AuthConfig(oidc=OidcConfig(issuer.url, audience=("spincycle",)))
        authentication = open_authentication(config, "127.0.0.1:0")
        await authentication.authenticate(_bearer(issuer.token()))
        first = await _median(authentication, tokens, 1)
        cached = await _median(authentication, tokens, REPETITIONS)
    key = keys[jwt.get_unverified_header(tokens[0])["kid"]].key
    verifier = jwt.get_algorithm_by_name(algorithm)
    parts = [token.rpartition(".") for token in tokens]
    signed = [(head.encode(), jwt.utils.base64url_decode(sign.encode())) for head, _, sign in parts]
    bare = [_seconds(partial(verifier.verify, head, key, sign)) for head, sign in signed]
    known = {_digest(token): token for token in tokens}
    looked_up = [_seconds(partial(_look_up, known, token)) for token in tokens]
    return TokenCosts(
        algorithm, 1e3 * first, 1e3 * median(bare), 1e6 * cached, 1e6 * median(looked_up)
    )


def _look_up(known: Mapping[bytes, str], token: str) -> str:
    return known[_digest(token)]


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _bearer(token: str) -> Credentials:
    return Credentials({"authorization": [f"Bearer {token}"]})


async def _median(authentication: Authentication, tokens: Sequence[str], repetitions: int) -> float:
    """Return the median of the seconds of a call."""
    taken: list[float] = []
    for token in tokens:
        credentials = _bearer(token)
        began = time.perf_counter()
        for _ in range(repetitions):
            await authentication.authenticate(credentials)
        taken.append((time.perf_counter() - began) / repetitions)
    return median(taken)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
