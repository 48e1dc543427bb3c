"""Origins from which calls may change something."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spincycle.errors import OriginNotAllowed
from spincycle.gateway.cors import ANY, CrossOrigin
from spincycle.runtime.config import ConfigError

OPS = "https://ops.example.com"
UNSAFE = ["POST", "PUT", "PATCH", "DELETE", "QUERY"]


def headers(origin: str | None, site: str | None, host: str) -> dict[str, str]:
    said = {"origin": origin, "sec-fetch-site": site, "host": host}
    return {name: value for name, value in said.items() if value is not None}


def may(
    origin: str | None,
    site: str | None = None,
    host: str = "localhost:32308",
    method: str = "POST",
    allowed: tuple[str, ...] = (),
) -> bool:
    try:
        CrossOrigin(allowed).check(method, headers(origin, site, host))
    except OriginNotAllowed:
        return False
    return True


def test_a_caller_without_browser_headers_is_allowed() -> None:
    assert may(None)


@pytest.mark.parametrize(
    ("site", "origin", "allowed"),
    [
        ("same-origin", "http://localhost:32308", True),
        ("same-origin", None, True),
        ("same-origin", "http://localhost:8080", True),
        ("same-origin", "null", True),
        ("none", None, True),
        ("same-site", "http://localhost:8080", False),
        ("same-site", None, False),
        ("cross-site", "https://evil.example", False),
        ("cross-site", None, False),
        ("cross-site", "null", False),
        ("cross-site", "http://localhost:32308", False),
        ("", "http://localhost:32308", False),
        ("something-new", "https://evil.example", False),
    ],
)
def test_sec_fetch_site_decides(site: str, origin: str | None, allowed: bool) -> None:
    assert may(origin, site) is allowed


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://localhost:32308", "localhost:32308"),
        ("http://LOCALHOST:32308", "localhost.:32308"),
        ("http://[::1]:32308", "[::1]:32308"),
        ("https://ops.example.com", "ops.example.com"),
        ("https://ops.example.com", "ops.example.com:443"),
        ("http://ops.example.com", "ops.example.com:80"),
        ("https://ops.example.com:8443", "ops.example.com:8443"),
    ],
)
def test_an_old_browser_is_allowed_from_a_page_of_the_same_host(origin: str, host: str) -> None:
    assert may(origin, host=host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://evil.example", "localhost:32308"),
        ("http://localhost", "localhost:32308"),
        ("http://localhost:8080", "localhost:32308"),
        ("https://ops.example.com:8443", "ops.example.com"),
        ("http://127.0.0.1:32308", "localhost:32308"),
        ("null", "localhost:32308"),
        ("null", "null"),
        ("", "localhost:32308"),
        ("file://", "localhost:32308"),
        ("localhost:32308", "localhost:32308"),
        ("chrome-extension://localhost:32308", "localhost:32308"),
        ("http://evil@localhost:32308", "localhost:32308"),
        ("http://localhost:32308", ""),
    ],
)
def test_an_old_browser_is_rejected_from_any_other_page(origin: str, host: str) -> None:
    assert not may(origin, host=host)


@pytest.mark.parametrize("site", [None, "same-site", "cross-site"])
@pytest.mark.parametrize("allowed", [(OPS,), (ANY,)])
def test_a_page_of_an_allowed_origin_is_allowed(site: str | None, allowed: tuple[str, ...]) -> None:
    assert may(OPS, site, allowed=allowed)
    assert may("https://ops.example.com.evil.example", site, allowed=allowed) is (ANY in allowed)


@given(
    origin=st.none() | st.text(st.characters(max_codepoint=255)),
    site=st.none() | st.sampled_from(["cross-site", "same-site"]),
    method=st.sampled_from(UNSAFE),
)
def test_no_foreign_origin_makes_a_change(
    origin: str | None, site: str | None, method: str
) -> None:
    said = "http://localhost:32308"

    assert may(origin, site, method=method) is (site is None and origin in {None, said})


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_a_call_that_changes_nothing_is_allowed(method: str) -> None:
    assert may("https://evil.example", "cross-site", method=method)


@pytest.mark.parametrize(
    "origin",
    [
        "ops.example.com",
        "https://ops.example.com/",
        "https://ops.example.com/page",
        "https://Ops.example.com",
        "https://ops.example.com:443",
        "http://ops.example.com:80",
        "https://user@ops.example.com",
        "https://*.example.com",
        "://ops.example.com",
        "",
    ],
)
def test_an_origin_that_no_browser_sends_is_a_configuration_error(origin: str) -> None:
    with pytest.raises(ConfigError, match=f'cross_origins: "{re.escape(origin)}" must be'):
        CrossOrigin([origin])


@pytest.mark.parametrize(
    "origin",
    ["*", "null", OPS, "http://localhost:8080", "http://[::1]:8080", "https://10.0.0.1:80"],
)
def test_an_origin_as_browsers_send_it_is_allowed(origin: str) -> None:
    assert may(origin, "cross-site", allowed=(origin,))


def test_the_error_names_the_origin_shortly() -> None:
    with pytest.raises(OriginNotAllowed, match=r"pages of https://evil\.example may not") as said:
        CrossOrigin(()).check("POST", headers("https://evil.example", None, "localhost"))
    assert "cross_origins" in said.value.message
    with pytest.raises(OriginNotAllowed) as said:
        CrossOrigin(()).check("POST", headers("x" * 30_000, None, "localhost"))
    assert len(said.value.message) < 600
    with pytest.raises(OriginNotAllowed, match="another site"):
        CrossOrigin(()).check("POST", headers(None, "cross-site", "localhost"))
