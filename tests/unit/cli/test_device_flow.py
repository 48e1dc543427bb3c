from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest

from spincycle.cli.login.device_flow import DeviceFlow
from spincycle.cli.login.issuer import (
    Endpoints,
    IssuerClient,
    IssuerError,
    IssuerUnavailable,
    OAuthError,
    Tokens,
    check_url,
)
from spincycle.cli.login.stored_login import Client

ENDPOINTS = Endpoints("https://issuer/device", "https://issuer/token", "")
TOKENS = Tokens("access", "id", "refresh", None, None)
CODE = {
    "device_code": "secret",
    "user_code": "WDJB-MJHT",
    "verification_uri": "https://issuer/confirm",
    "interval": 2,
    "expires_in": 100,
}


class FakeIssuer:
    """Returns a device code, then the prepared results of polls."""

    def __init__(self, code: Mapping[str, Any], *polls: Tokens | Exception) -> None:
        self._code = dict(code)
        self._polls = list(polls)

    def post(self, url: str, form: Mapping[str, str]) -> dict[str, Any]:
        assert (url, form["scope"]) == (ENDPOINTS.device_authorization, "openid offline_access")
        return self._code

    def tokens(self, url: str, form: Mapping[str, str]) -> Tokens:
        assert (url, form["device_code"]) == (ENDPOINTS.token, "secret")
        result = self._polls.pop(0) if len(self._polls) > 1 else self._polls[0]
        if isinstance(result, Exception):
            raise result
        return result


class Time:
    """A clock that only pauses move."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def flow(time: Time, code: Mapping[str, Any], *polls: Tokens | Exception) -> DeviceFlow:
    client = Client("https://issuer", "spinc", ("openid", "offline_access"))
    issuer = cast("IssuerClient", FakeIssuer(code, *polls))
    return DeviceFlow(issuer, ENDPOINTS, client, time.pause, lambda: time.now)


def refusal(code: str) -> OAuthError:
    return OAuthError("https://issuer/token", code, "")


def test_polls_are_further_apart_when_the_issuer_asks_for_it_or_is_away() -> None:
    time = Time()
    logging_in = flow(
        time,
        CODE,
        refusal("authorization_pending"),
        refusal("slow_down"),
        IssuerUnavailable("away"),
        TOKENS,
    )

    assert logging_in.finish(logging_in.begin()) == TOKENS
    assert time.pauses == [2, 2, 7, 14]


@pytest.mark.parametrize("problem", [refusal("authorization_pending"), IssuerUnavailable("away")])
def test_polling_ends_with_the_code(problem: Exception) -> None:
    time = Time()
    logging_in = flow(time, CODE, problem)

    with pytest.raises(IssuerError):
        logging_in.finish(logging_in.begin())

    assert 100 <= time.now <= 160


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"interval": 0}, (0.1, 100)),
        ({"interval": -1, "expires_in": 0}, (5, 1)),
        ({"interval": 1e9, "expires_in": 1e300}, (60, 3600)),
        ({"interval": 10**400}, (5, 100)),
        ({"interval": float("nan")}, (5, 100)),
        ({"interval": "soon", "expires_in": None}, (5, 3600)),
        ({"interval": True}, (5, 100)),
    ],
)
def test_durations_of_an_issuer_are_bounded(
    given: Mapping[str, Any], kept: tuple[float, float]
) -> None:
    code = flow(Time(), {**CODE, **given}, TOKENS).begin()

    assert (code.interval, code.lifetime) == kept


def test_what_an_issuer_wants_to_print_cannot_control_the_terminal() -> None:
    code = flow(
        Time(),
        {**CODE, "user_code": "A\x1b[2JB", "verification_uri": "https://x/\r\x9b31m"},
        TOKENS,
    ).begin()

    assert (code.user_code, code.page) == ("A [2JB", "https://x/  31m")


@pytest.mark.parametrize("name", ["device_code", "user_code", "verification_uri"])
@pytest.mark.parametrize("value", [None, "", 3, ["x"]])
def test_a_response_without_a_code_is_refused(name: str, value: object) -> None:
    with pytest.raises(IssuerError, match="no device code"):
        flow(Time(), {**CODE, name: value}, TOKENS).begin()


@pytest.mark.parametrize(
    "url",
    [
        "https://login.example.com/token",
        "http://127.0.0.1:8080/token",
        "http://[::1]:8080/token",
        "http://localhost/token",
    ],
)
def test_an_issuer_uses_tls_or_is_on_this_machine(url: str) -> None:
    assert check_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "http://login.example.com/token",
        "http://127.0.0.1@login.example.com/token",
        "http://127.0.0.1.example.com/token",
        "ftp://127.0.0.1/token",
        "file:///etc/passwd",
        "https:///token",
        "http://[::1",
        "token",
        "",
    ],
)
def test_other_urls_of_issuers_are_refused(url: str) -> None:
    with pytest.raises(IssuerError):
        check_url(url)
