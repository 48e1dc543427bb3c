"""A renewal of the authority by cert-manager, which keeps the key, does not divide the services."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import CertificateBuilder, load_pem_x509_certificate, random_serial_number
from grpc_health.v1.health_pb2 import HealthCheckRequest
from tests.health_client import HealthClient
from tests.identities import Authority

from spincycle.identity.certificate_authority import CertificateAuthority
from spincycle.rpc.dialer import Dialer
from spincycle.rpc.limits import INTERNAL
from spincycle.rpc.server import RpcServer


async def test_certificates_of_the_authority_before_and_after_its_renewal_verify_each_other(
    tmp_path: Path,
) -> None:
    before = Authority(tmp_path / "before")
    after = Authority(tmp_path / "after")
    after.ca = renewed(before.ca, tmp_path)
    after.file.write_bytes(after.ca.certificate)
    assert after.file.read_bytes() != before.file.read_bytes()

    server = RpcServer(internal=before.internal("127.0.0.1:0", "job-log"), service="job-log")
    listener = server.listen(INTERNAL, "127.0.0.1:0")
    await server.start()
    try:
        dialer = Dialer(after.identity("job-runner"))
        async with dialer.to("job-log")(listener.address) as channel:
            await HealthClient(channel).check(HealthCheckRequest(service="liveness"), timeout=30)
    finally:
        await server.stop(0)


def renewed(authority: CertificateAuthority, directory: Path) -> CertificateAuthority:
    """Return the authority with another certificate of the same key, as cert-manager makes it."""
    authority.save(directory)
    key = load_pem_private_key((directory / "ca.key").read_bytes(), None)
    assert isinstance(key, EllipticCurvePrivateKey)
    old = load_pem_x509_certificate(authority.certificate)
    builder = (
        CertificateBuilder()
        .subject_name(old.subject)
        .issuer_name(old.issuer)
        .public_key(old.public_key())
        .serial_number(random_serial_number())
        .not_valid_before(old.not_valid_before_utc)
        .not_valid_after(old.not_valid_after_utc + timedelta(days=365))
    )
    for extension in old.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    return CertificateAuthority(builder.sign(key, SHA256()), key)
