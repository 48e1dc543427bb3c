"""Tokens are accepted only as their issuer meant them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm
from tests.issuer.signing_keys import ALGORITHMS, SigningKey

from spincycle.access.authentication import Authentication
from spincycle.access.caller import Caller
from spincycle.access.config import OidcConfig
from spincycle.access.credentials import Credentials
from spincycle.access.http_document import NotFetched
from spincycle.access.jwks import IssuerKeys, parse_jwks
from spincycle.access.oidc import InvalidToken, Oidc, caller_of, open_oidc, parse_token
from spincycle.errors import NotAuthenticated
from spincycle.runtime.config import ConfigError

ISSUER = "https://issuer.example"
NOW = 1_700_000_000.0
CONFIG = OidcConfig(ISSUER, audience=("spincycle", "other"))

RSA = SigningKey.generate("rsa", "RS256")
EC = SigningKey.generate("ec", "ES256")
ED = SigningKey.generate("ed", "EdDSA")
KEYS = {key.algorithm: key for key in (RSA, EC, ED)}


class PublishedKeys(IssuerKeys):
    """Keys that need no server."""

    def __init__(self, *keys: SigningKey) -> None:
        super().__init__(ISSUER, "", ssl.create_default_context())
        self._attempted_at = time.monotonic()
        self.publish(*keys)

    def publish(self, *keys: SigningKey) -> None:
        self._keys = parse_jwks({"keys": [key.public() for key in keys]})
        self.generation += 1


def claims(**changed: Any) -> dict[str, Any]:
    given = {
        "iss": ISSUER,
        "aud": "spincycle",
        "sub": "alice",
        "roles": ["ops"],
        "exp": NOW + 60,
        **changed,
    }
    return {name: value for name, value in given.items() if value is not None}


def encode(part: object) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def bearer(token: str) -> Credentials:
    return Credentials({"authorization": [f"Bearer {token}"]})


@pytest.fixture
def now() -> list[float]:
    return [NOW]


@pytest.fixture
def keys() -> PublishedKeys:
    return PublishedKeys(*KEYS.values())


@pytest.fixture
def oidc(keys: PublishedKeys, now: list[float]) -> Oidc:
    return Oidc(CONFIG, keys, clock=lambda: now[0])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_signed_token_names_the_caller(oidc: Oidc, algorithm: str) -> None:
    caller = await oidc.authenticate(bearer(KEYS[algorithm].sign(claims())))

    assert caller == Caller("alice", ("ops",), "oidc", expires_at=NOW + 90)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"aud": "wiki"}, "another audience"),
        ({"aud": ["wiki", 7]}, "another audience"),
        ({"aud": None}, "another audience"),
        ({"aud": {"spincycle": 1}}, "another audience"),
        ({"exp": NOW - 31}, "has expired"),
        ({"exp": None}, "has no exp"),
        ({"exp": "tomorrow"}, "malformed exp"),
        ({"exp": True}, "malformed exp"),
        ({"nbf": NOW + 31}, "not valid yet"),
        ({"iat": NOW + 31}, "not valid yet"),
        ({"nbf": [0]}, "malformed nbf"),
        ({"sub": None}, 'no claim "sub"'),
        ({"sub": ""}, "the name is empty"),
        ({"sub": "a\0b"}, "cannot be printed"),
        ({"sub": "a" * 257}, "longer than 256 bytes"),
        ({"sub": 7}, 'no claim "sub"'),
        ({"roles": {"ops": True}}, "not a list of texts"),
        ({"roles": ["ops", 7]}, "not a list of texts"),
        ({"roles": [f"role-{n}" for n in range(257)]}, "more than 256 roles"),
    ],
)
async def test_a_token_with_other_claims_is_refused(
    oidc: Oidc, changed: dict[str, Any], problem: str
) -> None:
    with pytest.raises(NotAuthenticated, match=problem):
        await oidc.authenticate(bearer(EC.sign(claims(**changed))))


@pytest.mark.parametrize(
    "changed", [{"exp": NOW - 29}, {"nbf": NOW + 29}, {"iat": NOW + 29}, {"aud": ["x", "other"]}]
)
async def test_clocks_may_differ_by_the_leeway(oidc: Oidc, changed: dict[str, Any]) -> None:
    assert await oidc.authenticate(bearer(EC.sign(claims(**changed))))


async def test_a_token_of_another_issuer_is_left_to_other_authenticators(oidc: Oidc) -> None:
    assert await oidc.authenticate(bearer(EC.sign(claims(iss="https://else.example")))) is None
    assert await oidc.authenticate(bearer("opaque")) is None
    assert await oidc.authenticate(Credentials()) is None


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", ""])
async def test_an_unsigned_token_is_refused(oidc: Oidc, algorithm: str) -> None:
    head = encode({"alg": algorithm, "kid": "rsa"})

    for signature in ("", encode(b"signature")):
        with pytest.raises(NotAuthenticated):
            await oidc.authenticate(bearer(f"{head}.{encode(claims())}.{signature}"))


@pytest.mark.parametrize("key_form", ["pem", "der", "jwk"])
async def test_a_public_key_is_no_secret_of_an_hmac(oidc: Oidc, key_form: str) -> None:
    """Otherwise anybody could sign, since the key is public."""
    public = RSA.private.public_key()
    secret = {
        "pem": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "der": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "jwk": json.dumps(RSA.public()).encode(),
    }[key_form]
    signed = f"{encode({'alg': 'HS256', 'kid': 'rsa'})}.{encode(claims())}"
    signature = hmac.new(secret, signed.encode(), hashlib.sha256).digest()

    with pytest.raises(NotAuthenticated, match="algorithm that is not accepted"):
        await oidc.authenticate(bearer(f"{signed}.{encode(signature)}"))


async def test_a_key_verifies_only_the_algorithm_that_it_is_for(oidc: Oidc) -> None:
    with pytest.raises(NotAuthenticated, match="no key that signs such a token"):
        await oidc.authenticate(bearer(RSA.sign(claims(), {"kid": "ec"})))


async def test_a_key_inside_the_token_counts_for_nothing(oidc: Oidc) -> None:
    own = SigningKey.generate("rsa", "RS256")

    with pytest.raises(NotAuthenticated, match="signature"):
        await oidc.authenticate(bearer(own.sign(claims(), {"jwk": own.public()})))
    with pytest.raises(NotAuthenticated, match="no key"):
        await oidc.authenticate(
            bearer(own.sign(claims(), {"kid": "/dev/null", "jku": "http://127.0.0.1:9/"}))
        )


async def test_a_header_that_must_be_understood_is_refused(oidc: Oidc) -> None:
    with pytest.raises(NotAuthenticated, match="not supported"):
        await oidc.authenticate(bearer(RSA.sign(claims(), {"crit": ["x"], "x": 1})))


async def test_a_changed_token_is_refused(oidc: Oidc) -> None:
    head, _, signature = EC.sign(claims()).split(".")
    for changed in (encode(claims(sub="root")), encode(claims(roles=["admin"]))):
        with pytest.raises(NotAuthenticated, match="signature"):
            await oidc.authenticate(bearer(f"{head}.{changed}.{signature}"))


async def test_a_verified_token_is_cached_until_it_expires(oidc: Oidc, now: list[float]) -> None:
    token = EC.sign(claims())
    verified = await oidc.authenticate(bearer(token))
    assert await oidc.authenticate(bearer(token)) is verified

    now[0] = NOW + 90
    with pytest.raises(NotAuthenticated, match="expired"):
        await oidc.authenticate(bearer(token))


async def test_a_cached_token_is_refused_once_its_key_is_gone(
    oidc: Oidc, keys: PublishedKeys
) -> None:
    token = EC.sign(claims())
    await oidc.authenticate(bearer(token))

    keys.publish(RSA)

    with pytest.raises(NotAuthenticated, match="no key"):
        await oidc.authenticate(bearer(token))


async def test_a_token_without_key_id_is_accepted_if_the_issuer_has_one_key(
    now: list[float],
) -> None:
    token = bearer(EC.sign(claims(), {"kid": None}))

    assert await Oidc(CONFIG, PublishedKeys(EC), lambda: NOW).authenticate(token)
    with pytest.raises(NotAuthenticated, match="no key"):
        await Oidc(CONFIG, PublishedKeys(EC, RSA), lambda: NOW).authenticate(token)


_TOKENS = st.one_of(
    st.text(max_size=300),
    st.lists(st.binary(max_size=60).map(encode), max_size=5).map(".".join),
    st.tuples(
        st.dictionaries(st.sampled_from(["alg", "kid", "crit", "b64"]), st.none() | st.text()),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(),
            lambda inner: st.dictionaries(st.sampled_from(["iss", "aud", "exp", "sub"]), inner),
        ),
    ).map(lambda parts: f"{encode(parts[0])}.{encode(parts[1])}.c2ln"),
)


@given(_TOKENS)
async def test_a_malformed_token_is_refused_without_another_error(token: str) -> None:
    authentication = Authentication([Oidc(CONFIG, PublishedKeys(EC), lambda: NOW)])

    with pytest.raises(NotAuthenticated):
        await authentication.authenticate(bearer(token))


@given(st.lists(st.text(max_size=60) | st.binary(max_size=40).map(encode), min_size=1, max_size=3))
async def test_a_malformed_header_is_refused_without_another_error(values: list[str]) -> None:
    authentication = Authentication([Oidc(CONFIG, PublishedKeys(EC), lambda: NOW)])

    with pytest.raises(NotAuthenticated):
        await authentication.authenticate(Credentials({"authorization": values}))


@pytest.mark.parametrize("nested", ["[" * 9000, '{"a":' * 3000])
def test_deeply_nested_claims_are_refused(nested: str) -> None:
    with pytest.raises(InvalidToken, match="not JSON"):
        parse_token(f"{encode({'alg': 'ES256'})}.{encode(nested.encode())}.c2ln")


async def test_an_oversized_header_is_refused_before_any_signature_is_verified(oidc: Oidc) -> None:
    with pytest.raises(NotAuthenticated, match="header of more than"):
        await oidc.authenticate(bearer(EC.sign(claims(), {"x5c": ["a" * 3000]})))


@pytest.mark.parametrize(
    ("config", "given_claims", "expected"),
    [
        ({"name_claim": "preferred_username"}, {"preferred_username": "bob"}, ("bob", ("ops",))),
        ({"roles_claim": "realm.roles"}, {"realm": {"roles": ["a", "a"]}}, ("alice", ("a",))),
        ({"roles_claim": "https://x/y"}, {"https://x/y": ["b"]}, ("alice", ("b",))),
        ({"roles_claim": "scope"}, {"scope": "read write"}, ("alice", ("read", "write"))),
        ({"roles_claim": "groups"}, {}, ("alice", ())),
    ],
)
def test_name_and_roles_come_from_the_configured_claims(
    config: dict[str, Any], given_claims: dict[str, Any], expected: tuple[str, tuple[str, ...]]
) -> None:
    caller = caller_of(claims(**given_claims), OidcConfig(ISSUER, **config))
    assert (caller.name, caller.roles) == expected


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"issuer": "http://issuer.example", "audience": ("a",)}, "plain text"),
        ({"issuer": "file:///etc/passwd", "audience": ("a",)}, "not a URL with https"),
        ({"issuer": "https://a:b@issuer.example", "audience": ("a",)}, "a user"),
        ({"issuer": "https://issuer.example:port", "audience": ("a",)}, "not a URL"),
        ({"issuer": ISSUER, "jwks_uri": "http://10.0.0.1/", "audience": ("a",)}, "jwks_uri"),
        ({"issuer": ISSUER}, "audience: not set"),
        ({"issuer": ISSUER, "audience": ("a",), "algorithms": ("none",)}, "algorithms: none"),
        ({"issuer": ISSUER, "audience": ("a",), "algorithms": ("HS256",)}, "algorithms: HS256"),
        ({"issuer": ISSUER, "audience": ("a",), "algorithms": ()}, "algorithms: empty"),
    ],
)
def test_an_unsafe_configuration_prevents_the_start(config: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        open_oidc(OidcConfig(**config))


def test_keys_that_are_not_safe_are_left_out() -> None:
    secret = {"kty": "oct", "k": encode(b"secret"), "kid": "hmac", "alg": "HS256"}
    private = {**json.loads(ECAlgorithm.to_jwk(EC.private)), "kid": "private"}
    encryption = {**EC.public(), "use": "enc", "kid": "encryption"}
    confused = {**RSA.public(), "alg": "HS256", "kid": "confused"}
    small_key = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    small = SigningKey("small", "RS256", small_key).public()
    off_curve = {**EC.public(), "x": EC.public()["y"], "kid": "off-curve"}
    entries = [secret, private, encryption, confused, small, off_curve, 7, None, [], {"kty": 1}]

    assert list(parse_jwks({"keys": [*entries, ED.public()]})) == ["ed"]
    with pytest.raises(NotFetched, match="no public key"):
        parse_jwks({"keys": entries})


@given(
    st.recursive(
        st.none() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["keys", "kty", "crv", "n", "e", "x", "y", "kid", "alg"]), inner
            )
        ),
    )
)
def test_any_document_has_keys_or_is_refused(document: object) -> None:
    with pytest.raises(NotFetched):
        parse_jwks({"keys": document})
