"""`spincycle certs`, and what OpenSSL says of its certificates."""

from __future__ import annotations

import shutil
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from tests.not_run import path_of

from spincycle.admin.main import main
from spincycle.identity.certificate_authority import CertificateAuthority
from spincycle.identity.certificates import check_key, parse_certificates


def certs(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["certs", *map(str, arguments)])


def succeeds(*arguments: str | Path) -> str:
    result = certs(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def fails(*arguments: str | Path) -> str:
    result = certs(*arguments)
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    return result.output


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    directory = tmp_path / "ca"
    succeeds("init", directory)
    return directory


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def test_only_the_account_can_read_the_keys(ca: Path) -> None:
    succeeds("issue", ca, "job-log", "--out", ca.parent / "log")

    assert mode(ca) == mode(ca.parent / "log") == 0o700
    assert mode(ca / "ca.key") == mode(ca.parent / "log" / "job-log-1.key") == 0o600
    assert mode(ca / "ca.pem") == mode(ca.parent / "log" / "job-log-1.pem") == 0o644


@pytest.mark.parametrize("left", ["ca.pem", "ca.key"])
def test_a_ca_is_never_overwritten(ca: Path, left: str) -> None:
    for name in {"ca.pem", "ca.key"} - {left}:
        (ca / name).unlink()
    before = (ca / left).read_bytes()

    assert f"{left} exists already; use another directory" in fails("init", ca)
    assert [each.name for each in ca.iterdir()] == [left]
    assert (ca / left).read_bytes() == before


def test_a_certificate_has_identity_and_names(ca: Path) -> None:
    output = succeeds(
        "issue", ca, "job-runner", "--instance", "r7", "--name", "192.0.2.7", "--name", "r7.example"
    )

    assert "identity  spiffe://spincycle/spincycle/job-runner/r7\n" in output
    assert "names     job-runner.spincycle, 192.0.2.7, r7.example\n" in output
    assert "(in 90 days)" in output


def test_the_trust_domain_is_that_of_the_ca(tmp_path: Path) -> None:
    long = "a." * 60 + "example.org"
    succeeds("init", tmp_path, "--trust-domain", long)

    assert f"spiffe://{long}/spincycle/gateway/1\n" in succeeds("issue", tmp_path, "gateway")


def test_issuing_again_replaces_certificate_and_key(ca: Path) -> None:
    succeeds("issue", ca, "gateway")
    files = ca / "gateway-1.pem", ca / "gateway-1.key"
    before = [file.read_bytes() for file in files]

    succeeds("issue", ca, "gateway")

    certificate, key = (file.read_bytes() for file in files)
    assert certificate != before[0]
    assert key != before[1]
    check_key(certificate, key)
    assert {each.name for each in ca.iterdir()} == {
        "ca.pem", "ca.key", "gateway-1.pem", "gateway-1.key",
    }  # fmt: skip


def test_a_certificate_does_not_outlive_its_ca(tmp_path: Path) -> None:
    succeeds("init", tmp_path, "--days", "10")
    succeeds("issue", tmp_path, "gateway")

    (ca,) = parse_certificates((tmp_path / "ca.pem").read_bytes())
    (issued,) = parse_certificates((tmp_path / "gateway-1.pem").read_bytes())
    assert issued.expires_at <= ca.expires_at


def test_an_expired_ca_issues_nothing(tmp_path: Path) -> None:
    CertificateAuthority.create("spincycle", timedelta(seconds=-1)).save(tmp_path)

    assert "the CA has expired; create a new one" in fails("issue", tmp_path, "gateway")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("issue", "{ca}", "gateway", "--name", "a/b"), '"a/b" is not a DNS name or an IP address'),
        (("issue", "{ca}", "gateway", "--instance", "a/b"), '"a/b" is not an instance'),
        (("issue", "{ca}", "spinc"), "'spinc' is not one of 'request-manager'"),
        (("issue", "{ca}/none", "gateway"), "ca.pem does not exist; create a CA with"),
        (("init", "{ca}/new", "--trust-domain", "A B"), '"A B" is not a trust domain'),
        (("init", "/proc/none"), "/proc/none: No such file or directory"),
        (("show", "{ca}/ca.key"), "ca.key is not a certificate in PEM; name the .pem file"),
        (("show", "{ca}/none.pem"), "none.pem: No such file or directory"),
    ],
)
def test_an_error_names_the_file_or_value(
    ca: Path, arguments: tuple[str, ...], message: str
) -> None:
    assert message in fails(*(each.format(ca=ca) for each in arguments))


def test_a_ca_with_the_key_of_another_one_issues_nothing(ca: Path, tmp_path: Path) -> None:
    succeeds("init", tmp_path / "other")
    shutil.copy(tmp_path / "other" / "ca.key", ca / "ca.key")

    assert "ca.key is not the key of ca.pem" in fails("issue", ca, "gateway")


@pytest.mark.parametrize(("within", "code"), [("30d", 0), ("91d", 1), ("36h", 0)])
def test_the_exit_code_says_whether_a_certificate_expires_soon(
    ca: Path, within: str, code: int
) -> None:
    succeeds("issue", ca, "gateway")

    shown = certs("show", "--within", within, ca / "ca.pem", ca / "gateway-1.pem")

    assert shown.exit_code == code
    assert "spiffe://spincycle/spincycle/gateway/1" in shown.output
    assert "CN=Spin Cycle spincycle" in shown.output


def test_an_expired_certificate_in_a_bundle_is_found(ca: Path) -> None:
    since = datetime.now(UTC) - timedelta(days=2)
    alternatives = [x509.DNSName("old")]
    authority = CertificateAuthority.load(ca)
    expired = authority.issue_for(alternatives, timedelta(days=1), since)
    bundle = ca / "bundle.pem"
    bundle.write_bytes(authority.certificate + expired.certificate)

    shown = certs("show", bundle)

    assert shown.exit_code == 1
    assert "(expired)" in shown.output


def test_openssl_accepts_a_certificate_for_both_sides_and_prints_its_extensions(ca: Path) -> None:
    program = path_of("openssl")
    succeeds("issue", ca, "job-log")
    certificate = str(ca / "job-log-1.pem")

    def openssl(*arguments: str) -> str:
        run = subprocess.run([program, *arguments], capture_output=True, text=True, check=True)
        return run.stdout

    for purpose in ("sslserver", "sslclient"):
        strict = ("verify", "-x509_strict", "-purpose", purpose, "-CAfile", str(ca / "ca.pem"))
        assert openssl(*strict, certificate) == f"{certificate}: OK\n"
    text = openssl("x509", "-noout", "-text", "-in", certificate)
    for expected in (
        "X509v3 Basic Constraints: critical\n                CA:FALSE",
        "X509v3 Key Usage: critical\n                Digital Signature",
        "TLS Web Server Authentication, TLS Web Client Authentication",
        "X509v3 Subject Alternative Name: critical",
        "ASN1 OID: prime256v1",
    ):
        assert expected in text
    authority = openssl("x509", "-noout", "-text", "-in", str(ca / "ca.pem"))
    assert "CA:TRUE, pathlen:0" in authority
    assert "Certificate Sign, CRL Sign" in authority
