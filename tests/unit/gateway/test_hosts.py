"""Allowed and rejected Host headers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spincycle.errors import HostNotAllowed
from spincycle.gateway.error_responses import HttpError
from spincycle.gateway.hosts import AllowedHosts, Authority, names_its_host
from spincycle.runtime.config import ConfigError

HOSTS = AllowedHosts(("gateway.spincycle", "Ops.Example.COM"))


def call(*hosts: str, path: bytes = b"/api/v1/requests", version: str = "1.1") -> dict[str, Any]:
    return {
        "raw_path": path,
        "http_version": version,
        "headers": [(b"accept", b"*/*"), *((b"host", host.encode("latin-1")) for host in hosts)],
    }


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:32308",
        "LocalHost:1",
        "localhost.",
        "localhost.:32308",
        "localhost:",
        "spincycle.localhost:32308",
        "127.0.0.1",
        "127.0.0.1:32308",
        "127.0.0.1.:32308",
        "0.0.0.0:32308",
        "10.1.2.3:32308",
        "[::1]",
        "[::1]:32308",
        "[::ffff:127.0.0.1]:1",
        "[FE80::1%25eth0]:80",
        "[2001:db8::7]:32308",
        "gateway.spincycle:32308",
        "GATEWAY.spincycle.",
        "ops.example.com",
    ],
)
def test_addresses_loopback_names_and_configured_names_are_allowed(host: str) -> None:
    HOSTS.check(call(host))


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:32308",
        "localhost.evil.example",
        "evillocalhost",
        "127.0.0.1.evil.example",
        "1.evil.example",
        "gateway",
        "spincycle",
        "x.gateway.spincycle",
        "gateway.spincycle.evil.example",
        "127.1",
        "2130706433",
        "0x7f000001",
        "127.0.0.01",
        "localhost..",
    ],
)
def test_every_other_name_is_rejected_with_the_setting_to_change(host: str) -> None:
    with pytest.raises(HostNotAllowed, match="add the name to hosts in its configuration") as said:
        HOSTS.check(call(host))
    assert said.value.host in host


@pytest.mark.parametrize(
    "host",
    [
        "",
        ".",
        ":32308",
        "localhost:80:80",
        "localhost:port",
        "localhost:123456",
        "localhost, evil.example",
        "localhost evil.example",
        "evil.example@localhost",
        "localhost/evil",
        "http://localhost",
        "[::1",
        "::1",
        "[::1]x",
        "[127.0.0.1]",
        "[v1.x]",
        "l\xf6calhost",
        "localhost\x00",
        "*",
        "x" * 256,
    ],
)
def test_an_invalid_host_is_a_bad_request(host: str) -> None:
    with pytest.raises(HttpError) as refused:
        HOSTS.check(call(host))
    assert refused.value.status == 400


@given(st.text(st.characters(max_codepoint=255)))
def test_no_host_causes_an_internal_error(host: str) -> None:
    try:
        HOSTS.check(call(host))
    except (HostNotAllowed, HttpError):
        return
    authority = Authority.parse(host)
    assert authority
    assert authority.name


@given(st.from_regex(r"\A[a-z][a-z0-9-]{0,9}\.[a-z]{2,5}\Z"), st.integers(0, 65535))
def test_no_spelling_of_a_foreign_name_is_allowed(name: str, port: int) -> None:
    for host in (name, name.upper(), f"{name}.", f"{name}:{port}", f"localhost.{name}"):
        if name.endswith("localhost"):
            continue
        with pytest.raises(HostNotAllowed):
            HOSTS.check(call(host))


@pytest.mark.parametrize("hosts", [("localhost", "evil.example"), ("localhost", "localhost")])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_several_host_headers_are_a_bad_request(hosts: tuple[str, ...], version: str) -> None:
    with pytest.raises(HttpError) as refused:
        HOSTS.check(call(*hosts, version=version))
    assert (refused.value.status, refused.value.message) == (
        400,
        "one Host header is required, not 2",
    )


def test_only_http_1_0_may_omit_the_host() -> None:
    HOSTS.check(call(version="1.0"))
    with pytest.raises(HttpError, match="one Host header is required, not none"):
        HOSTS.check(call())
    with pytest.raises(HostNotAllowed):
        HOSTS.check(call("evil.example", version="1.0"))


@pytest.mark.parametrize("path", [b"/healthz", b"/readyz", b"/version"])
def test_probes_may_use_any_host(path: bytes) -> None:
    HOSTS.check(call("probe.example", path=path))
    HOSTS.check(call(path=path))
    with pytest.raises(HostNotAllowed):
        HOSTS.check(call("probe.example", path=path + b"/"))


@pytest.mark.parametrize(
    "name", ["", "http://gateway", "gateway:32308", "*", "*.example.com", "a b", "[::1]"]
)
def test_a_configured_host_is_a_name_only(name: str) -> None:
    with pytest.raises(ConfigError, match="must be a host name without scheme and port"):
        AllowedHosts((name,))


@pytest.mark.parametrize(
    ("target", "hosts", "agrees"),
    [
        (b"/api", [b"anything"], True),
        (b"*", [], True),
        (b"http://localhost:1/api", [b"localhost:1"], True),
        (b"HTTP://LocalHost:1?x", [b"localhost:1"], True),
        (b"http://localhost:1", [b"localhost:1"], True),
        (b"http://localhost:1/api", [b"evil.example"], False),
        (b"http://evil.example/api", [b"localhost:1"], False),
        (b"http://u@localhost:1/api", [b"localhost:1"], False),
        (b"http://localhost/api", [], False),
        (b"http://localhost/api", [b"localhost", b"evil.example"], False),
    ],
)
def test_an_absolute_target_must_name_the_host_of_the_header(
    target: bytes, hosts: list[bytes], agrees: bool
) -> None:
    assert names_its_host(target, [(b"host", host) for host in hosts]) is agrees
