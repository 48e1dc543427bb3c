"""Keys with which the issuer signs tokens."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

ALGORITHMS = ("RS256", "ES256", "EdDSA")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key of one algorithm."""

    kid: str
    algorithm: str
    private: Any

    @classmethod
    def generate(cls, kid: str, algorithm: str) -> SigningKey:
        return cls(kid, algorithm, _private_key(algorithm))

    def public(self) -> dict[str, Any]:
        """Return the public key as an entry of a JWKS."""
        entry = json.loads(
            get_default_algorithms()[self.algorithm].to_jwk(self.private.public_key())
        )
        return {**entry, "kid": self.kid, "alg": self.algorithm, "use": "sig"}

    def sign(self, claims: dict[str, Any], headers: dict[str, Any] | None = None) -> str:
        """Return a token; `headers` replace those of the key, and None removes one."""
        given = {"kid": self.kid, **(headers or {})}
        given = {name: value for name, value in given.items() if value is not None}
        return jwt.encode(claims, self.private, algorithm=self.algorithm, headers=given)


class SigningKeys:
    """The keys of the issuer: one of each algorithm, and those before them."""

    def __init__(self) -> None:
        self._generation = 0
        self._published: list[SigningKey] = []
        self._unpublished = SigningKey.generate("unpublished", "ES256")
        self.rotate(keep=False)

    def rotate(self, *, keep: bool) -> None:
        """Sign by new keys; `keep` the earlier ones in the JWKS."""
        self._generation += 1
        new = [
            SigningKey.generate(f"{algorithm.lower()}-{self._generation}", algorithm)
            for algorithm in ALGORITHMS
        ]
        self._published = [*new, *(self._published if keep else ())]

    def signing(self, algorithm: str) -> SigningKey:
        """Return the current key of an algorithm; of "unpublished", one that no JWKS has."""
        if algorithm == "unpublished":
            return self._unpublished
        return next(key for key in self._published if key.algorithm == algorithm)

    def jwks(self) -> dict[str, Any]:
        """Return the public keys."""
        return {"keys": [key.public() for key in self._published]}


def _private_key(algorithm: str) -> Any:
    if algorithm == "RS256":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    if algorithm == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    return ed25519.Ed25519PrivateKey.generate()
