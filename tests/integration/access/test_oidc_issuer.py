"""Tokens of a real issuer, which rotates its keys, goes away, is slow or hostile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.issuer.process import RunningIssuer, running_issuer
from tests.issuer.server import MISBEHAVIOURS
from tests.issuer.signing_keys import ALGORITHMS
from tests.waiting import until

from spincycle.access import jwks
from spincycle.access.authentication import Authentication
from spincycle.access.config import OidcConfig
from spincycle.access.credentials import Credentials
from spincycle.access.http_document import NotFetched, fetch_document
from spincycle.access.jwks import IssuerKeys
from spincycle.access.oidc import Oidc, open_oidc
from spincycle.access.token_file import TokenFile, add_token
from spincycle.errors import AuthenticationUnavailable, NotAuthenticated

PASSING = 10.5
"""Seconds of the clock after which keys may be fetched again."""


@pytest.fixture(scope="module")
def process() -> Iterator[RunningIssuer]:
    with running_issuer() as running:
        yield running


@pytest.fixture
def issuer(process: RunningIssuer) -> Iterator[RunningIssuer]:
    yield process
    process.misbehave("")


class Clock:
    """Seconds that pass on request."""

    def __init__(self) -> None:
        self.passed = 0.0

    def __call__(self) -> float:
        return self.passed


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def oidc(issuer: RunningIssuer, clock: Clock) -> Oidc:
    config = OidcConfig(issuer.url, audience=("spincycle",))
    opened = open_oidc(config)
    assert opened
    keys = IssuerKeys(issuer.url, "", opened._keys._tls, clock, timeout=20.0)
    return Oidc(config, keys)


def bearer(token: str) -> Credentials:
    return Credentials({"authorization": [f"Bearer {token}"]})


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_token_of_the_issuer_is_accepted(
    issuer: RunningIssuer, oidc: Oidc, algorithm: str
) -> None:
    caller = await oidc.authenticate(bearer(issuer.token("bob", ["dev"], algorithm=algorithm)))

    assert caller
    assert (caller.name, caller.roles, caller.authenticator) == ("bob", ("dev",), "oidc")


@pytest.mark.parametrize(
    ("claims", "problem"),
    [
        ({"aud": "wiki"}, "another audience"),
        ({"exp": 1}, "has expired"),
        ({"nbf": time.time() + 3600}, "not valid yet"),
    ],
)
async def test_a_token_of_the_issuer_for_others_is_refused(
    issuer: RunningIssuer, oidc: Oidc, claims: dict[str, object], problem: str
) -> None:
    with pytest.raises(NotAuthenticated, match=problem):
        await oidc.authenticate(bearer(issuer.token(**claims)))  # type: ignore[arg-type] # claims only


async def test_a_new_key_is_fetched_when_its_first_token_comes(
    issuer: RunningIssuer, oidc: Oidc, clock: Clock
) -> None:
    before = issuer.token()
    assert await oidc.authenticate(bearer(before))
    issuer.rotate()
    clock.passed += PASSING

    assert await oidc.authenticate(bearer(issuer.token()))
    with pytest.raises(NotAuthenticated, match="no key"):
        await oidc.authenticate(bearer(before))


async def test_tokens_of_both_keys_are_accepted_while_the_issuer_publishes_both(
    issuer: RunningIssuer, oidc: Oidc, clock: Clock
) -> None:
    before = issuer.token()
    issuer.rotate(keep=True)
    clock.passed += PASSING

    assert await oidc.authenticate(bearer(issuer.token()))
    assert await oidc.authenticate(bearer(before))


async def test_tokens_of_unknown_keys_fetch_the_keys_at_most_once_per_interval(
    issuer: RunningIssuer, oidc: Oidc, clock: Clock
) -> None:
    await oidc.authenticate(bearer(issuer.token()))
    clock.passed += PASSING
    before = issuer.calls("/jwks")
    tokens = [issuer.token(algorithm="unpublished", headers={"kid": f"k{n}"}) for n in range(20)]

    answers = await asyncio.gather(
        *(oidc.authenticate(bearer(token)) for token in tokens), return_exceptions=True
    )
    for token in tokens:
        with pytest.raises(NotAuthenticated, match="no key"):
            await oidc.authenticate(bearer(token))

    assert {type(answer) for answer in answers} == {NotAuthenticated}
    assert issuer.calls("/jwks") == before + 1


@pytest.mark.parametrize("kind", MISBEHAVIOURS)
async def test_a_misbehaving_issuer_makes_its_tokens_unavailable_and_no_others(
    issuer: RunningIssuer, oidc: Oidc, tmp_path: Path, kind: str
) -> None:
    add_token(tmp_path / "tokens", "carol", ["ops"], "carol's token")
    authentication = Authentication([TokenFile(tmp_path / "tokens"), oidc])
    token = issuer.token()
    oidc._keys._timeout = 0.5
    issuer.misbehave(kind)

    waiting = asyncio.create_task(authentication.authenticate(bearer(token)))
    await until(lambda: oidc._keys._fetching is not None)
    other = await authentication.authenticate(bearer("carol's token"))

    assert other.name == "carol"
    with pytest.raises(AuthenticationUnavailable, match="could not be fetched"):
        await waiting
    assert authentication.outcomes["oidc", "unavailable"] == 1
    with pytest.raises(AuthenticationUnavailable):
        await authentication.authenticate(bearer(token))


@pytest.mark.parametrize("kind", ["down", "slow", "no-keys", "wrong-issuer"])
async def test_old_keys_are_kept_while_the_issuer_misbehaves(
    issuer: RunningIssuer, oidc: Oidc, clock: Clock, kind: str
) -> None:
    assert await oidc.authenticate(bearer(issuer.token()))
    another = issuer.token("dave")
    unknown = issuer.token(algorithm="unpublished")
    oidc._keys._timeout = 0.5
    issuer.misbehave(kind)
    clock.passed += PASSING

    with pytest.raises(AuthenticationUnavailable):
        await oidc.authenticate(bearer(unknown))
    caller = await oidc.authenticate(bearer(another))

    assert caller
    assert caller.name == "dave"


@pytest.fixture
async def watched(oidc: Oidc, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[None]]:
    """The changes of the keys, which are followed in the background."""
    monkeypatch.setattr(jwks, "REFRESH_INTERVAL", 0.01)
    monkeypatch.setattr(jwks, "MIN_INTERVAL", 0.0)
    changes: list[None] = []

    async def changed() -> None:
        changes.append(None)

    watching = asyncio.create_task(oidc.watch(changed))
    yield changes
    watching.cancel()


async def test_keys_are_rotated_in_the_background(
    issuer: RunningIssuer, oidc: Oidc, watched: list[None]
) -> None:
    before = issuer.token()
    await until(lambda: watched)
    assert await oidc.authenticate(bearer(before))
    seen = len(watched)

    issuer.rotate()
    await until(lambda: len(watched) > seen)

    with pytest.raises(NotAuthenticated, match="no key"):
        await oidc.authenticate(bearer(before))


async def test_an_issuer_that_goes_away_and_returns_is_logged_once_each(
    issuer: RunningIssuer, oidc: Oidc, watched: list[None]
) -> None:
    await until(lambda: watched)
    with capture_logs() as logs:
        calls = issuer.calls("/.well-known/openid-configuration")
        issuer.misbehave("down")
        await until(lambda: issuer.calls("/.well-known/openid-configuration") > calls + 3)
        issuer.misbehave("")
        await until(lambda: len(logs) > 1)

    assert [log["event"] for log in logs] == ["keys not fetched", "keys fetched"]


async def test_a_fetch_is_cancelled_with_its_caller(issuer: RunningIssuer, oidc: Oidc) -> None:
    issuer.misbehave("slow")
    url = f"{issuer.url}/jwks"

    fetching = asyncio.create_task(fetch_document(url, oidc._keys._tls))
    await asyncio.sleep(0)
    fetching.cancel()

    with pytest.raises(asyncio.CancelledError):
        await fetching


@pytest.mark.parametrize(
    ("kind", "timeout", "problem"),
    [
        ("huge", 20.0, "larger than"),
        ("endless", 20.0, "larger than"),
        ("drip", 0.5, "did not respond within"),
        ("slow", 0.5, "did not respond within"),
        ("text", 20.0, "did not respond with JSON"),
        ("redirect", 20.0, "status 302"),
        ("down", 20.0, "status 503"),
    ],
)
async def test_a_response_is_bounded_in_size_and_time(
    issuer: RunningIssuer, oidc: Oidc, kind: str, timeout: float, problem: str
) -> None:
    issuer.misbehave(kind)

    with pytest.raises(NotFetched, match=problem):
        await fetch_document(f"{issuer.url}/jwks", oidc._keys._tls, timeout)


async def test_keys_are_not_fetched_in_plain_text_from_another_machine(oidc: Oidc) -> None:
    with pytest.raises(NotFetched, match="plain text"):
        await fetch_document("http://192.0.2.1/jwks", oidc._keys._tls)


async def test_an_issuer_without_a_server_is_reported(oidc: Oidc) -> None:
    with pytest.raises(NotFetched, match=r"127\.0\.0\.1:9"):
        await fetch_document("http://127.0.0.1:9/jwks", oidc._keys._tls)
