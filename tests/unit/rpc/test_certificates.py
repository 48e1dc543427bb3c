"""Certificates that a process refuses at start, and warnings before they expire."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from msgspec.structs import replace
from structlog.testing import capture_logs
from tests.identities import Authority

from spincycle.metrics.registry import Metrics
from spincycle.rpc.certificate_expiry import CertificateExpiry
from spincycle.rpc.certificate_files import internal_files
from spincycle.rpc.dialer import Dialer
from spincycle.rpc.limits import INTERNAL
from spincycle.rpc.server import RpcServer
from spincycle.runtime.config import ConfigError, InternalConfig, PublicTlsConfig

ID = "spiffe://spincycle/spincycle/job-log/1"

NAME = x509.DNSName("job-log.spincycle")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "files")


def uris(*ids: str) -> list[x509.GeneralName]:
    return [NAME, *map(x509.UniformResourceIdentifier, ids)]


def config(
    authority: Authority,
    alternatives: Sequence[x509.GeneralName],
    since: datetime | None = None,
    lifetime: timedelta = timedelta(days=90),
) -> InternalConfig:
    certificate, key = authority.certify_for("own", alternatives, lifetime, since)
    return InternalConfig(listen="127.0.0.1:0", certificate=certificate, key=key, ca=authority.file)


def start(internal: InternalConfig) -> None:
    RpcServer(internal=internal, service="job-log").listen(INTERNAL, internal.listen)


def call(internal: InternalConfig) -> None:
    Dialer(internal, "job-log")


@pytest.mark.parametrize("use", [start, call])
@pytest.mark.parametrize(
    ("alternatives", "problem"),
    [
        (uris(), "it has 0 URIs as subject alternative names, not exactly one"),
        (uris(ID, ID.replace("/1", "/2")), "it has 2 URIs"),
        (uris("https://example.com"), "does not have the form"),
        (uris(ID.replace("job-log", "job-runner")), "/job-runner/1, but this process is a job-log"),
        (
            uris(ID.replace("spiffe://spincycle", "spiffe://other")),
            'but internal.trust_domain is "spincycle"',
        ),
    ],
)
def test_a_certificate_of_another_identity_is_refused(
    authority: Authority,
    use: Callable[[InternalConfig], None],
    alternatives: list[x509.GeneralName],
    problem: str,
) -> None:
    with pytest.raises(ConfigError) as refused:
        use(config(authority, alternatives))

    assert str(refused.value).startswith(f"{authority.directory}/own.pem cannot be used: ")
    assert problem in str(refused.value)


@pytest.mark.parametrize("use", [start, call])
@pytest.mark.parametrize(
    ("since", "problem"), [(-200, "it expired on 20"), (2, "it is valid only from 20")]
)
def test_a_certificate_that_is_not_valid_now_is_refused(
    authority: Authority, use: Callable[[InternalConfig], None], since: int, problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        use(config(authority, uris(ID), datetime.now(UTC) + timedelta(days=since)))


def test_a_listener_needs_the_name_that_callers_expect(authority: Authority) -> None:
    unnamed = config(authority, uris(ID)[1:])

    call(unnamed)
    with pytest.raises(ConfigError, match=r"it lacks the DNS name job-log\.spincycle"):
        start(unnamed)


def test_an_encrypted_key_is_refused(authority: Authority) -> None:
    internal = config(authority, uris(ID))
    assert internal.key is not None
    key = load_pem_private_key(internal.key.read_bytes(), None)
    encryption = BestAvailableEncryption(b"secret")
    internal.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))

    with pytest.raises(ConfigError, match="the key is encrypted; store it without a passphrase"):
        call(internal)


def test_text_around_the_certificates_of_an_authority_is_allowed(authority: Authority) -> None:
    internal = config(authority, uris(ID))
    authority.file.write_bytes("# Größe\n".encode() + authority.ca.certificate)

    call(internal)


async def test_files_are_read_again_only_if_they_are_other_files(authority: Authority) -> None:
    internal = config(authority, uris(ID))
    files = internal_files(internal)
    assert files is not None

    assert not files.refresh()
    config(authority, uris(ID))
    assert files.refresh()
    assert not files.refresh()


def test_the_seconds_until_expiry_are_a_metric(authority: Authority) -> None:
    certificate, key = authority.certify("gateway", names=["127.0.0.1"])
    expiry = CertificateExpiry(
        config(authority, uris(ID), lifetime=timedelta(days=10)),
        PublicTlsConfig(certificate=certificate, key=key),
    )
    metrics = Metrics()

    metrics.certificate_expiry(expiry.seconds, expiry.refresh)

    (values,) = [
        family.read()
        for family in metrics.families
        if family.name == "spincycle_certificate_expiry_seconds"
    ]
    assert isinstance(values, dict)
    days = {labels: seconds / 86400 for labels, seconds in values.items()}
    assert days == pytest.approx({("internal",): 10, ("public",): 90}, abs=0.01)


async def test_the_metric_follows_a_renewal(authority: Authority) -> None:
    expiry = CertificateExpiry(config(authority, uris(ID), lifetime=timedelta(days=10)))
    renewed = config(authority, uris(ID), lifetime=timedelta(days=50))

    await expiry.refresh()
    assert expiry.seconds()["internal"] > 49 * 86400

    assert renewed.key is not None
    renewed.key.unlink()
    await expiry.refresh()
    assert expiry.seconds()["internal"] > 49 * 86400


def test_without_certificates_there_is_nothing_to_expire() -> None:
    assert CertificateExpiry(InternalConfig(), PublicTlsConfig()).seconds() == {}


@pytest.mark.parametrize(
    ("lifetime", "warned_from"),
    [
        (timedelta(days=90), timedelta(days=7)),
        # Short-lived certificates are renewed in the second half of their lifetime.
        (timedelta(hours=1), timedelta(minutes=15)),
    ],
)
def test_a_warning_comes_once_a_day_before_the_expiry(
    authority: Authority, lifetime: timedelta, warned_from: timedelta
) -> None:
    expires_at = datetime.now(UTC) + lifetime
    expiry = CertificateExpiry(config(authority, uris(ID), lifetime=lifetime))

    def warnings(moment: datetime) -> list[str]:
        with capture_logs() as logs:
            expiry.warn(moment)
        return [f"{each['log_level']} {each['event']}" for each in logs]

    begin = expires_at - warned_from + timedelta(minutes=2)
    assert warnings(expires_at - warned_from - timedelta(minutes=5)) == []
    assert warnings(begin) == ["warning certificate expires soon"]
    assert warnings(begin + timedelta(hours=23)) == []
    expected = "expires soon" if begin + timedelta(days=1) < expires_at else "expired"
    assert warnings(begin + timedelta(days=1)) == [f"warning certificate {expected}"]


def test_without_certificates_the_library_for_them_is_not_imported() -> None:
    program = (
        "import sys\n"
        "from spincycle.rpc.certificate_expiry import CertificateExpiry\n"
        "from spincycle.rpc.dialer import UNIDENTIFIED\n"
        "from spincycle.rpc.server import RpcServer\n"
        "from spincycle.runtime.config import InternalConfig\n"
        "CertificateExpiry(InternalConfig()), UNIDENTIFIED, RpcServer()\n"
        "sys.exit('cryptography' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_incomplete_settings_name_what_is_missing(authority: Authority) -> None:
    with pytest.raises(ConfigError, match=r"missing: internal\.ca$"):
        internal_files(replace(config(authority, uris(ID)), ca=None))
