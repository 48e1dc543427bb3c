"""Callers without an identity of the trust domain."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.identities import Authority
from tests.security.attempt import TIMEOUT, raw_reason
from tests.security.certificates import DAY, OddCertificate
from tests.security.installation import LISTENING, Installation

from spincycle.identity.service_identity import JOB_LOG, JOB_RUNNER, REQUEST_MANAGER
from spincycle.rpc.identification import TOKEN
from spincycle.runtime.config import IdentityConfig

MANAGER = "spiffe://spincycle/spincycle/request-manager/1"
RUNNER = "spiffe://spincycle/spincycle/job-runner/1"

METHODS = {
    REQUEST_MANAGER: "/spincycle.internal.v1.RunnerCoordinationService/Heartbeat",
    JOB_LOG: "/spincycle.internal.v1.JournalService/Append",
    JOB_RUNNER: "/spincycle.internal.v1.JobRunnerService/ListRunning",
}
"""A method of each listener, which a request manager or a job runner may call."""

CALLERS = {REQUEST_MANAGER: RUNNER, JOB_LOG: RUNNER, JOB_RUNNER: MANAGER}
"""Who may call it."""


async def reasons(
    installation: Installation, identities: dict[str, IdentityConfig]
) -> dict[str, str]:
    """The reason by service for which a caller is refused."""
    found = {}
    for service, identity in identities.items():
        async with installation.channel(service, identity) as channel:
            found[service] = await raw_reason(channel, METHODS[service])
    return found


async def is_served(installation: Installation) -> bool:
    """Whether honest callers reach the same methods."""
    honest = {
        service: installation.identity(CALLERS[service].split("/")[4]) for service in LISTENING
    }
    answered = await reasons(installation, honest)
    return not {"SERVICE_UNAVAILABLE", "NOT_IDENTIFIED", "CALLER_NOT_ALLOWED"} & set(
        answered.values()
    )


UNTRUSTED = {
    "expired": {"age": 31 * DAY},
    "not valid yet": {"age": -DAY},
    "for servers only": {"usages": (ExtendedKeyUsageOID.SERVER_AUTH,)},
    "self-signed": {},
    "of a foreign authority": {},
    "of a foreign authority of the same name": {},
    "absent": {},
}


@pytest.mark.parametrize("kind", UNTRUSTED)
async def test_a_caller_without_a_valid_certificate_of_the_authority_does_not_connect(
    installation: Installation, tmp_path: Path, kind: str
) -> None:
    before = await installation.rows()
    theirs = Authority(
        tmp_path / "theirs", "spincycle" if kind.endswith("same name") else "elsewhere"
    )
    identities = {}
    for service in LISTENING:
        odd = OddCertificate(uris=[CALLERS[service]], **UNTRUSTED[kind])  # type: ignore[arg-type] # by kind
        authority = theirs if "foreign" in kind else installation.authority
        issued = odd.issue(authority, tmp_path / service, is_self_signed=kind == "self-signed")
        identities[service] = IdentityConfig(
            certificate=None if kind == "absent" else issued.certificate,
            key=None if kind == "absent" else issued.key,
            ca=installation.authority.file,
        )

    refused = await reasons(installation, identities)

    assert refused == dict.fromkeys(LISTENING, "SERVICE_UNAVAILABLE")
    assert await is_served(installation)
    assert await installation.changes_since(before) == []


@pytest.mark.parametrize("service", LISTENING)
async def test_a_caller_in_plain_text_does_not_connect(
    installation: Installation, service: str
) -> None:
    async with grpc.aio.insecure_channel(installation.internal[service]) as channel:
        assert await raw_reason(channel, METHODS[service]) == "SERVICE_UNAVAILABLE"


UNIDENTIFIED = {
    "another trust domain": OddCertificate(uris=["spiffe://elsewhere/spincycle/request-manager/1"]),
    "two URIs": OddCertificate(uris=[MANAGER, RUNNER]),
    "the same URI twice": OddCertificate(uris=[MANAGER, MANAGER]),
    "a common name only": OddCertificate(common_name=MANAGER),
    "a common name and a DNS name": OddCertificate(
        common_name=MANAGER, names=["request-manager.spincycle"]
    ),
    "a DNS name only": OddCertificate(names=["request-manager.spincycle"]),
    "a DNS name like an identity": OddCertificate(names=[MANAGER]),
    "another URI": OddCertificate(uris=["https://spincycle/spincycle/request-manager/1"]),
    "no service": OddCertificate(uris=["spiffe://spincycle/spincycle/operator/1"]),
    "no instance": OddCertificate(uris=["spiffe://spincycle/spincycle/request-manager"]),
    "an empty instance": OddCertificate(uris=["spiffe://spincycle/spincycle/request-manager/"]),
    "a longer path": OddCertificate(uris=[f"{MANAGER}/2"]),
    "a query": OddCertificate(uris=[f"{MANAGER}?as=2"]),
    "upper case": OddCertificate(uris=["spiffe://spincycle/spincycle/Request-Manager/1"]),
    "a line break": OddCertificate(uris=[f"{MANAGER}\n"]),
}


@pytest.mark.parametrize("kind", UNIDENTIFIED)
async def test_a_certificate_without_one_identity_of_the_trust_domain_may_call_no_method(
    installation: Installation, tmp_path: Path, kind: str
) -> None:
    before = await installation.rows()
    identity = UNIDENTIFIED[kind].issue(installation.authority, tmp_path / "odd")

    refused = await reasons(installation, dict.fromkeys(LISTENING, identity))

    assert refused == dict.fromkeys(LISTENING, "NOT_IDENTIFIED")
    assert await is_served(installation)
    assert await installation.changes_since(before) == []


async def test_a_token_counts_for_nothing_over_tcp(
    installation: Installation,
) -> None:
    method = METHODS[JOB_RUNNER]
    shown = ((TOKEN, "any"), (TOKEN, MANAGER))
    async with installation.channel(JOB_RUNNER, installation.identity("gateway")) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(b"", metadata=shown, timeout=TIMEOUT)

    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_the_same_certificates_with_nothing_odd_about_them_are_served(
    installation: Installation, tmp_path: Path
) -> None:
    plain = OddCertificate(uris=[MANAGER]).issue(installation.authority, tmp_path / "plain")

    assert await reasons(installation, {JOB_RUNNER: plain}) == {JOB_RUNNER: ""}
