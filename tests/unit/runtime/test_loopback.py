"""Loopback addresses, and the check for plain text on others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spincycle.runtime.config import ConfigError
from spincycle.runtime.loopback import check_plaintext, is_loopback

WITHIN = [
    "127.0.0.1:80",
    "127.255.0.9:80",
    "[::1]:80",
    "[::ffff:127.0.0.1]:80",
    "localhost:80",
    "LocalHost:80",
]
BEYOND = [
    "0.0.0.0:80",
    "[::]:80",
    ":80",
    "10.0.0.7:80",
    "[fe80::1]:80",
    "[::ffff:10.0.0.7]:80",
    "[::ffff:0.0.0.0]:80",
    "gateway:80",
    "localhost.example.com:80",
    "my.localhost:80",
    "*:80",
    "127.0.0.1.example.com:80",
    "128.0.0.1:80",
]


@pytest.mark.parametrize("listen", WITHIN)
def test_loopback_addresses_are_always_allowed(listen: str) -> None:
    assert is_loopback(listen)
    check_plaintext(listen, "listen", allowed=False, encrypt="")


@pytest.mark.parametrize("listen", BEYOND)
def test_other_addresses_require_that_plain_text_is_allowed(listen: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check_plaintext(listen, "internal.listen", allowed=False, encrypt="set tls.key")
    assert str(refused.value) == (
        f"internal.listen: {listen} is not a loopback address, and the listener has no TLS: set "
        "tls.key, or set tls.allow_plaintext: true to accept calls in plain text"
    )
    check_plaintext(listen, "internal.listen", allowed=True, encrypt="set tls.key")


@given(st.ip_addresses())
def test_an_address_is_loopback_exactly_if_ipaddress_says_so(address: object) -> None:
    listen = f"[{address}]:80" if ":" in str(address) else f"{address}:80"

    assert is_loopback(listen) is address.is_loopback  # type: ignore[attr-defined] # one of two kinds
