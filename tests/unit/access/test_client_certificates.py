"""Client certificates name callers, and proxies that name callers in headers."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spincycle.access.authentication import Authentication
from spincycle.access.caller import Caller
from spincycle.access.client_certificates import ClientCertificates
from spincycle.access.config import AuthConfig, CertifiedCaller, ProxyConfig
from spincycle.access.credentials import Credentials, PeerCertificate
from spincycle.access.proxy_header import ProxyHeader
from spincycle.errors import NotAuthenticated
from spincycle.gateway.client_certificate import peer_certificate
from spincycle.runtime.config import ConfigError

CALLERS = {
    "ci.example": CertifiedCaller("ci", ("deploy",)),
    "alice@example": CertifiedCaller(roles=("ops",)),
    "spiffe://example/bob": CertifiedCaller("bob"),
    "carol": CertifiedCaller(),
}
PROXY = PeerCertificate("", ("proxy.example",))


def shown(*names: str, common_name: str = "", **headers: list[str]) -> Credentials:
    given_headers = {name.replace("_", "-"): values for name, values in headers.items()}
    return Credentials(given_headers, certificate=PeerCertificate(common_name, names))


@pytest.fixture
def certificates() -> ClientCertificates:
    return ClientCertificates(CALLERS)


@pytest.fixture
def proxy() -> ProxyHeader:
    return ProxyHeader(ProxyConfig(("proxy.example",), "X-Forwarded-User"))


@pytest.mark.parametrize(
    ("credentials", "caller"),
    [
        (shown("ci.example"), Caller("ci", ("deploy",), "certificate")),
        (shown("other", "alice@example"), Caller("alice@example", ("ops",), "certificate")),
        (shown("spiffe://example/bob"), Caller("bob", (), "certificate")),
        (shown(common_name="carol"), Caller("carol", (), "certificate")),
        (shown("other", common_name="carol"), None),
        (shown("CI.example"), None),
        (shown("x.ci.example"), None),
        (Credentials({"x-forwarded-user": ["ci"]}), None),
    ],
)
async def test_a_certificate_names_the_configured_caller(
    certificates: ClientCertificates, credentials: Credentials, caller: Caller | None
) -> None:
    assert await certificates.authenticate(credentials) == caller


async def test_a_certificate_with_names_of_two_callers_is_refused(
    certificates: ClientCertificates,
) -> None:
    with pytest.raises(NotAuthenticated, match="several callers"):
        await certificates.authenticate(shown("ci.example", "alice@example"))


@pytest.mark.parametrize("configured", [CertifiedCaller("a\n"), CertifiedCaller("a", ("",))])
def test_an_invalid_name_or_role_prevents_the_start(configured: CertifiedCaller) -> None:
    with pytest.raises(ConfigError, match=r'auth\.certificates\.callers: "ci"'):
        ClientCertificates({"ci": configured})


async def test_a_trusted_proxy_names_the_caller(proxy: ProxyHeader) -> None:
    caller = await proxy.authenticate(
        shown("proxy.example", x_forwarded_user=["alice"], x_forwarded_groups=["ops, dev"])
    )

    assert caller == Caller("alice", ("ops", "dev"), "proxy")


@pytest.mark.parametrize(
    "credentials",
    [
        Credentials({"x-forwarded-user": ["root"]}),
        shown("ci.example", x_forwarded_user=["root"]),
        shown("other", common_name="proxy.example", x_forwarded_user=["root"]),
    ],
)
async def test_the_headers_of_others_count_for_nothing(
    proxy: ProxyHeader, credentials: Credentials
) -> None:
    assert await proxy.authenticate(credentials) is None


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ({}, "names no caller"),
        ({"x_forwarded_user": ["alice", "root"]}, "2 headers x-forwarded-user"),
        ({"x_forwarded_user": [""]}, "the name is empty"),
        ({"x_forwarded_user": ["a\0b"]}, "cannot be printed"),
        ({"x_forwarded_user": ["a" * 257]}, "longer than 256"),
        ({"x_forwarded_user": ["a"], "x_forwarded_groups": ["b", "c"]}, "2 headers"),
        ({"x_forwarded_user": ["a"], "x_forwarded_groups": ["b\0"]}, "the role"),
    ],
)
async def test_a_proxy_that_does_not_name_one_caller_is_refused(
    proxy: ProxyHeader, headers: dict[str, list[str]], problem: str
) -> None:
    given_headers = {name.replace("_", "-"): values for name, values in headers.items()}
    with pytest.raises(NotAuthenticated, match=problem):
        await proxy.authenticate(Credentials(given_headers, certificate=PROXY))


@given(
    st.dictionaries(
        st.sampled_from(["authorization", "x-forwarded-user", "x-forwarded-groups"]),
        st.lists(st.text(max_size=300), max_size=3),
    )
)
async def test_any_headers_of_a_proxy_are_a_caller_or_a_refusal(
    headers: dict[str, list[str]],
) -> None:
    proxy = ProxyHeader(ProxyConfig(("proxy.example",)))
    authentication = Authentication([proxy])

    try:
        caller = await authentication.authenticate(Credentials(headers, certificate=PROXY))
    except NotAuthenticated:
        return
    assert caller.name == headers["x-forwarded-user"][0]


def test_names_come_from_the_certificate_as_python_shows_it() -> None:
    certificate = {
        "subject": ((("organizationName", "Example"),), (("commonName", "carol"),)),
        "subjectAltName": (("DNS", "a.example"), ("IP Address", "::1"), ("URI", "spiffe://x/y")),
    }

    assert peer_certificate(certificate) == PeerCertificate("carol", ("a.example", "spiffe://x/y"))
    assert peer_certificate({}) is None
    assert peer_certificate(None) is None


def test_an_unknown_key_of_a_certified_caller_prevents_the_start() -> None:
    value = {"certificates": {"callers": {"ci": {"role": ["ops"]}}}}

    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert(value, AuthConfig)
