"""The issuer of the tests follows the device authorization grant."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, build_opener

import jwt
import pytest
from tests.issuer.device_flow import DEVICE_CODE, DeviceFlow, OAuthError, Person
from tests.issuer.process import RunningIssuer, running_issuer
from tests.issuer.signing_keys import ALGORITHMS

_open = build_opener(ProxyHandler({})).open


@pytest.fixture(scope="module")
def issuer() -> Iterator[RunningIssuer]:
    with running_issuer("--interval", "0.01") as running:
        yield running


def post(url: str, **form: str) -> tuple[int, dict[str, Any]]:
    try:
        with _open(url, urlencode(form).encode(), timeout=30) as response:
            return 200, json.load(response)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_a_device_gets_tokens_once_a_person_approves_it(issuer: RunningIssuer) -> None:
    _, device = post(f"{issuer.url}/device_authorization", client_id="spinc")
    poll = {
        "grant_type": DEVICE_CODE,
        "client_id": "spinc",
        "device_code": device["device_code"],
    }

    pending = post(f"{issuer.url}/token", **poll)
    issuer.approve(device["user_code"], "bob", ["dev"])
    _, tokens = post(f"{issuer.url}/token", **poll)
    refresh = {"grant_type": "refresh_token", "client_id": "spinc"}
    _, refreshed = post(f"{issuer.url}/token", refresh_token=tokens["refresh_token"], **refresh)
    reused = post(f"{issuer.url}/token", refresh_token=tokens["refresh_token"], **refresh)

    assert pending == (400, {"error": "authorization_pending"})
    claims = jwt.decode(refreshed["access_token"], options={"verify_signature": False})
    assert (claims["preferred_username"], claims["roles"]) == ("bob", ["dev"])
    assert reused == (400, {"error": "invalid_grant"})


def test_a_denied_device_gets_no_token(issuer: RunningIssuer) -> None:
    _, device = post(f"{issuer.url}/device_authorization", client_id="spinc")
    issuer.deny(device["user_code"])

    denied = post(
        f"{issuer.url}/token",
        grant_type=DEVICE_CODE,
        client_id="spinc",
        device_code=device["device_code"],
    )

    assert denied == (400, {"error": "access_denied"})


def test_a_device_that_polls_too_fast_is_slowed_down() -> None:
    now = [0.0]
    flow = DeviceFlow(interval=5, lifetime=60, clock=lambda: now[0])
    code, grant = flow.start()

    with pytest.raises(OAuthError, match="authorization_pending"):
        flow.poll(code)
    now[0] = 4.0
    with pytest.raises(OAuthError, match="slow_down"):
        flow.poll(code)
    flow.decide(grant.user_code, Person("alice"))
    now[0] = 61.0
    with pytest.raises(OAuthError, match="expired_token"):
        flow.poll(code)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_tokens_are_signed_by_published_keys(issuer: RunningIssuer, algorithm: str) -> None:
    token = issuer.token(algorithm=algorithm)

    keys = {entry["kid"]: jwt.PyJWK(entry) for entry in issuer.jwks()["keys"]}
    key = keys[jwt.get_unverified_header(token)["kid"]]
    assert jwt.decode(token, key.key, [algorithm], audience="spincycle")["sub"] == "alice"
